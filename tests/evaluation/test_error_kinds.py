"""The taxonomy of errors: each kind on a small case, and its sums on random documents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_clinical_ner.evaluation.confusion import NONE, matrix, mention_cells, token_cells
from spacy_clinical_ner.evaluation.error_kinds import (
    KINDS,
    RELATION_KINDS,
    count_kinds,
    mention_errors,
    relation_errors,
)
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import RelationKey

LABELS = ["A", "B", "C"]


def m(label: str, *fragments: tuple) -> Mention:
    return Mention(label, fragments)


def kinds(gold: set, predicted: set) -> set:
    return {(error.kind, error.mention, error.is_gold) for error in mention_errors(gold, predicted)}


A = m("A", (10, 20))


@pytest.mark.parametrize(
    ("gold", "predicted", "kind"),
    [
        ({A}, {m("B", (10, 20))}, "wrong_label"),
        ({A}, {m("A", (10, 18))}, "too_short"),
        ({A}, {m("A", (9, 20))}, "too_long"),
        ({A}, {m("A", (12, 25))}, "shifted"),
        ({A}, {m("A", (10, 14)), m("A", (15, 20))}, "split"),
        ({A, m("A", (21, 25))}, {m("A", (10, 25))}, "merged"),
        ({A, m("A", (21, 25))}, {m("A", (8, 22)), m("A", (23, 26))}, "tangled"),
        ({A}, {m("B", (12, 25))}, "wrong_label_and_edges"),
        ({A}, set(), "missed"),
        (set(), {A}, "invented"),
    ],
)
def test_kinds(gold, predicted, kind):
    assert kinds(gold, predicted) == {
        *((kind, mention, True) for mention in gold),
        *((kind, mention, False) for mention in predicted),
    }


def test_errors_beside_what_was_found():
    found = m("A", (0, 30))
    nested = m("B", (5, 9))
    assert kinds({found, nested}, {found}) == {("missed_overlapped", nested, True)}
    assert kinds({found}, {found, nested}) == {("invented_overlapping", nested, False)}


@st.composite
def mention_sets(draw) -> frozenset:
    found = set()
    for _ in range(draw(st.integers(0, 7))):
        start = draw(st.integers(0, 18))
        fragments = [(start, start + draw(st.integers(1, 6)))]
        if draw(st.booleans()) and draw(st.booleans()):
            second = fragments[0][1] + draw(st.integers(1, 3))
            fragments.append((second, second + draw(st.integers(1, 3))))
        found.add(Mention(draw(st.sampled_from(LABELS)), tuple(fragments)))
    return frozenset(found)


@given(mention_sets(), mention_sets())
def test_kinds_sum_to_false_positives_and_false_negatives(gold, predicted):
    errors = mention_errors(gold, predicted)
    assert sorted(error.mention for error in errors if error.is_gold) == sorted(gold - predicted)
    assert sorted(error.mention for error in errors if not error.is_gold) == sorted(predicted - gold)
    assert {error.kind for error in errors} <= set(KINDS)
    counts = count_kinds(errors)
    for label in LABELS:
        sides = counts.get(label, {}).values()
        assert sum(side["fn"] for side in sides) == sum(mention.label == label for mention in gold - predicted)
        assert sum(side["fp"] for side in sides) == sum(mention.label == label for mention in predicted - gold)


@given(mention_sets(), mention_sets())
def test_the_mirror_image_has_mirrored_kinds(gold, predicted):
    mirrored = {
        "too_short": "too_long",
        "too_long": "too_short",
        "split": "merged",
        "merged": "split",
        "missed": "invented",
        "invented": "missed",
        "missed_overlapped": "invented_overlapping",
        "invented_overlapping": "missed_overlapped",
    }
    there = {(mirrored.get(kind, kind), mention, not is_gold) for kind, mention, is_gold in kinds(gold, predicted)}
    back = kinds(predicted, gold)
    labels = {mention.label for mention in gold | predicted}
    if len(labels) == 1:  # pairs of equal edges are chosen by order where several labels compete
        assert there == back


@given(mention_sets(), mention_sets())
def test_margins_of_the_matrix_of_mentions_are_supports(gold, predicted):
    rows = matrix(mention_cells(gold, predicted), LABELS)
    for index, label in enumerate(LABELS):
        assert sum(rows[index]) == sum(mention.label == label for mention in gold)
        assert sum(row[index] for row in rows) == sum(mention.label == label for mention in predicted)
    exact = sum(rows[i][i] for i in range(len(LABELS)))
    assert exact >= len(gold & predicted)


@given(mention_sets(), mention_sets())
def test_margins_of_the_matrix_of_tokens_are_labelled_tokens(gold, predicted):
    tokens = [(i, i + 2) for i in range(0, 40, 3)]
    cells = token_cells(gold, predicted, tokens)
    rows = matrix(cells, LABELS)

    def carrying(mentions: frozenset, label: str) -> int:
        labelled = frozenset(mention for mention in mentions if mention.label == label)
        return sum(carrying_at(labelled, token) for token in tokens)

    for index, label in enumerate(LABELS):
        assert sum(rows[index]) == carrying(gold, label)
        assert sum(row[index] for row in rows) == carrying(predicted, label)
    assert cells[NONE, NONE] == sum(not any(carrying_at(s, t) for s in (gold, predicted)) for t in tokens)


def carrying_at(mentions: frozenset, token: tuple) -> bool:
    return any(s < token[1] and token[0] < e for mention in mentions for s, e in mention.fragments)


HEAD, TAIL, OTHER = m("A", (0, 2)), m("B", (5, 7)), m("A", (9, 11))
RELATION = RelationKey("r", HEAD, TAIL)


@pytest.mark.parametrize(
    ("predicted", "found", "candidates", "expected"),
    [
        ({RelationKey("s", HEAD, TAIL)}, {HEAD, TAIL}, None, [("wrong_label", True), ("wrong_label", False)]),
        ({RelationKey("r", TAIL, HEAD)}, {HEAD, TAIL}, None, [("wrong_direction", True), ("wrong_direction", False)]),
        (set(), {HEAD}, None, [("mention_missing", True)]),
        (set(), {HEAD, TAIL}, None, [("missed", True)]),
        (set(), {HEAD, TAIL}, {(TAIL, HEAD)}, [("not_a_candidate", True)]),
        (set(), {HEAD, TAIL}, {(HEAD, TAIL)}, [("missed", True)]),
        ({RELATION, RelationKey("r", HEAD, OTHER)}, {HEAD, TAIL, OTHER}, None, [("invented", False)]),
        ({RELATION, RelationKey("r", HEAD, m("A", (9, 12)))}, {HEAD, TAIL}, None, [("mention_invented", False)]),
        ({RELATION}, {HEAD, TAIL}, None, []),
    ],
)
def test_kinds_of_relation_errors(predicted, found, candidates, expected):
    errors = relation_errors({RELATION}, predicted, found, {HEAD, TAIL, OTHER}, candidates)
    assert [(error.kind, error.is_gold) for error in errors] == expected


@given(st.data())
def test_kinds_of_relations_sum_to_false_positives_and_false_negatives(data):
    mentions = [HEAD, TAIL, OTHER, m("B", (20, 22))]
    relation = st.builds(RelationKey, st.sampled_from("rs"), st.sampled_from(mentions), st.sampled_from(mentions))
    gold, predicted = (data.draw(st.frozensets(relation, max_size=8)) for _ in range(2))
    errors = relation_errors(gold, predicted, frozenset(mentions[:3]), frozenset(mentions[1:]))
    assert sorted(error.relation for error in errors if error.is_gold) == sorted(gold - predicted)
    assert sorted(error.relation for error in errors if not error.is_gold) == sorted(predicted - gold)
    assert {error.kind for error in errors} <= set(RELATION_KINDS)
