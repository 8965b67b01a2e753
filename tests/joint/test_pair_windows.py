import random

import numpy as np
import pytest

from spacy_clinical_ner.joint.pair_windows import check_sizes, fits, piece_edges, plan_pairs, plan_windows


def random_note(rng: random.Random) -> tuple:
    overlap = rng.randint(0, 5)
    capacity = 2 * overlap + rng.randint(1, 12)
    counts = [rng.randint(1, capacity - 2 * overlap) for _ in range(rng.randint(0, 60))]
    ends = sorted({*rng.sample(range(1, len(counts) + 1), k=len(counts) // 5), len(counts)} - {0})
    return counts, np.array(ends, dtype="int64"), capacity, overlap


def test_cores_cover_every_token_once_and_windows_hold_what_they_may():
    rng = random.Random(0)
    for _ in range(500):
        counts, ends, capacity, overlap = random_note(rng)
        edges = piece_edges(counts)
        windows = plan_windows(edges, ends, capacity, overlap)
        assert [i for window in windows for i in range(window.start, window.end)] == list(range(len(counts)))
        for window in windows:
            assert window.context_start <= window.start < window.end <= window.context_end
            assert edges[window.context_end] - edges[window.context_start] <= capacity
            # Context of at least `overlap` pieces, but for what would be cut off a token, or lies outside the note.
            for pieces, outside in (
                (edges[window.start] - edges[window.context_start], window.context_start == 0),
                (edges[window.context_end] - edges[window.end], window.context_end == len(counts)),
            ):
                assert outside or pieces > overlap - max(counts)
        assert (len(windows) > 1) == (edges[-1] > capacity)


def test_cores_end_with_sentences_where_they_can():
    edges = piece_edges([1] * 30)
    windows = plan_windows(edges, np.array([4, 9, 17, 30]), capacity=12, overlap=2)
    assert [window.end for window in windows] == [4, 9, 17, 25, 30]


def test_a_sentence_that_just_fits_is_in_the_core():
    windows = plan_windows(piece_edges([1] * 20), np.array([4, 8, 20]), capacity=12, overlap=2)
    assert windows[0].end == 8


def test_every_pair_that_fits_has_a_window():
    rng = random.Random(1)
    added = 0
    for _ in range(500):
        counts, ends, capacity, overlap = random_note(rng)
        if not counts:
            continue
        edges = piece_edges(counts)
        windows = plan_windows(edges, ends, capacity, overlap)
        pairs = [sorted(rng.sample(range(len(counts) + 1), 2)) for _ in range(20)]
        low, high = np.array(pairs, dtype="int64").T
        plan = plan_pairs(windows, low, high, edges, capacity)
        everywhere = [*windows, *plan.extra]
        for (first, last), window in zip(pairs, plan.window.tolist()):
            if edges[last] - edges[first] > capacity:
                assert window == -1
            else:
                assert everywhere[window].context_start <= first and last <= everywhere[window].context_end
        for window in plan.extra:
            assert edges[window.context_end] - edges[window.context_start] <= capacity
        added += len(plan.extra)
        assert np.array_equal(plan.window >= 0, fits(low, high, edges, capacity))
    assert added


def test_a_pair_is_seen_in_the_middle_of_the_windows_that_hold_it():
    edges = piece_edges([1] * 60)
    windows = plan_windows(edges, np.array([60]), capacity=30, overlap=13)  # cores of 4 tokens
    plan = plan_pairs(windows, np.array([30]), np.array([32]), edges, 30)
    holding = [i for i, window in enumerate(windows) if window.context_start <= 30 and window.context_end >= 32]
    assert len(holding) > 4
    assert plan.window.tolist() == [(holding[0] + holding[-1]) // 2]


@pytest.mark.parametrize(("capacity", "overlap"), [(10, 5), (10, -1), (0, 0)])
def test_sizes_without_room_for_a_core(capacity, overlap):
    with pytest.raises(ValueError, match="no room for an overlap"):
        check_sizes(capacity, overlap)
