"""Windows of word pieces over a note: every token has one, and every pair that fits into a window has one."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.windows.planning import Window

Ints = NDArray[np.int64]


class PairPlan(NamedTuple):
    """window: (pairs,) index of the window of each pair, into the note's windows and then into `extra`; -1 where no
    window can hold the pair. extra: windows for pairs that none of the note's own holds."""

    window: Ints
    extra: List[Window]


def piece_edges(counts: Sequence[int]) -> Ints:
    """(tokens + 1,) pieces before each token. counts: pieces of each token."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype="int64"))]).astype("int64")


def plan_windows(edges: Ints, ends: Ints, capacity: int, overlap: int) -> List[Window]:
    """Windows of at most `capacity` pieces whose cores follow each other without gap or overlap, as offsets of tokens.

    edges: of `piece_edges`; no token may have more than `capacity - 2 * overlap` pieces.
    ends: token offsets at which sentences end; cores end there where they can.
    overlap: pieces of context on each side of a core, as far as the note has them.
    """
    length = len(edges) - 1
    if not length:
        return []
    if edges[-1] <= capacity:
        return [Window(0, 0, length, length)]
    windows = []
    start = 0
    while start < length:
        end = _last_within(edges, start, capacity - 2 * overlap)
        if end < length:
            sentence = int(np.searchsorted(ends, end, side="right")) - 1
            end = int(ends[sentence]) if sentence >= 0 and ends[sentence] > start else end
        left = int(np.searchsorted(edges, edges[start] - overlap, side="left"))
        right = _last_within(edges, left, capacity)
        if right == length:
            left = min(left, int(np.searchsorted(edges, edges[-1] - capacity, side="left")))
        windows.append(Window(left, start, end, right))
        start = end
    return windows


def plan_pairs(windows: Sequence[Window], low: Ints, high: Ints, edges: Ints, capacity: int) -> PairPlan:
    """A window for each pair. low, high: (pairs,) first token of the pair and the one behind its last.

    Of the windows that hold a pair, which stand side by side, it is the one in their middle.
    """
    starts = np.array([window.context_start for window in windows], dtype="int64")
    stops = np.array([window.context_end for window in windows], dtype="int64")
    first = np.searchsorted(stops, high, side="left")
    last = np.searchsorted(starts, low, side="right") - 1
    chosen = np.where(first <= last, (first + last) // 2, -1)
    extra: List[Window] = []
    left_over = np.flatnonzero((chosen < 0) & fits(low, high, edges, capacity))
    for pair in left_over[np.lexsort((high[left_over], low[left_over]))].tolist():
        if not extra or high[pair] > extra[-1].context_end:
            start = int(low[pair])
            extra.append(Window(start, start, start, _last_within(edges, start, capacity)))
        chosen[pair] = len(windows) + len(extra) - 1
    return PairPlan(chosen, extra)


def fits(low: Ints, high: Ints, edges: Ints, capacity: int) -> NDArray[np.bool_]:
    """(pairs,) whether one window can hold both mentions of a pair and all between them."""
    return edges[high] - edges[low] <= capacity


def check_sizes(capacity: int, overlap: int) -> None:
    """Raise ValueError unless there is room for a core between two overlaps."""
    if overlap < 0 or capacity - 2 * overlap < 1:
        raise ValueError(
            f"a window of {capacity + 2} word pieces, two of them special ones, has no room for an overlap of "
            f"{overlap} on both sides: choose 0 to {max(0, (capacity - 1) // 2)}"
        )


def extent(start: Ints, end: Ints, head: Ints, tail: Ints) -> Tuple[Ints, Ints]:
    """(pairs,) first token of each pair and the one behind its last. start, end: of the mentions."""
    return np.minimum(start[head], start[tail]), np.maximum(end[head], end[tail])


def _last_within(edges: Ints, start: int, size: int) -> int:
    """The last token offset such that the tokens from `start` to there have at most `size` pieces."""
    return int(np.searchsorted(edges, edges[start] + size, side="right")) - 1
