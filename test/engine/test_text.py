import numpy as np
import pytest

from semla_ros.bundle import ModelBundle
from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterError, BundleError, VocabularyError
from semla_ros.core.types import AdapterMix, LoraAdapter, LoraLayer, Vocabulary
from semla_ros.core.weights import UNCHANGED, ArrayWeights, array_of
from semla_ros.engine.text import OnnxTextTower, TextEncoder
from semla_ros.library.fusion import MergedWeights


def vocabulary(*names):
    return Vocabulary(names, np.zeros((len(names), 3), np.uint8))


@pytest.fixture
def encoder(hand_made):
    return TextEncoder(hand_made.bundle)


@pytest.fixture
def merged():
    weight = np.random.default_rng(5).normal(size=(32, 32)).astype(np.float32)
    return ArrayWeights({"text.fc": weight})


def test_features_are_normalised_rows_one_per_class(encoder):
    features = encoder.encode(vocabulary("road", "sky", "car"), UNCHANGED)
    assert features.shape == (3, 32)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_only_the_first_synonym_is_prompted(encoder):
    plain = encoder.encode(vocabulary("road", "sky"), UNCHANGED)
    np.testing.assert_array_equal(
        encoder.encode(vocabulary("road, car", " sky , tree"), UNCHANGED), plain
    )


def test_cropping_to_the_longest_prompt_changes_no_class(encoder):
    short = encoder.encode(vocabulary("road"), UNCHANGED)
    among_long = encoder.encode(vocabulary("road", "very long car"), UNCHANGED)
    assert encoder.tokens(vocabulary("road")).shape == (1, 6)
    assert encoder.tokens(vocabulary("road", "very long car")).shape == (2, 8)
    np.testing.assert_allclose(among_long[0], short[0], atol=1e-6)


def test_a_swap_with_the_same_classes_asks_the_tokenizer_nothing(encoder, merged, monkeypatch):
    asked, tokenizer = [], encoder._tokenizer

    class Counting:
        def encode_batch(self, prompts):
            asked.append(len(prompts))
            return tokenizer.encode_batch(prompts)

    monkeypatch.setattr(encoder, "_tokenizer", Counting())
    few, many = vocabulary("road", "sky"), vocabulary("road", "sky", "car")
    for classes in (few, few, many, many, few):
        encoder.encode(classes, merged)
    assert asked == [2, 3, 2]


def test_merged_text_weights_are_used_and_others_ignored(encoder, merged):
    classes = vocabulary("road", "sky")
    base = encoder.encode(classes, UNCHANGED)
    unrelated = ArrayWeights({"head.fc1": np.zeros((2, 2), np.float32)})
    np.testing.assert_array_equal(encoder.encode(classes, unrelated), base)
    changed = encoder.encode(classes, merged)
    assert np.abs(changed - base).max() > 0.1
    np.testing.assert_array_equal(encoder.encode(classes, UNCHANGED), base)


def test_the_layout_of_the_weight_is_out_in(encoder, hand_made):
    """A weight that scales one output feature must not scale an input instead."""
    weight = hand_made.base["text.fc"].copy()
    weight[3] *= 1000
    features = encoder.encode(vocabulary("road"), ArrayWeights({"text.fc": weight}))
    assert abs(features[0, 3]) > 0.99


def test_the_cache_goes_by_key_and_names_and_is_bounded(hand_made, merged):
    encoder = TextEncoder(hand_made.bundle, cache_size=2)
    classes = vocabulary("road", "sky")
    first = encoder.encode(classes, merged, key="fog")
    assert encoder.encode(classes, UNCHANGED, key="fog") is not first
    assert encoder.encode(classes, merged, key="fog") is first
    assert encoder.encode(vocabulary("sky", "road"), merged, key="fog") is not first
    encoder.encode(classes, merged, key="rain")
    again = encoder.encode(classes, merged, key="fog")
    assert again is not first
    np.testing.assert_array_equal(again, first)


def test_without_a_key_merged_weights_are_never_cached(encoder, merged):
    classes = vocabulary("road")
    assert encoder.encode(classes, merged) is not encoder.encode(classes, merged)


def test_cached_features_cannot_be_spoilt_by_their_reader(encoder):
    with pytest.raises(ValueError, match="read-only"):
        encoder.encode(vocabulary("road"), UNCHANGED)[0, 0] = 1


def test_many_classes_are_encoded_in_batches_like_one_by_one(encoder):
    names = [f"{'very ' * (i % 3)}road{i}" for i in range(150)]
    features = encoder.encode(vocabulary(*names), UNCHANGED)
    alone = encoder.encode(vocabulary(names[149]), UNCHANGED)
    np.testing.assert_allclose(features[149], alone[0], atol=1e-6)


def test_a_prompt_that_does_not_fit_says_which_and_how_long(encoder):
    with pytest.raises(VocabularyError, match=r"'very very long car'.*at most 8.*got 9"):
        encoder.encode(vocabulary("road", "very very long car"), UNCHANGED)


def test_a_broken_tokenizer_is_a_bundle_error(hand_made, tmp_path):
    for path in hand_made.bundle.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    copy = ModelBundle(tmp_path, hand_made.bundle.manifest)
    copy.tokenizer.write_text("{}")
    with pytest.raises(BundleError, match="not a tokenizer"):
        TextEncoder(copy)
    copy.tokenizer.unlink()
    with pytest.raises(BundleError, match="found none"):
        TextEncoder(copy)


def merged_text(hand_made, seed, scaling=1.0):
    """Return the base text tower with one adapter, merged where it is written."""
    rng = np.random.default_rng(seed)
    factors = (rng.normal(size=s).astype(np.float32) for s in ((3, 32), (32, 3)))
    adapter = LoraAdapter("fog", {"text.fc": LoraLayer(*factors, scaling)})
    base = BaseWeights.open(hand_made.bundle)
    return MergedWeights(base, [adapter], AdapterMix(("fog",), (1.0,)))


def test_merged_weights_give_the_same_features_and_buffers_are_reused(encoder, hand_made):
    classes = vocabulary("road", "sky")
    expected = {}
    for seed in (1, 2, 1, 3, 2, 1):
        weights = merged_text(hand_made, seed)
        features = encoder.encode(classes, weights)
        plain = encoder.encode(classes, ArrayWeights({"text.fc": array_of(weights, "text.fc")}))
        np.testing.assert_array_equal(features, plain)
        np.testing.assert_array_equal(features, expected.setdefault(seed, features))
    assert len(encoder._buffers) == 1
    np.testing.assert_array_equal(
        encoder.encode(classes, UNCHANGED),
        TextEncoder(hand_made.bundle).encode(classes, UNCHANGED),
    )


def test_text_weights_that_might_not_be_finite_are_refused(encoder, hand_made):
    classes = vocabulary("road")
    before = encoder.encode(classes, merged_text(hand_made, 1))
    with pytest.raises(AdapterError, match="finite change"):
        encoder.encode(classes, merged_text(hand_made, 1, scaling=1e38), key="bad")
    np.testing.assert_array_equal(encoder.encode(classes, merged_text(hand_made, 1)), before)


def test_cropping_is_exact_in_a_real_text_tower(tiny):
    """Causal attention: what stands after the end of a prompt cannot change it."""
    encoder = TextEncoder(tiny)
    tokens = encoder.tokens(tiny.manifest.vocabulary)
    full = np.zeros((len(tokens), tiny.manifest.text.context_length), np.int64)
    full[:, : tokens.shape[1]] = tokens
    assert tokens.shape[1] < full.shape[1]
    reference = OnnxTextTower(tiny, threads=1)(full, {})
    cropped = encoder.encode(tiny.manifest.vocabulary, UNCHANGED)
    np.testing.assert_allclose(cropped, reference, rtol=0, atol=2e-6)
