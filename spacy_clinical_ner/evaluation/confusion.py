"""Which label was taken for which? Confusion matrices over the labels and "none", of mentions and of tokens.

Rows are gold, columns are the prediction. The sum of a label's row is its gold support, the sum of its column the
number of its predictions (both of unique mentions, or of tokens that carry the label).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from typing import AbstractSet, Dict, Iterable, List, Sequence, Tuple

from spacy_clinical_ner.evaluation.error_kinds import overlap_pairs
from spacy_clinical_ner.evaluation.matching import Mention

NONE = ""  # no label is empty

Cells = Counter  # (gold label or NONE, predicted label or NONE) -> how many


def mention_cells(gold: AbstractSet[Mention], predicted: AbstractSet[Mention]) -> Cells:
    """Pair the mentions of one document one-to-one and count the pairs of labels; what stays alone is with NONE.

    Exact mentions are paired first, then those with the same edges, then those that share characters: the same label
    before another one, more shared characters before fewer. So the diagonal holds mentions with wrong edges too.
    """
    cells: Cells = Counter((mention.label, mention.label) for mention in gold & predicted)
    ours, theirs = sorted(gold - predicted), sorted(predicted - gold)
    edges = []
    for i, found in enumerate(overlap_pairs(ours, theirs)):
        for j in found:
            same_edges = ours[i].fragments == theirs[j].fragments
            same_label = ours[i].label == theirs[j].label
            edges.append((not same_edges, not same_label, -_shared(ours[i], theirs[j]), i, j))
    taken_gold, taken_predicted = set(), set()
    for _, _, _, i, j in sorted(edges):
        if i not in taken_gold and j not in taken_predicted:
            taken_gold.add(i)
            taken_predicted.add(j)
            cells[ours[i].label, theirs[j].label] += 1
    cells.update((mention.label, NONE) for i, mention in enumerate(ours) if i not in taken_gold)
    cells.update((NONE, mention.label) for j, mention in enumerate(theirs) if j not in taken_predicted)
    return cells


def token_cells(gold: Iterable[Mention], predicted: Iterable[Mention], tokens: Sequence[Tuple[int, int]]) -> Cells:
    """Count labels of tokens of one document; tokens: sorted character offsets (start, end).

    A token carries a label if a mention with it shares a character with the token, once a label. Labels that gold and
    prediction share are on the diagonal; the others are paired in alphabetical order, or stand with NONE.
    """
    ours, theirs = _labels(gold, tokens), _labels(predicted, tokens)
    cells: Cells = Counter()
    for index in range(len(tokens)):
        in_gold, found = ours.get(index, frozenset()), theirs.get(index, frozenset())
        if not in_gold and not found:
            cells[NONE, NONE] += 1
            continue
        cells.update((label, label) for label in in_gold & found)
        left, right = sorted(in_gold - found), sorted(found - in_gold)
        width = max(len(left), len(right))
        left += [NONE] * (width - len(left))
        right += [NONE] * (width - len(right))
        cells.update(zip(left, right))
    return cells


def matrix(cells: Cells, labels: Sequence[str]) -> List[List[int]]:
    """Rows and columns in the order of `labels`, NONE last."""
    names = [*labels, NONE]
    return [[cells[row, column] for column in names] for row in names]


def _shared(left: Mention, right: Mention) -> int:
    return sum(
        max(0, min(end, other_end) - max(start, other_start))
        for start, end in left.fragments
        for other_start, other_end in right.fragments
    )


def _labels(mentions: Iterable[Mention], tokens: Sequence[Tuple[int, int]]) -> Dict[int, frozenset]:
    starts, ends = [start for start, _ in tokens], [end for _, end in tokens]
    found: Dict[int, frozenset] = {}
    for mention in mentions:
        for start, end in mention.fragments:
            for index in range(bisect_right(ends, start), bisect_left(starts, end)):
                found[index] = found.get(index, frozenset()) | {mention.label}
    return found
