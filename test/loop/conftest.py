"""A tiny bundle, a labelled set, and an adapter that was judged without any training."""

import shutil

import numpy as np
import pytest
from fakes import TINY_CLASSES, tiny_bundle

from semla_ros.bundle import open_bundle
from semla_ros.data.labelling.label_set import Labelling, write_label_set

COLOURS = np.array([[90, 90, 90], [200, 30, 30], [120, 170, 240], [20, 120, 20]], np.uint8)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    pytest.importorskip("torch", reason="needs torch: pip install 'semla-ros[train]'")
    return tiny_bundle(tmp_path_factory.mktemp("made") / "bundle")


@pytest.fixture
def bundle(tiny, tmp_path):
    shutil.copytree(tiny.root, tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle", verify=False)


@pytest.fixture
def labelled(tmp_path):
    """A set of 32 images with labels: road below, sky above, a car at changing places."""
    masks = []
    for i in range(32):
        mask = np.full((24, 40), 2, np.uint8)
        mask[12:] = 0
        mask[10:16, i : i + 8] = 1
        masks.append(mask)
    items = [Labelling(f"anna-{i:019d}", COLOURS[m], None) for i, m in enumerate(masks)]
    found = write_label_set(tmp_path / "dusk", TINY_CLASSES, items)
    for image, mask in zip(found.images, masks, strict=True):
        found.write_label(image, mask)
    return found


@pytest.fixture
def judged(bundle):
    """The verdict of an adapter `dusk` in quarantine that passed; its files are those of `fog`."""
    from semla_ros.library.library import AdapterLibrary
    from semla_ros.loop.quarantine import DomainTrial, Verdict, write_verdict
    from semla_ros.loop.trial import adapter_key, library_key, trial_bundle
    from semla_ros.prepare.adapters.changes import add_adapter

    trial = trial_bundle(bundle, "dusk")
    add_adapter(AdapterLibrary.of(trial), bundle.library / "fog", "dusk")
    verdict = Verdict(
        "dusk",
        library_key(trial, without="dusk"),
        (DomainTrial("dusk", 20, 0.40, 0.50, 0.9),),
        (),
        adapter_key(trial.library, "dusk"),
    )
    write_verdict(bundle, verdict)
    return verdict
