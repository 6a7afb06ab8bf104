"""An adapter either fits the bundle whole or is refused with what was expected."""

import numpy as np
import pytest

from semla_ros.core.errors import AdapterMismatchError
from semla_ros.library.compatibility import check_adapter, check_statistics
from semla_ros.library.statistics import DomainStatistics


@pytest.fixture
def by_name(layers):
    return {layer.name: layer for layer in layers}


@pytest.mark.parametrize("base", ["catseg-tiny:1234", None])
def test_a_fitting_adapter_passes(by_name, make_adapter, base):
    check_adapter(make_adapter(base_model=base), by_name, base_model="catseg-tiny:1234")


def test_another_base_is_refused(by_name, make_adapter):
    with pytest.raises(AdapterMismatchError, match=r"'catseg-tiny:1234', got 'other'"):
        check_adapter(make_adapter(base_model="other"), by_name, base_model="catseg-tiny:1234")


def test_live_changes_of_unknown_layers_are_refused_and_listed(by_name, make_adapter):
    adapter = make_adapter(shapes={"clip.blocks.0.attn.q_proj": (8, 8), "head.attn.q": (6, 10)})
    with pytest.raises(AdapterMismatchError, match=r"changes 1 modules.*q_proj"):
        check_adapter(adapter, by_name, base_model="catseg-tiny:1234")


def test_another_shape_is_refused(by_name, make_adapter):
    adapter = make_adapter(shapes={"head.attn.q": (6, 11)})
    with pytest.raises(
        AdapterMismatchError, match=r"expected \(out, in\) \(6, 10\), got \(6, 11\)"
    ):
        check_adapter(adapter, by_name, base_model="catseg-tiny:1234")


PUBLISHED = "openai/clip-vit-large-patch14"


@pytest.mark.parametrize(
    ("made_with", "wanted"),
    [("clip", "clip"), ("clip", None), (None, None), (None, PUBLISHED), (PUBLISHED, PUBLISHED)],
)
def test_a_fitting_centroid_passes(made_with, wanted):
    statistics = DomainStatistics(np.ones(3, np.float32), encoder=made_with)
    check_statistics(statistics, "fog", encoder=wanted, dim=3)


def test_a_silent_centroid_is_semlas_own_and_no_other_encoders():
    statistics = DomainStatistics(np.ones(3, np.float32))
    with pytest.raises(
        AdapterMismatchError, match=rf"'dino', got '{PUBLISHED}' \(the file names none\)"
    ):
        check_statistics(statistics, "fog", encoder="dino", dim=3)


def test_a_centroid_of_another_encoder_is_refused():
    statistics = DomainStatistics(np.ones(3, np.float32), encoder="dino")
    with pytest.raises(AdapterMismatchError, match="'clip', got 'dino': generate"):
        check_statistics(statistics, "fog", encoder="clip", dim=3)


def test_a_centroid_of_another_length_is_refused():
    with pytest.raises(AdapterMismatchError, match="length 4, got 3"):
        check_statistics(DomainStatistics(np.ones(3, np.float32)), "fog", encoder=None, dim=4)
