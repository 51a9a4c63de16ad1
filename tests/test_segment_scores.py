"""Scores of untrimmed recordings, against numbers written out by hand and against counting by the definition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from mamp.evaluate.detection import (
    MAP_OVERLAPS,
    Detections,
    Scored,
    bootstrap_metrics,
    detection_metrics,
    edit_score,
    f1_counts,
    hits,
    overlaps,
)
from mamp.segment.segments import label_rows, runs

Row = tuple[int, int, int]


def scored(truth: Sequence[Row], found: Sequence[tuple[int, int, int, float]], frames: int = 30) -> Scored:
    rows = np.array([row[:3] for row in found], np.int64).reshape(-1, 3)
    known = np.array(truth, np.int64).reshape(-1, 3)
    sure = np.array([row[3] for row in found], np.float64)
    return Scored(known, rows, sure, label_rows(known, frames), label_rows(rows, frames))


# Class 1: the surest detection is right; the next one is a duplicate of it; the third overlaps by 5 of 15 frames only;
# the fourth overlaps by 9 of 10. Nothing of class 2 is found.
A = scored([(1, 0, 10), (1, 20, 30)], [(1, 0, 10, 0.9), (1, 0, 8, 0.8), (1, 21, 30, 0.6)])
B = scored([(1, 0, 10), (2, 20, 30)], [(1, 5, 15, 0.7)])


def test_numbers_written_out_by_hand() -> None:
    metrics, intervals = detection_metrics([A, B], 2, replicates=50)
    # Above an overlap of 1/3: right, wrong, wrong, right of 3 truths: precision 1 up to a recall of 1/3, 2/4 up to 2/3.
    # Below: right, wrong, right, right: 1 up to 1/3, then 3/4 up to 1. Class 2 has 0.
    high, low = (1 / 3 + 1 / 3 * 1 / 2) / 2, (1 / 3 + 2 / 3 * 3 / 4) / 2
    for least in MAP_OVERLAPS:
        assert metrics[f"map@{least}"] == pytest.approx(100 * (low if least < 0.33 else high)), least
    # In A 1 up to 1/2 and 2/3 up to 1; in B nothing.
    assert metrics["map_v@0.5"] == pytest.approx(100 * (1 / 2 + 1 / 2 * 2 / 3) / 2)
    # Runs: in A both are right; in B one overlaps by 1/3, and one is missed.
    assert metrics["f1@10"] == metrics["f1@25"] == pytest.approx(100 * 2 * 3 / (2 * 3 + 0 + 1))
    assert metrics["f1@50"] == pytest.approx(100 * 2 * 2 / (2 * 2 + 1 + 2))
    assert metrics["edit"] == pytest.approx((100 + 50) / 2)
    assert metrics["accuracy"] == pytest.approx(100 * (29 + 10) / 60)
    for name, (bottom, top) in intervals.items():
        assert bottom <= metrics[name] <= top, name
    assert intervals["accuracy"] == (pytest.approx(100 * 10 / 30), pytest.approx(100 * 29 / 30))


def test_draws_of_two_methods_are_paired() -> None:
    """The recordings differ far more than the methods, of which one is never worse if both have the same recordings."""
    worse = [scored([(1, 0, 10), (1, 20, 30)], [(1, 0, 10, 0.9), (1, 21, 29, 0.6)]), B]
    drawn, other = (bootstrap_metrics(some, 2, replicates=50) for some in ([A, B], worse))
    assert drawn["accuracy"].shape == (50,) and drawn["accuracy"].std() > 10
    assert set(np.round(drawn["accuracy"] - other["accuracy"], 6)) == set(np.round([0, 100 / 60, 100 / 30], 6))


def test_edit_score() -> None:
    assert edit_score([1, 2, 3], [1, 3]) == pytest.approx(100 * 2 / 3)
    assert edit_score([1, 2], [2, 1]) == 0
    assert edit_score([1, 2, 1], [1, 2, 1, 2, 1, 2]) == 50
    assert edit_score([], []) == 100 and edit_score([], [1]) == 0 and edit_score([1], []) == 0


def test_a_true_segment_counts_once() -> None:
    truth = np.array([[1, 0, 10]])
    halves = np.array([[1, 0, 5], [1, 5, 10]])
    assert f1_counts(truth, halves, 0.5) == (1, 1, 0)
    assert f1_counts(truth, halves, 0.51) == (0, 2, 1)
    assert f1_counts(truth, np.array([[2, 0, 10]]), 0.1) == (0, 1, 1)
    assert f1_counts(truth[:0], halves, 0.1) == (0, 2, 0) and f1_counts(truth, halves[:0], 0.1) == (0, 0, 1)
    assert hits(truth, halves, np.array([0.1, 0.2]), 0.4).tolist() == [False, True]
    assert hits(truth, halves, np.array([0.1, 0.2]), 0.5).tolist() == [False, False]  # more than that
    np.testing.assert_allclose(overlaps(truth, np.array([[1, 5, 15], [1, 20, 30], [2, 0, 10]])), [[1 / 3, 0, 0]])


def test_runs() -> None:
    labels = np.array([0, 0, 2, 2, 1, 1, 1, 0])
    assert runs(labels).tolist() == [[2, 2, 4], [1, 4, 7]]
    assert runs(labels, background=True).tolist() == [[0, 0, 2], [2, 2, 4], [1, 4, 7], [0, 7, 8]]
    assert runs(labels[:0]).shape == (0, 3)


def definition_of_ap(recordings: Sequence[Scored], label: int, least: float) -> float:
    """Average precision of a class by the definition: count for each limit of the score, integrate over recall."""
    kept = [
        (float(score), number, row)
        for number, one in enumerate(recordings)
        for row, score in zip(one.found.tolist(), one.scores, strict=True)
        if row[0] == label
    ]
    truths = sum(int((one.truth[:, 0] == label).sum()) for one in recordings)
    points = []
    for limit in sorted({score for score, _, _ in kept}, reverse=True):
        above = [(number, row) for score, number, row in kept if score >= limit]
        matched = set()
        for number, (_, start, end) in above:
            shares = {}
            for place, (other, first, last) in enumerate(recordings[number].truth.tolist()):
                if other == label:
                    both = len(set(range(start, end)) & set(range(first, last)))
                    shares[place] = both / len(set(range(start, end)) | set(range(first, last)))
            if shares and max(shares.values()) > least:
                matched.add((number, max(shares, key=lambda place: shares[place])))
        points.append((len(matched) / truths, len(matched) / len(above)))
    area, before = 0.0, 0.0
    for recall, _ in points:
        area += (recall - before) * max((p for r, p in points if r >= recall), default=0)
        before = recall
    return area


def test_average_precision_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    recordings = []
    for _ in range(6):
        cuts = np.sort(rng.choice(np.arange(1, 80), size=7, replace=False)).tolist()
        truth = [(int(rng.integers(1, 4)), a, b) for a, b in pairwise(cuts)]
        found = [
            (label if rng.random() < 0.8 else 1, max(0, a + int(rng.integers(-3, 4))), b + int(rng.integers(0, 4)) + 3)
            for label, a, b in truth + truth[:2]
        ]
        recordings.append(scored(truth, [(*row, float(rng.random())) for row in found], 90))
    measured, once = Detections(recordings, 3), np.ones(len(recordings))
    for least in MAP_OVERLAPS:
        expected = np.mean([definition_of_ap(recordings, label, least) for label in (1, 2, 3)])
        assert measured.over_actions(least, once) == pytest.approx(100 * expected), least
    twice = Detections([*recordings, *recordings], 3)
    assert twice.over_actions(0.5, np.ones(12)) == pytest.approx(measured.over_actions(0.5, once), abs=3)


def test_drawing_a_recording_twice_is_having_it_twice() -> None:
    one = Detections([A, B], 2).over_actions(0.5, np.array([2.0, 1.0]))
    assert one == pytest.approx(Detections([A, A, B], 2).over_actions(0.5, np.ones(3)), abs=1e-9)


def test_nothing_found_is_zero() -> None:
    empty = scored([(1, 0, 10)], [])
    metrics, _ = detection_metrics([empty], 1, replicates=2)
    assert metrics["map@0.5"] == metrics["f1@10"] == metrics["edit"] == 0 and metrics["accuracy"] == pytest.approx(
        200 / 3
    )
