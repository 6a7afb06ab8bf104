"""Recipes: SemLA's by default, exceptions as files, and mistakes named."""

from dataclasses import replace

import pytest

from semla_ros.core.errors import TrainingError
from semla_ros.core.shipped import shipped_files
from semla_ros.prepare.training.recipe import (
    Recipe,
    changed,
    read_recipe,
    recipe_from_dict,
    recipe_to_dict,
)


def test_the_file_that_says_everything_says_the_defaults():
    assert read_recipe("semla", None, kind="adapter") == ("semla", Recipe())


@pytest.mark.parametrize("name", shipped_files("config/recipes"))
def test_every_shipped_recipe_reads_and_survives_its_dict(name):
    recipe = read_recipe(name, None, kind="adapter")[1]
    assert recipe_from_dict(recipe_to_dict(recipe), where="x") == recipe


def test_published_exceptions():
    def read(name):
        return read_recipe(name, None, kind="adapter")[1]

    assert (read("muses").learning_rate, read("muses").steps) == (1e-5, 3000)
    assert read("acdc").weight_decay == 1e-4
    assert (read("bdd").batch, read("cityscapes").steps) == (4, 20000)
    recycle = read("recycle")
    assert (recycle.ranks.main, recycle.ranks.sub, recycle.sub_rate) == (32, 4, 0.5)
    assert recycle.alpha / recycle.ranks.total == pytest.approx(1 / 36)
    assert read("recycle-real").sub_rank == 2


def test_a_bundle_names_the_recipe_that_suits_it(bundle):
    assert read_recipe(None, bundle, kind="adapter")[0] == "semla"
    assert read_recipe(None, bundle, kind="base")[0] == "base"
    (bundle.root / "recipes.yaml").write_text("adapter: small\n")
    assert read_recipe(None, bundle, kind="adapter")[0] == "small"
    assert read_recipe("acdc", bundle, kind="adapter")[0] == "acdc"


def test_fields_are_set_from_text():
    recipe = changed(
        Recipe(), {"learning_rate": "3e-4", "steps": "50", "warmup": "5", "flip": "false"}
    )
    assert recipe == replace(Recipe(), learning_rate=3e-4, steps=50, warmup=5, flip=False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stepz": 3}, "unknown field 'stepz': did you mean 'steps'"),
        ({"steps": "many"}, "steps: expected int, got 'many'"),
        ({"steps": 10}, "expected warmup below the 10 steps"),
        ({"batch": 3, "accumulate": 2}, "that 2 parts divide"),
        ({"init": "svd"}, "expected init of"),
        ({"sub_rank": 1}, "sub_rank 1 is for init 'rrqr'"),
        ({"held_out": 1.5}, r"held_out in \(0, 1\)"),
        ({"learning_rate": -1}, "learning_rate > 0"),
        ({"official": ["x"]}, "expected official of"),
        ([1], "expected fields of a recipe"),
    ],
)
def test_mistakes_are_named(fields, message):
    with pytest.raises(TrainingError, match=message):
        recipe_from_dict(fields, where="mine.yaml")


def test_a_recipe_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(TrainingError, match=r"expected a recipe of .*'semla'.* got 'semlo'"):
        read_recipe("semlo", None, kind="adapter")
    broken = tmp_path / "mine.yaml"
    broken.write_text("steps: [")
    with pytest.raises(TrainingError, match=r"'mine\.yaml' is no recipe"):
        read_recipe(str(broken), None, kind="adapter")
