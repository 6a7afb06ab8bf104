from itertools import combinations

import numpy as np

from semla_ros.core.viz.palette import ROAD_SCENE, color_of, colors_for, vocabulary_of


def test_known_road_names_have_the_colours_people_know():
    assert color_of("road") == (128, 64, 128)
    assert color_of(" Road , street") == color_of("road")
    assert color_of("pedestrian") == color_of("person")
    assert color_of("sign") == color_of("traffic sign")


def test_a_name_keeps_its_colour_whatever_stands_beside_it():
    alone = colors_for(["forklift"])[0]
    among = colors_for(["road", "pallet", "forklift"])[2]
    np.testing.assert_array_equal(alone, among)
    assert color_of("forklift") == (12, 250, 56), "colours people got used to must not change"


def test_colours_of_unknown_names_are_spread_and_bright():
    colors = [color_of(f"thing {i}") for i in range(60)]
    assert len(set(colors)) == 60
    assert min(max(color) for color in colors) >= 160
    far = [max(abs(a - b) for a, b in zip(x, y, strict=True)) for x, y in combinations(colors, 2)]
    assert np.mean(np.asarray(far) > 25) > 0.95


def test_road_scene_colours_are_all_different():
    assert len(set(ROAD_SCENE.values())) == len(ROAD_SCENE)


def test_a_vocabulary_comes_with_its_colours():
    vocabulary = vocabulary_of(["road", "forklift"])
    assert vocabulary.colors.dtype == np.uint8
    np.testing.assert_array_equal(vocabulary.colors, colors_for(["road", "forklift"]))
    assert colors_for([]).shape == (0, 3)
