"""When does a predicted mention count as found? Two rules, both one-to-one and both over characters of the document."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import AbstractSet, Callable, Dict, Hashable, Iterable, List, NamedTuple, Sequence, Set, Tuple, TypeVar

Fragments = Tuple[Tuple[int, int], ...]
Item = TypeVar("Item", bound=Hashable)


class Mention(NamedTuple):
    """A labelled set of characters: `fragments` are sorted, disjoint half-open character offsets (start, end)."""

    label: str
    fragments: Fragments


class Counts(NamedTuple):
    """True positives, false positives and false negatives; the gold support is `tp + fn`."""

    tp: int
    fp: int
    fn: int


def strict_counts(gold: AbstractSet[Mention], predicted: AbstractSet[Mention]) -> Dict[str, Counts]:
    """Counts per label of one document: a prediction is right if label and every fragment agree exactly.

    This is the rule of the CANTEMIST track: unique (document, start, end, label). For a discontinuous gold mention the
    fragments themselves must agree, so a prediction of its outer extent is wrong (one false positive and one miss).
    """
    return count_by_label(gold, predicted, lambda mention: mention.label)


def count_by_label(
    gold: AbstractSet[Item], predicted: AbstractSet[Item], label_of: Callable[[Item], str]
) -> Dict[str, Counts]:
    """Counts per `label_of(item)` where a predicted item is right if it equals a gold one."""
    tp, fp, fn = (Counter(map(label_of, items)) for items in (gold & predicted, predicted - gold, gold - predicted))
    return {label: Counts(tp[label], fp[label], fn[label]) for label in {*tp, *fp, *fn}}


def relaxed_counts(gold: AbstractSet[Mention], predicted: AbstractSet[Mention]) -> Dict[str, Counts]:
    """Counts per label of one document: a prediction is right if it shares a character with a gold mention.

    Gold and predicted mentions of the same label are paired one-to-one, and as many pairs are made as can be (a
    maximum bipartite matching), so the count does not depend on any order, one long prediction cannot find several
    gold mentions, and no figure is below its strict one.
    """
    counts = {}
    gold_of, predicted_of = _group(gold), _group(predicted)
    for label in {*gold_of, *predicted_of}:
        ours, theirs = gold_of.get(label, []), predicted_of.get(label, [])
        tp = maximum_matching(overlapping(ours, theirs), len(theirs))
        counts[label] = Counts(tp, len(theirs) - tp, len(ours) - tp)
    return counts


def _group(mentions: Iterable[Mention]) -> Dict[str, List[Fragments]]:
    groups: Dict[str, List[Fragments]] = defaultdict(list)
    for mention in sorted(mentions):
        groups[mention.label].append(mention.fragments)
    return groups


def overlapping(left: Sequence[Fragments], right: Sequence[Fragments]) -> List[List[int]]:
    """For each mention on the left the indices of those on the right that share a character with it.

    One sweep over the fragments sorted by start: time grows with fragments and overlapping pairs, not their product.
    """
    pieces = sorted(
        (start, end, side, index)
        for side, mentions in enumerate((left, right))
        for index, fragments in enumerate(mentions)
        for start, end in fragments
        if start < end
    )
    neighbours: List[Set[int]] = [set() for _ in left]
    still_open: List[List[Tuple[int, int]]] = [[], []]  # (end, index) of the left, of the right
    for start, end, side, index in pieces:
        facing = [piece for piece in still_open[1 - side] if piece[0] > start]
        still_open[1 - side] = facing
        for _, other in facing:
            if side == 0:
                neighbours[index].add(other)
            else:
                neighbours[other].add(index)
        still_open[side].append((end, index))
    return [sorted(indices) for indices in neighbours]


def maximum_matching(neighbours: Sequence[Sequence[int]], right_size: int) -> int:
    """Size of a maximum bipartite matching; `neighbours[i]` are the right-hand indices that left-hand `i` may take.

    Augmenting paths (Berge 1957), found breadth first, so that no recursion limit binds.
    """
    takes = [-1] * len(neighbours)
    taken_by = [-1] * right_size
    for root in range(len(neighbours)):
        reached_from, free = _augmenting_path(root, neighbours, taken_by)
        while free >= 0:  # hand over along the path, back to the root, which had taken nothing
            left = reached_from[free]
            taken_by[free] = left
            free, takes[left] = takes[left], free
    return sum(right >= 0 for right in takes)


def _augmenting_path(
    root: int, neighbours: Sequence[Sequence[int]], taken_by: Sequence[int]
) -> Tuple[Dict[int, int], int]:
    """How each right-hand index was reached from `root`, and the first free one (-1: there is none)."""
    reached_from: Dict[int, int] = {}
    frontier = [root]
    while frontier:
        following = []
        for left in frontier:
            for right in neighbours[left]:
                if right not in reached_from:
                    reached_from[right] = left
                    if taken_by[right] < 0:
                        return reached_from, right
                    following.append(taken_by[right])
        frontier = following
    return reached_from, -1
