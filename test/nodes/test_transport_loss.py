"""transport_loss: what was published and never came is counted, whatever the middleware tells."""

import random

import pytest

from semla_ros.nodes.transport_loss import WINDOW_MS, TransportLoss

PERIOD_NS = 100_000_000


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def numbered(number, publisher=None):
    info = {"publication_sequence_number": number}
    return info if publisher is None else info | {"publisher_gid": {"data": publisher}}


def lost_of(infos, publishers=1):
    loss = TransportLoss(lambda: publishers)
    for info in infos:
        loss.arrived(info, 0)
    return loss.report().lost


def test_gaps_of_one_publisher_are_counted_to_the_image():
    sent = [n for n in range(100, 1100) if random.Random(n).random() > 0.19]
    missing = sent[-1] - sent[0] + 1 - len(sent)
    assert missing > 100
    assert lost_of([numbered(n, b"a") for n in sent]) == missing
    assert lost_of([numbered(n) for n in sent]) == missing


def test_publishers_are_told_apart_and_a_restart_is_no_loss():
    two = [numbered(n + shift, gid) for n in range(50) for gid, shift in ((b"a", 7), (b"b", 900))]
    assert lost_of(two) == 0
    assert lost_of([*two, numbered(60, b"a")]) == 60 - 56 - 1
    assert lost_of([numbered(n) for n in (500, 501, 1, 2, 3, 5)]) == 1


def test_series_that_cannot_be_told_apart_count_nothing():
    mixed = [numbered(n + shift) for n in range(50) for shift in (7, 900)]
    assert lost_of(mixed, publishers=2) == 0


def by_stamps(stamps):
    loss = TransportLoss(lambda: 1)
    for stamp in stamps:
        loss.arrived({"publication_sequence_number": None}, stamp)
    return loss.report().lost


def test_without_numbers_the_stamps_tell():
    jitter = random.Random(3)
    kept = [n for n in range(400) if n % 10 not in (4, 5) or n < 10]
    stamps = [n * PERIOD_NS + round(jitter.uniform(-0.2, 0.2) * PERIOD_NS) for n in kept]
    assert by_stamps(stamps) == 400 - len(kept)


@pytest.mark.parametrize(
    "stamps",
    [
        [0] * 50,
        [n * PERIOD_NS + (3 * PERIOD_NS if n % 2 else 0) for n in range(50)],
        [n * PERIOD_NS for n in (*range(20), *range(100, 120))],
        [n * PERIOD_NS for n in (*range(20), *range(20))],
    ],
    ids=["constant", "two clocks", "a pause", "a loop"],
)
def test_stamps_that_say_nothing_count_nothing(stamps):
    assert by_stamps(stamps) == 0


def test_what_the_middleware_reports_counts_where_nothing_arrives():
    loss = TransportLoss(lambda: 1)
    loss.report()
    loss.reported(120)
    assert (loss.report().lost, loss.report().share) == (120, 1.0)
    loss.arrived(numbered(1, b"a"), 0)
    loss.arrived(numbered(201, b"a"), 0)
    assert loss.report().lost == 199


def test_the_share_is_of_the_last_while():
    clock = Clock()
    loss = TransportLoss(lambda: 1, clock=clock)
    number, shares = 0, []
    for second in range(90):
        for _ in range(10):
            number += 1 + (second < 30)
            loss.arrived(numbered(number, b"a"), 0)
        clock.now += 1000.0
        shares.append(loss.report().share)
    assert shares[29] == pytest.approx(0.5, abs=0.01)
    assert 0 < shares[45] < 0.4
    assert shares[30 + round(WINDOW_MS / 1000) + 1] == 0
    assert loss.report().lost == 299
