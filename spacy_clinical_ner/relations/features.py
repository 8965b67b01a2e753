"""What a pair of mentions looks like from outside: distances, ranks among competitors, likeness, words between.

All of it is whole numbers, each feature an index into a small table of the model. A descriptor most often belongs to
the nearest fitting mention, so that what counts is not how far a candidate is but how many better ones there are.
"""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import LIKE_NUM, NORM

from spacy_clinical_ner.relations.mentions import Ints, Mentions, Pairs

_GAPS = np.array([1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 23, 31, 46, 71])
_BETWEEN = np.array([1, 2, 3, 4, 5, 6, 7, 9, 12, 16])
_RANKS = 8
_SENTENCES = 5
_PATTERN_ROWS = 4096
_PATTERN_LENGTH = 8
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 2**64))

# Name and number of values of each column of `pair_features`, in order.
FEATURES: Dict[str, int] = {
    "gap": 2 * (len(_GAPS) + 1) + 4,
    "mentions_between": 2 * (len(_BETWEEN) + 1),
    "sentences": 2 * (_SENTENCES + 1),
    "tail_rank_type_side": _RANKS,
    "tail_rank_side": _RANKS,
    "tail_rank": _RANKS,
    "head_rank_type_side": _RANKS,
    "head_rank_side": _RANKS,
    "head_rank": _RANKS,
    "tail_rank_type": _RANKS,
    "head_rank_type": _RANKS,
    "likeness": 5,
    "pattern": _PATTERN_ROWS,
}


def pair_features(mentions: Mentions, pairs: Pairs) -> Ints:
    """(pairs, len(FEATURES)) values; a column's values lie below the number in FEATURES.

    gap: tokens between in buckets for each order, or how the mentions overlap. mentions_between: mentions that start
    between theirs. sentences: sentence edges between their starts. *_rank*: how many candidates for the same partner
    are nearer, those of the same type or all, on the same side or both. likeness: 0 no word in common, 1 one, 2 all
    words of one in the other, 3 the same words, 4 one is made of the initials of the other. pattern: hash of the words
    between, in which numbers are alike and mentions are their labels; 0 where that is longer than 8.
    """
    if not len(pairs.head):
        return np.zeros((0, len(FEATURES)), dtype="int64")
    forward = (pairs.head < pairs.tail).astype("int64")
    columns = [
        _gap_kinds(mentions, pairs, forward),
        np.searchsorted(_BETWEEN, np.abs(pairs.head - pairs.tail) - 1, side="right") * 2 + forward,
        np.minimum(np.abs(mentions.sentences[pairs.head] - mentions.sentences[pairs.tail]), _SENTENCES) * 2 + forward,
        *_ranks(mentions, pairs, forward),
        _likeness(mentions, pairs),
        _patterns(mentions, pairs, forward),
    ]
    return np.stack(columns, axis=1)


def _gap_kinds(mentions: Mentions, pairs: Pairs, forward: Ints) -> Ints:
    kinds = np.searchsorted(_GAPS, mentions.gaps(pairs), side="right") * 2 + forward
    (head_start, tail_start), (head_end, tail_end) = (
        (array[pairs.head], array[pairs.tail]) for array in (mentions.start, mentions.end)
    )
    overlap = (head_start < tail_end) & (tail_start < head_end)
    head_within = (head_start >= tail_start) & (head_end <= tail_end)
    tail_within = (tail_start >= head_start) & (tail_end <= head_end)
    return np.where(overlap, 2 * (len(_GAPS) + 1) + head_within + 2 * tail_within, kinds)


def _ranks(mentions: Mentions, pairs: Pairs, forward: Ints) -> List[Ints]:
    steps = np.abs(pairs.head - pairs.tail)
    gaps = mentions.gaps(pairs)
    head_types, tail_types = mentions.labels[pairs.head], mentions.labels[pairs.tail]
    groups: Sequence[Tuple[Ints, ...]] = (
        (pairs.head, forward, tail_types),
        (pairs.head, forward),
        (pairs.head,),
        (pairs.tail, forward, head_types),
        (pairs.tail, forward),
        (pairs.tail,),
        (pairs.head, tail_types),
        (pairs.tail, head_types),
    )
    return [np.minimum(rank_within(group, (gaps, steps)), _RANKS - 1) for group in groups]


def rank_within(group: Sequence[Ints], by: Sequence[Ints]) -> Ints:
    """Position of each row among those that agree in all of `group`, ordered by `by` (first key first), from 0."""
    order = np.lexsort((*reversed(by), *group))
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.logical_or.reduce([np.diff(key[order]) != 0 for key in group])
    starts = np.flatnonzero(new)
    ranks = np.empty(len(order), dtype="int64")
    ranks[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return ranks


def _likeness(mentions: Mentions, pairs: Pairs) -> Ints:
    """Words are compared as bits of a 256-bit set for each mention, so memory grows with mentions, not vocabulary."""
    bits = np.zeros((len(mentions), 256), dtype=bool)
    joined, initials = [], []
    for row, span in zip(bits, mentions.spans):
        words = [token for token in span if not token.is_punct and not token.is_space]
        row[[token.norm % 256 for token in words]] = True
        joined.append("".join(token.lower_ for token in words))
        initials.append("".join(token.lower_[0] for token in words) if len(words) > 1 else "")
    packed = np.packbits(bits, axis=1)
    common = _count_bits(packed[pairs.head] & packed[pairs.tail])
    sizes = bits.sum(axis=1)
    fewest = np.minimum(sizes[pairs.head], sizes[pairs.tail])
    result = (common > 0).astype("int64")
    result[(common > 0) & (common == fewest)] = 2
    codes: Dict[str, int] = {}
    joined_codes, initial_codes = (
        np.array([codes.setdefault(text, len(codes)) if text else -1 - i for i, text in enumerate(texts)])
        for texts in (joined, initials)
    )
    result[joined_codes[pairs.head] == joined_codes[pairs.tail]] = 3
    for one, other in (pairs, (pairs.tail, pairs.head)):
        result[initial_codes[one] == joined_codes[other]] = 4
    return result


_BITS = np.array([bin(byte).count("1") for byte in range(256)], dtype="int64")


def _count_bits(packed: NDArray[np.uint8]) -> Ints:
    return _BITS[packed].sum(axis=1)


def _patterns(mentions: Mentions, pairs: Pairs, forward: Ints) -> Ints:
    """Rolling hash of the symbols between: sum of symbol * base ** position, shifted to start at position 0."""
    doc = mentions.doc
    symbols, like_num = doc.to_array([NORM, LIKE_NUM]).T.astype("uint64")
    symbols = np.where(like_num > 0, np.uint64(1), symbols)
    covered = np.zeros(len(doc) + 1, dtype="int64")
    np.add.at(covered, mentions.start, 1)
    np.add.at(covered, mentions.end, -1)
    inside = np.cumsum(covered)[:-1] > 0
    first = np.zeros(len(doc), dtype=bool)
    first[mentions.start] = True
    labels = np.zeros(len(doc), dtype="uint64")
    strings = doc.vocab.strings
    labels[mentions.start] = np.array([strings[name] for name in mentions.names], dtype="uint64")[mentions.labels]
    # A mention's first token stands for it and its other tokens take no position.
    symbols = np.where(first, labels, symbols)
    counted = (~inside | first).astype("int64")
    positions = np.concatenate([[0], np.cumsum(counted)])
    with np.errstate(over="ignore"):
        powers = np.concatenate([[np.uint64(1)], np.cumprod(np.full(len(doc), _BASE, dtype="uint64"))])
        inverses = np.concatenate([[np.uint64(1)], np.cumprod(np.full(len(doc), _INVERSE, dtype="uint64"))])
        terms = np.where(counted > 0, symbols * powers[positions[:-1]], np.uint64(0))
        sums = np.concatenate([[np.uint64(0)], np.cumsum(terms, dtype="uint64")])
        start = mentions.end[np.minimum(*pairs)]
        end = np.maximum(mentions.start[np.maximum(*pairs)], start)
        hashes = (sums[end] - sums[start]) * inverses[positions[start]]
        length = positions[end] - positions[start]
        hashes = (hashes + length.astype("uint64") + np.uint64(1)) * (_BASE + np.uint64(2) * forward.astype("uint64"))
    rows = 1 + (hashes >> np.uint64(33)) % np.uint64(_PATTERN_ROWS - 1)
    return np.where(length <= _PATTERN_LENGTH, rows.astype("int64"), 0)
