"""Counting hits by hand: strict (label and every fragment) and relaxed (one-to-one, any shared character)."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from spacy_clinical_ner.evaluation.matching import (
    Counts,
    Mention,
    maximum_matching,
    relaxed_counts,
    strict_counts,
)


def mention(label, *fragments):
    return Mention(label, fragments)


def test_strict_needs_label_and_both_offsets():
    gold = {mention("A", (0, 5)), mention("A", (10, 15)), mention("B", (20, 25)), mention("B", (30, 35))}
    predicted = {mention("A", (0, 5)), mention("A", (10, 14)), mention("A", (20, 25)), mention("B", (30, 35))}
    assert strict_counts(gold, predicted) == {"A": Counts(1, 2, 1), "B": Counts(1, 0, 1)}


def test_strict_compares_the_fragments_of_discontinuous_mentions():
    gold = {mention("A", (0, 3), (8, 10))}
    assert strict_counts(gold, {mention("A", (0, 10))}) == {"A": Counts(0, 1, 1)}
    assert strict_counts(gold, {mention("A", (0, 3))}) == {"A": Counts(0, 1, 1)}
    assert strict_counts(gold, {mention("A", (0, 3), (8, 10))}) == {"A": Counts(1, 0, 0)}


def test_relaxed_takes_any_shared_character_and_no_touching_neighbour():
    gold = {mention("A", (0, 5)), mention("A", (10, 15))}
    assert relaxed_counts(gold, {mention("A", (4, 7)), mention("A", (8, 10))}) == {"A": Counts(1, 1, 1)}


def test_relaxed_needs_the_label():
    assert relaxed_counts({mention("A", (0, 5))}, {mention("B", (0, 5))}) == {
        "A": Counts(0, 0, 1),
        "B": Counts(0, 1, 0),
    }


def test_relaxed_is_one_to_one():
    three = {mention("A", (0, 2)), mention("A", (3, 5)), mention("A", (6, 9))}
    assert relaxed_counts(three, {mention("A", (0, 9))}) == {"A": Counts(1, 0, 2)}
    assert relaxed_counts({mention("A", (0, 9))}, three) == {"A": Counts(1, 2, 0)}


def test_relaxed_makes_as_many_pairs_as_can_be():
    # Taken greedily from the left, gold (0, 10) uses up prediction (0, 4) or (3, 20) and may leave a pair unmade.
    gold = {mention("A", (0, 10)), mention("A", (0, 3)), mention("A", (12, 14))}
    predicted = {mention("A", (0, 2)), mention("A", (5, 7)), mention("A", (9, 13))}
    assert relaxed_counts(gold, predicted) == {"A": Counts(3, 0, 0)}


def test_relaxed_does_not_see_the_gap_of_a_discontinuous_mention():
    gold = {mention("A", (0, 3), (8, 10))}
    assert relaxed_counts(gold, {mention("A", (4, 7))}) == {"A": Counts(0, 1, 1)}
    assert relaxed_counts(gold, {mention("A", (4, 9))}) == {"A": Counts(1, 0, 0)}


def test_a_chain_of_thousands_needs_no_recursion():
    size = 4000
    neighbours = [[index, index + 1] if index + 1 < size else [0] for index in range(size)]
    assert maximum_matching(neighbours, size) == size


offsets = st.tuples(st.integers(0, 12), st.integers(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))
mentions = st.sets(st.builds(mention, st.sampled_from("AB"), offsets), max_size=5)


def brute_force_relaxed(gold, predicted):
    """The best number of pairs over all orders of the predictions."""
    counts = {}
    for label in {m.label for m in gold | predicted}:
        ours = [m.fragments[0] for m in gold if m.label == label]
        theirs = [m.fragments[0] for m in predicted if m.label == label]
        padded = theirs + [(0, 0)] * len(ours)
        best = 0
        for order in permutations(padded, len(ours)):
            hits = sum(bool(set(range(*a)) & set(range(*b))) for a, b in zip(ours, order))
            best = max(best, hits)
        counts[label] = Counts(best, len(theirs) - best, len(ours) - best)
    return counts


@given(mentions.filter(lambda ms: len(ms) <= 4), mentions.filter(lambda ms: len(ms) <= 4))
def test_relaxed_equals_brute_force_and_never_finds_less_than_strict(gold, predicted):
    relaxed = relaxed_counts(gold, predicted)
    assert relaxed == brute_force_relaxed(gold, predicted)
    for label, counts in strict_counts(gold, predicted).items():
        assert counts.tp <= relaxed[label].tp
        assert counts.tp + counts.fn == relaxed[label].tp + relaxed[label].fn
        assert counts.tp + counts.fp == relaxed[label].tp + relaxed[label].fp
