"""exclude: a name the library does not have is refused when given, and told when it is lost."""

import itertools
import shutil
from dataclasses import replace

import pytest

from semla_ros.core.config import Config
from semla_ros.core.errors import ConfigError, EngineError
from semla_ros.core.types import BASE, AdapterMix
from semla_ros.pipeline import build_pipeline


def test_a_misspelt_name_is_refused_with_what_was_meant(world, make_config):
    with world.pipeline(exclude="red") as pipeline:
        with pytest.raises(ConfigError, match=r"got 'gren': did you mean 'green'\?"):
            pipeline.configure(make_config(exclude="red,gren"))
        with pytest.raises(ConfigError, match="got 'xyz': leave it out"):
            pipeline.configure(make_config(exclude="xyz"))
        pipeline.configure(make_config(exclude="red, green"))
        pipeline.poll(1)
        assert pipeline.config.excluded == {"red", "green"}


@pytest.mark.parametrize(
    ("pinned", "left"), [({"red": 0.5, "green": 0.5}, "green"), ({"red": 1.0}, BASE)]
)
def test_a_mix_by_hand_loses_what_is_excluded_afterwards(
    world, make_config, make_frames, pinned, left
):
    with world.pipeline() as pipeline:
        pipeline.pin(AdapterMix.from_weights(pinned))
        for frame in make_frames("red", "red"):
            pipeline.step(frame)
        assert pipeline.active.weight("red") > 0
        pipeline.configure(make_config(exclude="red"))
        result = pipeline.step(make_frames("red", start=2)[0])
        assert result.mix.names == (left,)
        assert pipeline.pinned == result.mix
        assert result.support.level != "OK"


def pinned(pipeline, make_frames):
    pipeline.pin(AdapterMix.from_weights({"red": 0.5, "green": 0.5}))
    for frame in make_frames("red", "red"):
        pipeline.step(frame)
    assert set(pipeline.active.names) == {"red", "green"}


def test_what_cannot_be_loaded_leaves_with_what_is_excluded(world, make_config, make_frames):
    with world.pipeline() as pipeline:
        pinned(pipeline, make_frames)
        (world.root / "library" / "green" / "adapter_model.safetensors").write_bytes(b"torn")
        pipeline.library._memory.clear()
        pipeline.configure(make_config(exclude="red"))
        results = [pipeline.step(frame) for frame in make_frames(*["red"] * 20, start=2)]
        swaps = [swap for result in results for swap in result.swaps]
        assert [(swap.committed, swap.to_mix.names) for swap in swaps] == [
            (False, ("green",)),
            (True, (BASE,)),
        ]
        assert pipeline.pinned == AdapterMix.base_only()


def test_a_swap_away_from_what_is_excluded_that_fails_is_tried_rarer_and_rarer(
    world, make_config, make_frames
):
    with world.pipeline() as pipeline:
        pinned(pipeline, make_frames)
        prepare = world.engine._prepare_impl

        def fail(*_):
            raise EngineError("no memory")

        world.engine._prepare_impl = fail
        pipeline.configure(make_config(exclude="red"))
        tried = []
        for frame in make_frames(*["red"] * 200, start=2):
            tried += [swap.stamp_ns * 1e-9 for swap in pipeline.step(frame).swaps]
        pauses = [b - a for a, b in itertools.pairwise(tried)]
        assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0], abs=0.21)
        world.engine._prepare_impl = prepare
        for frame in make_frames(*["red"] * 170, start=202):
            pipeline.step(frame)
        assert pipeline.pinned == AdapterMix(("green",), (1.0,))


def test_a_damaged_adapter_may_be_excluded(world, make_config):
    (world.root / "library" / "red" / "adapter_model.safetensors").write_bytes(b"torn")
    with world.pipeline() as pipeline:
        assert "red" in pipeline.library.problems
        pipeline.configure(make_config(exclude="red"))


def test_a_pipeline_is_not_built_with_a_misspelt_name(small):
    config = replace(Config(), bundle=str(small), engine="fake", adaptation="inline")
    with build_pipeline(config) as pipeline:
        name = pipeline.library.names[0]
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        build_pipeline(replace(config, exclude=f"{name}x"))


def test_a_name_that_a_reload_loses_is_told_and_refuses_no_other_change(
    world, make_config, caplog
):
    with world.pipeline(exclude="red") as pipeline:
        shutil.rmtree(world.root / "library" / "red")
        pipeline.reload_library()
        pipeline.poll(1)
        assert pipeline.health.unknown_excluded == ("red",)
        assert sum("not in the library: ['red']" in r.getMessage() for r in caplog.records) == 1
        pipeline.configure(make_config(exclude="red", top_k=2))
        pipeline.configure(make_config())
        pipeline.poll(2)
        assert pipeline.health.unknown_excluded == ()
