"""Relation scores, counted by hand."""

import pytest
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.tokenization import blank_pipeline

NLP = blank_pipeline("en")
WORDS = ["a", "b", ".", *"cdefghijklmnopqrstuvwxyz"]


def doc(*relations, words=WORDS):
    result = Doc(NLP.vocab, words=words)
    result._.relations = [
        Relation(Span(result, head, head + 1, "X"), Span(result, tail, tail + 1, kind), label)
        for head, tail, label, kind in relations
    ]
    return result


def score(gold, predicted, **settings):
    scorer = registry.scorers.get("spacy-clinical-ner.RelationScorer.v1")(**settings)
    return scorer([Example(predicted, gold)])


def test_directed_and_strict():
    gold = doc((0, 1, "R", "Y"), (3, 4, "R", "Y"), (5, 0, "S", "Y"), (6, 7, "S", "Y"))
    predicted = doc(
        (0, 1, "R", "Y"),  # right
        (4, 3, "R", "Y"),  # the other way round
        (5, 0, "R", "Y"),  # another label
        (6, 7, "S", "Z"),  # another type of mention
        (0, 1, "R", "Y"),  # said twice
    )
    scores = score(gold, predicted)
    assert (scores["rel_micro_p"], scores["rel_micro_r"], scores["rel_micro_f"]) == (0.25, 0.25, 0.25)
    assert scores["rel_per_type"] == {
        "R": {"p": pytest.approx(1 / 3), "r": 0.5, "f": pytest.approx(0.4)},
        "S": {"p": 0.0, "r": 0.0, "f": 0.0},
    }
    assert scores["rel_macro_f"] == pytest.approx(0.2)


def test_by_distance_and_sentence():
    gold = doc((0, 1, "R", "Y"), (0, 3, "R", "Y"), (3, 20, "R", "Y"), (3, 25, "R", "Y"))
    scores = score(gold, doc((0, 1, "R", "Y"), (3, 20, "R", "Y"), (20, 3, "R", "Y")))
    assert scores["rel_by_sentence"]["same"] == pytest.approx({"p": 2 / 3, "r": 2 / 3, "f": 2 / 3})
    assert scores["rel_by_sentence"]["cross"]["r"] == 0.0
    by_distance = scores["rel_by_distance"]
    assert list(by_distance) == ["0-5", "6-20", "21-60", "61+"]
    assert (by_distance["0-5"]["p"], by_distance["0-5"]["r"]) == (1.0, 0.5)
    assert (by_distance["6-20"]["p"], by_distance["6-20"]["r"]) == (0.5, 1.0)
    assert by_distance["21-60"]["r"] == 0.0


def test_symmetric_labels():
    gold, turned = doc((0, 1, "R", "X"), (3, 4, "S", "X")), doc((1, 0, "R", "X"), (4, 3, "S", "X"))
    assert score(gold, turned)["rel_micro_f"] == 0.0
    assert score(gold, turned, symmetric=["R"])["rel_micro_f"] == 0.5


def test_other_tokens_of_the_same_text():
    gold = Doc(NLP.vocab, words=["a", "b", "-", "c"], spaces=[True, False, False, False])
    predicted = Doc(NLP.vocab, words=["a", "b-", "c"], spaces=[True, False, False])
    for one, last in ((gold, 3), (predicted, 2)):
        one._.relations = [Relation(Span(one, 0, 1, "X"), Span(one, last, last + 1, "Y"), "R")]
    assert score(gold, predicted)["rel_micro_f"] == 1.0


def test_nothing_to_find():
    assert set(score(doc(), doc((0, 1, "R", "Y"))).values()) == {None}
