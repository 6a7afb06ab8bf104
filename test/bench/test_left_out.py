"""Which domains are missed when they are missing: the demo library's own kept embeddings."""

from semla_ros.bench.left_out import shares
from semla_ros.bundle import open_bundle
from semla_ros.pipeline.assembly import default_bundle


def test_snow_is_missed_and_what_neighbours_cover_is_not():
    bundle = open_bundle(default_bundle(), verify=False)
    snow, covered = shares(bundle, ("snow-day", "snow-night")), shares(bundle, ("fog-night",))
    assert snow[0] > 0.9
    assert covered[0] < 0.1
    for outside, uncovered in (snow, covered):
        assert 0 <= outside <= uncovered <= 1
