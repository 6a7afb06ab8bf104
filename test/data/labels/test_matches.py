"""Which frames are without labels, and what the reader is told about it."""

from semla_ros.data.labels.matches import Matches

MS = 1_000_000


def matches(found, *offsets_ms):
    made = Matches(5 * MS)
    for _ in range(found):
        made.hit()
    for offset in offsets_ms:
        made.miss("'street'", None if offset is None else round(offset * MS))
    return made


def test_nothing_to_say_where_all_is_well():
    assert matches(3).gaps("'street_P.png'") == ""


def test_labels_of_every_tenth_frame_are_no_fault():
    assert matches(1, *(100 * i for i in range(1, 10))).gaps("x") == ""


def test_a_constant_offset_is_told_with_the_option_that_covers_it():
    told = matches(0, *[20.0] * 30).gaps("x")
    assert "20.0 ms behind" in told
    assert "--label-tolerance 0.025" in told
    assert "20.0 ms before" in matches(0, *[-20.0] * 30).gaps("x")


def test_frames_that_are_missed_narrowly_are_counted():
    told = matches(20, 8.0, 9.0, 7.0).gaps("x")
    assert told.startswith("3 frames have none within 0.005 s")


def test_names_that_never_meet_are_told_with_one_of_each():
    told = matches(0, None, None).gaps("'street_P.png'")
    assert "'street_P.png'" in told
    assert "'street'" in told
    assert "--label-map" in told
