"""Pair features against plain loops and worked examples."""

import random

import numpy as np
import pytest
from spacy.tokens import Doc, Span

from spacy_clinical_ner.relations.candidates import within
from spacy_clinical_ner.relations.features import FEATURES, pair_features, rank_within
from spacy_clinical_ner.relations.mentions import Mentions, Pairs
from tests.relations.test_candidates import NLP, gap, random_mentions


def column(mentions: Mentions, name: str) -> dict:
    """{(head, tail): value} over all pairs."""
    pairs = within(mentions, None)
    values = pair_features(mentions, pairs)[:, list(FEATURES).index(name)]
    return dict(zip(zip(pairs.head.tolist(), pairs.tail.tolist()), values.tolist()))


@pytest.mark.parametrize("seed", range(20))
def test_ranks_against_a_loop(seed):
    mentions = random_mentions(random.Random(seed))
    spans = mentions.spans
    pairs = list(column(mentions, "gap"))

    def nearness(pair):
        return (gap(spans[pair[0]], spans[pair[1]]), abs(pair[0] - pair[1]))

    def kind(pair, name):
        """What pairs have in common that compete in this feature."""
        head, tail = pair
        side, types = head < tail, (spans[head].label_, spans[tail].label_)
        return {
            "tail_rank_side": (head, side),
            "head_rank_side": (tail, side),
            "tail_rank_type_side": (head, side, types[1]),
            "head_rank_type_side": (tail, side, types[0]),
            "tail_rank_type": (head, types[1]),
            "head_rank_type": (tail, types[0]),
            "tail_rank": head,
            "head_rank": tail,
        }[name]

    for name in (name for name in FEATURES if "rank" in name):
        values = column(mentions, name)
        for pair in pairs:
            others = [nearness(p) for p in pairs if p != pair and kind(p, name) == kind(pair, name)]
            nearer = sum(other < nearness(pair) for other in others)
            ties = others.count(nearness(pair))  # one on either side, whose order does not matter
            assert min(7, nearer) <= values[pair] <= min(7, nearer + ties)
            assert "side" not in name or not ties


def test_rank_within_groups():
    group, by = np.array([1, 0, 1, 1, 0]), np.array([5, 2, 3, 4, 1])
    assert rank_within([group], [by]).tolist() == [2, 1, 0, 1, 0]


@pytest.mark.parametrize("seed", range(10))
def test_values_stay_below_their_numbers(seed):
    mentions = random_mentions(random.Random(seed))
    values = pair_features(mentions, within(mentions, None))
    assert values.shape[1] == len(FEATURES)
    assert (values >= 0).all() and (values < np.array(list(FEATURES.values()))).all()
    nothing = np.zeros(0, dtype="int64")
    assert pair_features(mentions, Pairs(nothing, nothing)).shape == (0, len(FEATURES))


def test_how_mentions_overlap():
    doc = Doc(NLP.vocab, words=list("abcdef"))
    mentions = Mentions.of(
        doc, [Span(doc, 0, 3, "X"), Span(doc, 0, 1, "X"), Span(doc, 2, 5, "X"), Span(doc, 0, 3, "Y")]
    )
    kinds = column(mentions, "gap")  # in order: 0 is (0, 1, X), 1 is (0, 3, X), 2 is (0, 3, Y), 3 is (2, 5, X)
    assert kinds[0, 1] != kinds[1, 0], "which one is within the other"
    assert len({kinds[0, 1], kinds[1, 0], kinds[1, 2], kinds[1, 3], kinds[0, 3]}) == 5
    assert kinds[1, 2] == kinds[2, 1] and kinds[1, 3] == kinds[3, 1]


def mention_pair(first: str, second: str) -> Mentions:
    words = [*first.split(), "|", *second.split()]
    doc = Doc(NLP.vocab, words=words)
    edge = len(first.split())
    return Mentions.of(doc, [Span(doc, 0, edge, "X"), Span(doc, edge + 1, len(words), "X")])


@pytest.mark.parametrize(
    ("first", "second", "value"),
    [
        ("renal carcinoma", "renal mass", 1),
        ("renal carcinoma", "Carcinoma", 2),
        ("renal carcinoma", "Renal Carcinoma", 3),
        ("magnetic resonance imaging", "MRI", 4),
        ("fever", "cough", 0),
        (",", ".", 0),
    ],
)
def test_likeness(first, second, value):
    assert set(column(mention_pair(first, second), "likeness").values()) == {value}


def pattern(words: list, spans: list) -> dict:
    doc = Doc(NLP.vocab, words=words)
    return column(Mentions.of(doc, [Span(doc, *span) for span in spans]), "pattern")


def test_pattern_of_the_words_between():
    base = pattern(["a", "x", "of", "the", "y"], [(1, 2, "X"), (4, 5, "Y")])[0, 1]
    assert pattern(["x", "of", "the", "y"], [(0, 1, "X"), (3, 4, "Y")])[0, 1] == base, "where it stands is no matter"
    assert pattern(["x", "of", "the", "y"], [(0, 1, "X"), (3, 4, "Y")])[1, 0] != base, "the order is"
    assert pattern(["x", "the", "of", "y"], [(0, 1, "X"), (3, 4, "Y")])[0, 1] != base, "and that of the words"
    assert pattern(["x", "of", "y"], [(0, 1, "X"), (2, 3, "Y")])[0, 1] != base
    numbers = [pattern(["x", n, "y"], [(0, 1, "X"), (2, 3, "Y")])[0, 1] for n in ("12", "7.5")]
    assert numbers[0] == numbers[1]
    one, two, other = (
        pattern(["x", *words, "y"], [(0, 1, "X"), (1, 1 + len(words), label), (1 + len(words), 2 + len(words), "Y")])
        for words, label in ((["m"], "M"), (["m", "n"], "M"), (["m"], "N"))
    )
    assert one[0, 2] == two[0, 2] != other[0, 2], "a mention between is its label, however long"
    assert pattern(["x", *"abcdefghi", "y"], [(0, 1, "X"), (10, 11, "Y")])[0, 1] == 0
