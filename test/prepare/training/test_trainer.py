"""The loop: it learns, it repeats, it goes on as if nothing had happened, it ends early."""

import re
import resource
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from semla_ros.core.errors import TrainingError
from semla_ros.prepare.training.checkpoint import Progress, Score, load, save
from semla_ros.prepare.training.hardware import CPU, CUDA, Hardware
from semla_ros.prepare.training.low_rank import adapter_of
from semla_ros.prepare.training.samples import ArrayImages
from semla_ros.prepare.training.steps import Steps
from semla_ros.prepare.training.trainer import RunOptions, measure, train


class _Stops:
    """Images that end the run at the n-th look, as a power cut would."""

    def __init__(self, images, after):
        self.images, self.left = images, after

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.images[index]


def _options(tmp_path, **changes):
    return RunOptions(Hardware(CPU), tmp_path / "checkpoint.safetensors", **changes)


def _bytes(adapter):
    return [(n, x.lora_a.tobytes(), x.lora_b.tobytes()) for n, x in adapter.layers.items()]


def test_an_interrupted_run_goes_on_to_the_same_adapter(
    model, halves, on_layers, problem, recipe, tmp_path
):
    def run(options, train_on=None):
        with on_layers(recipe) as changes:
            done = train(problem(model, changes, recipe, train_on), recipe, options)
            return done, _bytes(adapter_of(changes, name="x", base_model="b"))

    whole, adapter = run(RunOptions(Hardware(CPU)))
    with pytest.raises(KeyboardInterrupt):
        run(_options(tmp_path), _Stops(halves, after=4 * recipe.batch + 2))
    scores = []
    resumed, again = run(_options(tmp_path, on_score=scores.append))
    assert [s.step for s in scores] == [6], "steps 0 to 4 were not repeated"
    assert again == adapter
    assert resumed.scores == whole.scores


def test_parts_of_a_batch_make_the_same_gradient_as_the_whole(
    model, halves, on_layers, problem, recipe
):
    """With one image there is only one batch to draw."""
    single = ArrayImages(halves.rgb[:1], halves.labels[:1])
    plain = replace(recipe, flip=False, colour=False, steps=2)
    with on_layers(plain) as changes:
        whole = train(problem(model, changes, plain, single), plain, RunOptions(Hardware(CPU)))
    parts = replace(plain, accumulate=2)
    with on_layers(parts) as changes:
        split = train(problem(model, changes, parts, single), parts, RunOptions(Hardware(CPU)))
    assert split.scores[0].loss == pytest.approx(whole.scores[0].loss, rel=1e-4)


def test_training_stops_where_nothing_gets_better_and_keeps_the_best(
    model, on_layers, problem, recipe
):
    hopeless = replace(recipe, steps=40, learning_rate=1e-12, patience=2)
    with on_layers(hopeless) as changes:
        done = train(problem(model, changes, hopeless), hopeless, RunOptions(Hardware(CPU)))
    assert done.step == 6, "the first evaluation, and two that were no better"
    assert done.best_score.step == 2


def test_the_best_parameters_are_those_of_the_best_evaluation():
    weight = torch.nn.Parameter(torch.zeros(1))
    progress = Progress()
    for step, miou in ((1, 0.2), (2, 0.5), (3, 0.4)):
        weight.data.fill_(step)
        progress = progress.scored(Score(step, 1.0, miou), {"w": weight})
    assert progress.best_score.step == 2
    assert progress.best["w"].item() == 2.0


def test_nothing_is_learnt_while_a_run_is_measured(model, on_layers, problem, recipe):
    with on_layers(recipe) as changes:
        before = {k: p.detach().clone() for k, p in changes.parameters().items()}
        measured = measure(problem(model, changes, recipe), recipe, Hardware(CPU), steps=1)
        assert all(torch.equal(before[k], p) for k, p in changes.parameters().items())
        assert all(p.grad is None for p in changes.parameters().values())
    assert measured.seconds > 0
    assert measured.memory_bytes > 1e6


def test_a_loss_that_is_not_finite_ends_the_run(model, on_layers, problem, recipe):
    wild = replace(recipe, learning_rate=1e30, clip_norm=1e30, warmup=0)
    with (
        on_layers(wild) as changes,
        pytest.raises(
            TrainingError, match=r"loss became (nan|inf) at step \d+: expected a finite one; lower"
        ),
    ):
        train(problem(model, changes, wild), wild, RunOptions(Hardware(CPU)))


def test_no_images_are_refused(model, on_layers, problem, recipe):
    empty = ArrayImages(np.zeros((0, 4, 4, 3), np.uint8), np.zeros((0, 4, 4), np.uint8))
    with on_layers(recipe) as changes, pytest.raises(TrainingError, match="at least one"):
        train(problem(model, changes, recipe, empty), recipe, RunOptions(Hardware(CPU)))


@pytest.mark.parametrize(
    ("batch", "accumulate", "fits", "advice"),
    [
        (4, 1, 1, "accumulate=4 (or batch=1)"),
        (5, 1, 2, "accumulate=5 (or batch=2)"),
        (6, 2, 1, "accumulate=6 (or batch=2)"),
    ],
)
def test_what_fits_is_said_where_memory_does_not_suffice(
    model, on_layers, problem, recipe, batch, accumulate, fits, advice
):
    recipe = replace(recipe, batch=batch, accumulate=accumulate)
    with on_layers(recipe) as changes:
        made = problem(model, changes, recipe)
        forward = made.objective.forward

        def small(image, *rest):
            if len(image) > fits:
                torch.empty(1 << 50, dtype=torch.uint8)  # what a machine really says
            return forward(image, *rest)

        made.objective.forward = small
        with pytest.raises(
            TrainingError,
            match=rf"out of memory .*: {fits} at a time would fit: --set {re.escape(advice)}$",
        ):
            train(made, recipe, RunOptions(Hardware(CPU)))


@contextmanager
def _full_disk(size):
    """Let no file grow beyond `size` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_leaves_the_checkpoint_before(
    model, halves, on_layers, problem, recipe, tmp_path
):
    options = _options(tmp_path)
    with on_layers(recipe) as changes, pytest.raises(KeyboardInterrupt):
        train(problem(model, changes, recipe, _Stops(halves, 10)), recipe, options)
    before = options.checkpoint.read_bytes()
    with (
        on_layers(recipe) as changes,
        _full_disk(10_000),
        pytest.raises(
            TrainingError, match=r"cannot write the checkpoint .* make room, then give the same"
        ),
    ):
        train(problem(model, changes, recipe), recipe, options)
    assert options.checkpoint.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_steps_that_float16_skipped_stay_skipped(tmp_path):
    def begun():
        weight = torch.nn.Parameter(torch.ones(2))
        return {"w": weight}, torch.optim.AdamW([weight])

    parameters, optimiser = begun()
    parameters["w"].grad = torch.ones(2)
    optimiser.step()
    path = tmp_path / "checkpoint.safetensors"
    progress = Progress().scored(Score(3, 1.0, 0.5), parameters)
    save(path, progress, parameters, optimiser)
    again, resumed = begun()
    assert load(path, again, resumed).step == 3
    expected = optimiser.state_dict()["state"][0]
    found = resumed.state_dict()["state"][0]
    assert all(torch.equal(found[part], expected[part]) for part in expected)
    assert found["step"].dtype == expected["step"].dtype


def test_a_damaged_checkpoint_is_refused(model, on_layers, problem, recipe, tmp_path):
    options = _options(tmp_path)
    options.checkpoint.write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with on_layers(recipe) as changes, pytest.raises(TrainingError, match="--fresh starts anew"):
        train(problem(model, changes, recipe), recipe, options)


def test_processes_that_train_a_base_do_not_wait_for_idle_weights(
    model, on_layers, problem, recipe
):
    with on_layers(recipe) as changes:
        made = problem(model, changes, recipe)
        adapter = Steps(made, recipe, Hardware(CPU)).accelerator
    made.objective.changes = torch.nn.ModuleList()
    base = Steps(made, recipe, Hardware(CPU)).accelerator
    waits = [not each.ddp_handler.find_unused_parameters for each in (adapter, base)]
    assert waits == [True, False]


def test_emulated_bfloat16_is_none(monkeypatch):
    def supported(including_emulation=True):
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "old")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert Hardware(CUDA).resolved().precision == "f32"
    with pytest.raises(TrainingError, match="old has none: take f16 or f32"):
        Hardware(CUDA, "bf16").resolved()


def test_hardware_that_is_not_there_is_refused():
    with pytest.raises(TrainingError, match="expected a device of"):
        Hardware("tpu")
    with pytest.raises(TrainingError, match="needs a GPU"):
        Hardware(CPU, "f16").resolved()
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match=r"expected an NVIDIA GPU .* --device cpu"):
            Hardware(CUDA).resolved()
