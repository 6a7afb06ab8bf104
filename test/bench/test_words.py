"""What the table of hints counts, and that its hints are not read off the captions."""

import numpy as np
import pytest

from semla_ros.bench import words
from semla_ros.demo.world import DOMAINS, domain_captions


def test_hints_are_said_in_other_words_than_captions():
    said = {words.spoken(domain) for domain in DOMAINS}
    assert len(said) == len(DOMAINS)
    assert not said & {text for domain in DOMAINS for text in domain_captions(domain)}


def test_spans_lie_around_the_cut():
    frames = round((words.BEFORE_S + words.AFTER_S) * words.FPS)
    at = round(words.BEFORE_S * words.FPS)
    counts = np.zeros((frames, 3, 1), np.int64)
    counts[:at, 0], counts[at : at + round(words.FPS), 2] = 1, 1
    counts[at + round(words.FPS) :] = 1
    assert words._spans(counts, at) == pytest.approx([100.0, 0.0, 100.0 / 3])
