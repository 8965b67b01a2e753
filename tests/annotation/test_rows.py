"""The rows of a Doc: mentions with ids and offsets, relations between them, and OMOP's NOTE_NLP."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, Span

from spacy_clinical_ner.annotation.rows import OMOP, ROWS, above, flat, note_rows, omop_rows, standoff
from spacy_clinical_ner.brat import parse_standoff, to_doc
from spacy_clinical_ner.extensions import Relation, set_confidence
from spacy_clinical_ner.tokenization import blank_pipeline

NLP = blank_pipeline("es")
BEGAN = datetime.datetime(2026, 1, 2, 3, 4, 5)


def annotated() -> Doc:
    doc = NLP("Dolor tras aspirina oral.")
    doc.ents = [Span(doc, 0, 1, "SIGN"), Span(doc, 2, 3, "DRUG")]
    doc.spans["sc"] = [Span(doc, 2, 4, "DRUG")]
    set_confidence(doc.ents[1], 1 / 3)
    doc._.relations = [Relation(doc.ents[1], doc.ents[0], "CAUSES", 0.25)]
    return doc


def test_mentions_then_relations_in_all_columns():
    first, short, long, relation = note_rows(annotated(), "n/1", text=True, columns={"ward": 7})
    assert all([*row] == [*(column.name for column in ROWS), "ward"] for row in (first, short, long, relation))
    nothing = dict.fromkeys([column.name for column in ROWS])
    assert first == {
        **nothing, "note_id": "n/1", "kind": "mention", "id": "T1", "label": "SIGN", "start": 0, "end": 5,
        "text": "Dolor", "fragments": [[0, 5]], "ward": 7,
    }  # fmt: skip
    assert (short["text"], short["confidence"], short["id"]) == ("aspirina", 1 / 3, "T2")
    assert (long["start"], long["end"], long["confidence"]) == (11, 24, None)
    assert relation == {
        **nothing, "note_id": "n/1", "kind": "relation", "id": "R1", "label": "CAUSES", "confidence": 0.25,
        "head": "T2", "tail": "T1", "ward": 7,
    }  # fmt: skip


def test_text_only_if_asked_for():
    assert {row["text"] for row in note_rows(annotated(), "1")} == {None}


@pytest.mark.parametrize(
    "threshold, ids", [(0.0, "T1 T2 T3 R1"), (0.25, "T1 T2 T3 R1"), (0.3, "T1 T2 T3"), (0.5, "T1 T3")]
)
def test_a_threshold_leaves_what_has_no_confidence(threshold, ids):
    doc = annotated()
    rows = above(note_rows(doc, "1"), threshold)
    assert [row["id"] for row in rows] == ids.split()
    assert [line.split("\t")[0] for line in standoff(doc, rows).splitlines()] == ids.split()


def test_a_relation_goes_with_its_mention():
    rows = note_rows(annotated(), "1")
    rows[-1]["confidence"] = 0.9
    assert [row["id"] for row in above(rows, 0.5)] == ["T1", "T3"]


def test_ids_and_fragments_of_given_mentions_stay():
    document = parse_standoff("a", "uno dos tres", "T7\tX 0 3;8 12\tuno tres\n")
    (row,) = note_rows(to_doc(NLP, document), "a", text=True)
    assert (row["id"], row["start"], row["end"], row["text"]) == ("T7", 0, 12, "uno tres")
    assert row["fragments"] == [[0, 3], [8, 12]] and flat(row)["fragments"] == "[[0, 3], [8, 12]]"


def test_omop():
    rows = note_rows(annotated(), "41", text=True, columns={"person_id": 5})
    first, second, third = omop_rows(rows, 100, "es_x 1.0", BEGAN)
    assert [*first] == [*(column.name for column in OMOP), "person_id"]
    assert (first["note_nlp_id"], third["note_nlp_id"], first["note_id"], first["offset"]) == (100, 102, 41, "0")
    assert (second["lexical_variant"], second["nlp_date"], second["person_id"]) == ("aspirina", BEGAN.date(), 5)
    assert second["term_modifiers"] == "label=DRUG,end=19,confidence=0.3333"
    assert all(first[column.name] is not None for column in OMOP if column.required)
    with pytest.raises(ValueError):
        omop_rows([{**rows[0], "note_id": "a"}], 1, "", BEGAN)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.sampled_from("ABC")), max_size=8), st.data())
def test_offsets_hold_and_ids_are_unique(spans, data):
    doc = NLP("uno, dos tres\r\ncuatro \U0001f600 cinco seis siete ocho.")
    doc.spans["sc"] = [Span(doc, min(s, len(doc) - 1), min(s + n, len(doc)), label) for s, n, label in spans]
    if spans:
        pairs = st.tuples(*[st.sampled_from([*doc.spans["sc"]])] * 2)
        doc._.relations = [Relation(*pair, "R") for pair in data.draw(st.lists(pairs, max_size=3))]
    rows = note_rows(doc, "1")
    mentions = {row["id"]: row for row in rows if row["kind"] == "mention"}
    relations = [row for row in rows if row["kind"] == "relation"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert {(row["label"], row["start"], row["end"]) for row in mentions.values()} == {
        (span.label_, span.start_char, span.end_char) for span in doc.spans["sc"]
    }
    expected = {tuple((end.label_, end.start_char, end.end_char) for end in (r.head, r.tail)) for r in doc._.relations}
    ends = [[mentions[row[end]] for end in ("head", "tail")] for row in relations]
    assert {tuple((end["label"], end["start"], end["end"]) for end in pair) for pair in ends} == expected
