"""Fusion laws, and PEFT's exact combination as an independent reference."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semla_ros.bundle.base_weights import BaseWeights
from semla_ros.core.errors import AdapterMismatchError, LibraryError
from semla_ros.core.types import BASE, AdapterMix
from semla_ros.core.weights import array_of
from semla_ros.library.fusion import MergedWeights
from semla_ros.library.storage import read_adapter
from semla_ros.prepare.adapters.write import write_adapter


def delta(layer):
    return layer.scaling * layer.lora_b.astype(np.float64) @ layer.lora_a.astype(np.float64)


@pytest.fixture(scope="module")
def trio(make_adapter):
    return [
        make_adapter("fog", seed=1, rank=4, scaling=2.0),
        make_adapter("rain", seed=2, rank=2, scaling=0.5),
        make_adapter("snow", seed=3, rank=7, scaling=1.0),
    ]


@pytest.fixture(scope="module")
def base(layers):
    rng = np.random.default_rng(7)
    return BaseWeights({w.name: rng.standard_normal(w.shape).astype(np.float32) for w in layers})


def test_other_shapes_of_one_layer_are_refused(trio, base, make_adapter):
    other = make_adapter("other", shapes={"head.attn.q": (6, 11)})
    with pytest.raises(AdapterMismatchError, match=r"'head\.attn\.q'.*\(6, 10\), \(6, 11\)"):
        MergedWeights(base, [trio[0], other], AdapterMix(("fog", "other"), (0.5, 0.5)))


def test_base_only_touches_nothing(trio, base):
    before = {name: base.get(name).copy() for name in base.layers}
    assert not MergedWeights(base, trio, AdapterMix.base_only()).names
    for name, weight in before.items():
        np.testing.assert_array_equal(base.get(name), weight)


def test_weight_on_the_base_shrinks_the_change(trio, base):
    half = MergedWeights(base, trio, AdapterMix((BASE, "fog"), (0.5, 0.5)))
    whole = MergedWeights(base, trio, AdapterMix(("fog",), (1.0,)))
    for name in half.names:
        middle = (base.get(name) + array_of(whole, name)) / 2
        np.testing.assert_allclose(array_of(half, name), middle, rtol=1e-4, atol=1e-4)


def test_there_and_back_gives_the_same_bits(trio, base):
    first = AdapterMix(("fog", "snow"), (0.7, 0.3))
    before = MergedWeights(base, trio, first)
    MergedWeights(base, trio, AdapterMix(("rain",), (1.0,)))
    after = MergedWeights(base, list(reversed(trio)), first)
    assert before.names == after.names
    for name in before.names:
        np.testing.assert_array_equal(array_of(before, name), array_of(after, name))


def test_a_missing_member_is_named(trio, base):
    with pytest.raises(LibraryError, match=r"missing \['night'\]"):
        MergedWeights(base, trio, AdapterMix(("fog", "night"), (0.5, 0.5)))


def test_a_delta_of_another_shape_is_refused(base, make_adapter):
    odd = make_adapter("odd", shapes={"head.attn.q": (6, 11)})
    with pytest.raises(AdapterMismatchError, match=r"\(6, 10\), got \(6, 11\)"):
        MergedWeights(base, [odd], AdapterMix(("odd",), (1.0,)))


@pytest.fixture(scope="module")
def peft():
    """PEFT, which needs an importable torchvision beside a CPU torch."""
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from semla_ros.prepare.bundler.clip import import_open_clip

        import_open_clip()
        return pytest.importorskip("peft", reason="peft is not installed")


def tiny_model(torch):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(10, 12), torch.nn.GELU(), torch.nn.Linear(12, 6))


def peft_model(peft, torch, adapters, **options):
    """Return a PEFT model holding `adapters`: name -> (rank, alpha), with random factors."""
    model = None
    generator = torch.Generator().manual_seed(1)
    for name, (rank, alpha) in adapters.items():
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0", "2"], **options)
        if model is None:
            model = peft.get_peft_model(tiny_model(torch), config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data = torch.randn(value.shape, generator=generator)
    return model.eval()


def saved(model, folder):
    """Return our reading of every adapter of a PEFT model, through PEFT's own files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return {
        name: read_adapter(folder / name if (folder / name).is_dir() else folder, name=name)
        for name in model.peft_config
    }


def merged_state(torch, model, active):
    model.set_adapter(active)
    state = model.merge_and_unload().state_dict()
    return {key.removesuffix(".weight"): v.numpy() for key, v in state.items() if "weight" in key}


def as_base(torch):
    state = tiny_model(torch).state_dict()
    return BaseWeights(
        {k.removesuffix(".weight"): state[k].numpy() for k in state if "weight" in k}
    )


def test_peft_cat_gives_the_same_weights(peft, tmp_path):
    import torch

    model = peft_model(peft, torch, {"fog": (4, 8), "rain": (2, 6), "snow": (3, 3)})
    ours = saved(model, tmp_path)
    weights = (0.5, 0.3, 0.2)
    model.add_weighted_adapter(list(ours), list(weights), "mix", combination_type="cat")
    reference = merged_state(torch, model, "mix")
    mix = AdapterMix(tuple(ours), weights)
    merged = MergedWeights(as_base(torch), list(ours.values()), mix)
    assert merged.names == {"0", "2"}
    for name in merged.names:
        np.testing.assert_allclose(array_of(merged, name), reference[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"2": 3}, "alpha_pattern": {"2": 5}},
        {"rank_pattern": {"2": 3}, "use_rslora": True},
    ],
    ids=str,
)
def test_one_peft_adapter_gives_the_same_weights(peft, tmp_path, options):
    import torch

    model = peft_model(peft, torch, {"fog": (4, 8)}, **options)
    ours = saved(model, tmp_path)
    merged = MergedWeights(as_base(torch), list(ours.values()), AdapterMix(("fog",), (1.0,)))
    reference = merged_state(torch, model, "fog")
    for name in merged.names:
        np.testing.assert_allclose(array_of(merged, name), reference[name], rtol=1e-5, atol=1e-5)


def test_peft_reads_what_we_write(peft, tmp_path):
    import torch

    model = peft_model(peft, torch, {"fog": (4, 8)}, rank_pattern={"2": 3})
    ours = saved(model, tmp_path / "peft")["fog"]
    write_adapter(tmp_path / "ours", ours, alpha=8.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(
            tiny_model(torch), tmp_path / "ours", adapter_name="fog"
        )
    theirs, back = merged_state(torch, model, "fog"), merged_state(torch, loaded, "fog")
    for name in ("0", "2"):
        np.testing.assert_allclose(theirs[name], back[name], rtol=1e-6, atol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_any_adapter_survives_the_disk(tmp_path_factory, make_adapter, seed):
    adapter = make_adapter("fog", seed=seed, rank=1 + seed % 5, scaling=0.1 + seed % 3)
    folder = tmp_path_factory.mktemp("disk")
    write_adapter(folder, adapter, alpha=4.0)
    after = read_adapter(folder, name="fog")
    assert adapter.layers.keys() == after.layers.keys()
    for name, layer in adapter.layers.items():
        np.testing.assert_allclose(delta(after.layers[name]), delta(layer), rtol=1e-6, atol=1e-6)
