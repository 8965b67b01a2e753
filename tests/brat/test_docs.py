from __future__ import annotations

import pickle
import time
import warnings

import pytest
from spacy.tokens import Doc, DocBin, Span

from spacy_clinical_ner.brat import from_doc, parse_standoff, to_doc
from spacy_clinical_ner.extensions import Relation, set_confidence, set_relations
from spacy_clinical_ner.tokenization import blank_pipeline

TEXT = "Fiebre alta y tos, sin dolor."
ANN = """\
T1\tSign 0 6\tFiebre
T2\tDegree 7 11\talta
T3\tSign 14 17\ttos
T4\tSign 14 17;23 28\ttos dolor
T7\tSign 23 28\tdolor
E1\tSign:T1 With:E2
E2\tSign:T3
R1\tMODIFY Arg1:T2 Arg2:E1\t
R4\tBEFORE First:E1 Second:T3\t
A1\tNegation T7
A2\tCertain R1
*\tEquiv T1 T3 T7
*\tEquiv T2 E2
N1\tReference T2 UMLS:C1\thigh
#1\tAnnotatorNotes T3\tdry
#2\tAnnotatorNotes A1\tsure
"""


@pytest.fixture(scope="module")
def nlp():
    return blank_pipeline("es")


@pytest.fixture
def doc(nlp):
    return to_doc(nlp, parse_standoff("a/note", TEXT, ANN))


def without(doc, *ids):
    """Delete mentions from both places, as an editor would."""
    spans = [span for span in doc.spans["sc"] if span.id_ not in ids]
    doc.ents = [span for span in doc.ents if span.id_ not in ids]
    doc.spans["sc"] = spans
    return doc


def test_what_the_doc_shows(doc):
    assert [(span.id_, span.label_, span.text) for span in doc.spans["sc"]] == [
        ("T1", "Sign", "Fiebre"),
        ("T2", "Degree", "alta"),
        ("T3", "Sign", "tos"),
        ("T4", "Sign", "tos, sin dolor"),
        ("T7", "Sign", "dolor"),
    ]
    assert [span.text for span in doc.ents] == ["Fiebre", "alta", "tos, sin dolor"]
    shown = [(relation.head.text, relation.tail.text, relation.label, relation.score) for relation in doc._.relations]
    assert shown == [("alta", "Fiebre", "MODIFY", 1.0), ("Fiebre", "tos", "BEFORE", 1.0)]


def test_nothing_changed(doc):
    document = from_doc(doc)
    assert document.name == "a/note"
    assert document.standoff() == ANN
    assert from_doc(doc, name="other").name == "other"


@pytest.mark.parametrize("travel", ["bytes", "pickle", "docbin", "copy"])
def test_every_way_of_saving(nlp, doc, travel):
    doc = without(doc, "T2")
    if travel == "bytes":
        doc = Doc(blank_pipeline("es").vocab).from_bytes(doc.to_bytes())
    elif travel == "pickle":
        doc = pickle.loads(pickle.dumps(doc))
    elif travel == "docbin":
        [doc] = DocBin(docs=[doc], store_user_data=True).get_docs(blank_pipeline("es").vocab)
    else:
        doc = doc.copy()
    assert "alta" not in from_doc(doc).standoff()
    assert len(from_doc(doc).entities) == 4


def test_what_points_to_a_deleted_mention_goes_with_it(doc):
    document = from_doc(without(doc, "T3"))
    assert (
        document.standoff()
        == """\
T1\tSign 0 6\tFiebre
T2\tDegree 7 11\talta
T4\tSign 14 17;23 28\ttos dolor
T7\tSign 23 28\tdolor
E1\tSign:T1
R1\tMODIFY Arg1:T2 Arg2:E1\t
A1\tNegation T7
A2\tCertain R1
*\tEquiv T1 T7
N1\tReference T2 UMLS:C1\thigh
#2\tAnnotatorNotes A1\tsure
"""
    )


def test_deleting_an_attribute_takes_its_note(doc):
    document = from_doc(without(doc, "T7"))
    assert [note.id for note in document.notes] == ["#1"]
    assert document.attributes[0].id == "A2"


def test_deleting_from_one_place_is_enough(doc):
    doc.ents = [span for span in doc.ents if span.text != "alta"]
    assert "T2" not in [entity.id for entity in from_doc(doc).entities]
    assert "T7" in [entity.id for entity in from_doc(doc).entities]  # overlaps: never was in doc.ents


def test_without_the_group_doc_ents_decide_and_hidden_mentions_stand(doc):
    del doc.spans["sc"]
    assert from_doc(doc).standoff() == ANN
    doc.ents = doc.ents[1:]
    assert [entity.id for entity in from_doc(doc).entities] == ["T2", "T3", "T4", "T7"]


def test_with_another_spans_key(nlp):
    document = parse_standoff("note", TEXT, ANN)
    doc = to_doc(nlp, document, spans_key="mentions")
    assert from_doc(doc, spans_key="mentions").standoff() == ANN
    assert from_doc(doc).standoff() == ANN
    doc.spans["sc"] = [Span(doc, 0, 2, label="New")]
    assert [entity.id for entity in from_doc(doc).entities][-1] == "T8"


def test_mentions_that_a_policy_hid_stand(nlp):
    doc = to_doc(nlp, parse_standoff("note", TEXT, ANN), discontinuous="skip")
    assert "T4" not in [span.id_ for span in doc.spans["sc"]]
    assert from_doc(doc).standoff() == ANN


def test_new_mentions_get_fresh_ids_by_offset(doc):
    doc.ents = [span for span in doc.ents if span.id_ != "T4"] + [Span(doc, 5, 7, label="New")]
    doc.spans["sc"] = [*doc.spans["sc"], Span(doc, 0, 2, label="New"), Span(doc, 0, 1, label="Sign")]
    document = from_doc(doc)
    fresh = [(entity.id, entity.label, entity.fragments, entity.text) for entity in document.entities[4:]]
    assert fresh == [("T8", "New", ((0, 11),), "Fiebre alta"), ("T9", "New", ((19, 28),), "sin dolor")]
    assert "T4" not in [entity.id for entity in document.entities]
    # The new lines follow the old ones.
    assert document.standoff().splitlines()[-2:] == ["T8\tNew 0 11\tFiebre alta", "T9\tNew 19 28\tsin dolor"]


def test_relabelling_is_deletion_and_a_new_mention(doc):
    doc.ents = [Span(doc, e.start, e.end, label="Grade" if e.id_ == "T2" else e.label_) for e in doc.ents]
    document = from_doc(doc)
    labels = {entity.id: entity.label for entity in document.entities}
    assert labels == {"T1": "Sign", "T3": "Sign", "T4": "Sign", "T7": "Sign", "T8": "Grade"}
    assert [relation.id for relation in document.relations] == ["R4"]
    assert document.normalizations == []


def test_relations_deleted_and_added(doc):
    fever, _, cough, *_ = doc.spans["sc"]
    kept = doc._.relations[1]
    doc._.relations = [kept, Relation(cough, fever, "AFTER"), Relation(cough, fever, "AFTER")]
    document = from_doc(doc)
    assert [line.render() for line in document.relations] == [
        "R4\tBEFORE First:E1 Second:T3\t",
        "R5\tAFTER Arg1:T3 Arg2:T1\t",
    ]
    assert [attribute.id for attribute in document.attributes] == ["A1"]  # A2 was on R1


def test_a_relation_brings_its_new_mentions_but_no_deleted_ones(doc):
    fever = doc.spans["sc"][0]
    new = Span(doc, 5, 6, label="Mark")
    set_relations(doc, [Relation(fever, new, "X"), Relation(doc.spans["sc"][1], new, "Y")])
    document = from_doc(without(doc, "T2"))
    assert [(entity.id, entity.text) for entity in document.entities][-1] == ("T8", "sin")
    assert [line.render() for line in document.relations] == ["R5\tX Arg1:T1 Arg2:T8\t"]


def test_relations_of_hidden_mentions_stand(nlp):
    ann = ANN + "R9\tX Arg1:T4 Arg2:T1\t\n"
    doc = to_doc(nlp, parse_standoff("note", TEXT, ann), discontinuous="skip")
    assert len(doc._.relations) == 2
    assert from_doc(doc).standoff() == ann
    without(doc, "T1")
    assert "R9" not in from_doc(doc).standoff()


def test_duplicates_stand_and_fall_together(nlp):
    ann = "T1\tX 0 6\tFiebre\nT2\tX 0 6\tFiebre\nT3\tY 14 17\ttos\nR1\tZ Arg1:T2 Arg2:T3\t\n"
    doc = to_doc(nlp, parse_standoff("note", TEXT, ann))
    assert [(r.head.id_, r.tail.id_) for r in doc._.relations] == [("T1", "T3")]
    assert from_doc(doc).standoff() == ann
    assert from_doc(without(doc, "T1")).standoff() == "T3\tY 14 17\ttos\n"


def test_a_doc_that_never_saw_brat(nlp):
    text = "uno\r\ndos tres"
    doc = nlp(text)
    later, earlier = Span(doc, 3, 4, label="B"), Span(doc, 0, 3, label="A")
    doc.ents = [earlier, later]
    doc._.relations = [Relation(later, earlier, "R", 0.25)]
    set_confidence(later, 0.5)
    document = from_doc(doc)
    assert document.text == text
    assert document.standoff() == "T1\tA 0 8\tuno  dos\nT2\tB 9 13\ttres\nR1\tR Arg1:T2 Arg2:T1\t\n"
    with_confidence = from_doc(doc, confidence=True).standoff()
    assert with_confidence == document.standoff() + (
        "#1\tAnnotatorNotes T2\tconfidence=0.5000\n#2\tAnnotatorNotes R1\tconfidence=0.2500\n"
    )
    assert parse_standoff("", text, with_confidence).audit.counts() == {"kept": 5, "repaired": 0, "dropped": 0}


def test_a_doc_with_nothing_in_it(nlp):
    assert from_doc(nlp("uno")).standoff() == ""
    assert from_doc(nlp("")).text == ""


def test_annotations_of_another_text_are_refused(nlp, doc):
    other = nlp("Nada de lo que se escribió en esta nota.")
    other.user_data.update(doc.user_data)
    with pytest.raises(ValueError, match="not the one"):
        from_doc(other)


def test_a_part_keeps_what_lies_inside(doc):
    part = doc[3:].as_doc(copy_user_data=True)  # "tos, sin dolor."
    assert part.text == "tos, sin dolor."
    document = from_doc(part)
    assert document.standoff() == (
        "T3\tSign 0 3\ttos\nT4\tSign 0 3;9 14\ttos dolor\nT7\tSign 9 14\tdolor\nE2\tSign:T3\n"
        "A1\tNegation T7\n*\tEquiv T3 T7\n#1\tAnnotatorNotes T3\tdry\n#2\tAnnotatorNotes A1\tsure\n"
    )
    assert from_doc(doc[:2].as_doc(copy_user_data=True)).standoff() == (
        "T1\tSign 0 6\tFiebre\nT2\tDegree 7 11\talta\nE1\tSign:T1\nR1\tMODIFY Arg1:T2 Arg2:E1\t\nA2\tCertain R1\n"
        "N1\tReference T2 UMLS:C1\thigh\n"
    )


def test_docs_put_together_keep_all_lines_under_ids_that_differ(nlp, doc):
    other = to_doc(nlp, parse_standoff("b", TEXT, ANN))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = Doc.from_docs([doc, other])
    document = from_doc(both)
    lines = document.annotations()
    assert len(lines) == 2 * ANN.count("\n")
    ids = [line.id for line in lines if line.id != "*"]
    assert len(set(ids)) == len(ids)
    again = parse_standoff("both", both.text, document.standoff())
    assert again.audit.counts() == {"kept": len(lines), "repaired": 0, "dropped": 0}
    half = len(TEXT) + 1
    texts = [[(e.start % half, e.label, e.text) for e in document.entities[i : i + 5]] for i in (0, 5)]
    assert texts[0] == texts[1] and document.entities[5].start == half
    # A Doc of parts says the same of each part as the part alone.
    parts = [doc[:2].as_doc(copy_user_data=True), other[3:].as_doc(copy_user_data=True)]
    assert len(from_doc(Doc.from_docs(parts)).annotations()) == sum(len(from_doc(p).annotations()) for p in parts)


def test_docs_saved_before_are_read(nlp, doc):
    """The keys of earlier versions, as they stand in .spacy files made by then."""
    old = nlp(TEXT)
    [stored] = [value for key, value in doc.user_data.items() if key[1].startswith("spacy_clinical_ner.brat")]
    old.user_data["spacy_clinical_ner.brat"] = stored
    old.user_data["spacy_clinical_ner.relations"] = [((1, 2, "Degree", "T2"), (0, 1, "Sign", "T1"), "MODIFY", 1.0)]
    old.user_data[("spacy_clinical_ner.confidence", 0, 6, "Sign")] = 0.75
    old.ents = [Span(old, e.start, e.end, label=e.label_, span_id=e.id_) for e in doc.ents]
    assert [(r.head.text, r.tail.text, r.label) for r in old._.relations] == [("alta", "Fiebre", "MODIFY")]
    assert old.ents[0]._.confidence == 0.75
    assert "R1\tMODIFY Arg1:T2 Arg2:E1" in from_doc(old).standoff()


def test_cost_grows_with_length(nlp):
    """Twice the note costs about twice: the Doc's text is put together once, not for each mention."""

    def seconds(n):
        doc = nlp("tos seca y fiebre " * n)
        doc.ents = [Span(doc, i, i + 1, label="X") for i in range(0, len(doc), 4)]
        best = []
        for _ in range(3):
            start = time.process_time()
            assert len(from_doc(doc).entities) == n
            best.append(time.process_time() - start)
        return min(best)

    assert seconds(8000) < 12 * seconds(2000)  # 4 in truth; 16 by the square


def test_last_line_without_newline_gets_one_when_lines_follow(nlp):
    doc = to_doc(nlp, parse_standoff("note", TEXT, "T1\tSign 0 6\tFiebre"))
    assert from_doc(doc).standoff() == "T1\tSign 0 6\tFiebre"
    doc.ents = [*doc.ents, Span(doc, 1, 2, label="Degree")]
    assert from_doc(doc).standoff() == "T1\tSign 0 6\tFiebre\nT2\tDegree 7 11\talta"
