"""Which pairs a pipeline looks at, as the report asks for them."""

from __future__ import annotations

import pytest

from spacy_clinical_ner.annotation.candidate_pairs import candidates_of
from spacy_clinical_ner.brat import BratDocument, Entity, from_doc
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.pairs import mentions_of, relations_of
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.relations.pipelines import make_docs, make_examples, relation_pipeline


@pytest.mark.parametrize("spans_key", [None, "sc"])
def test_pairs_are_those_of_the_schema(tmp_path, spans_key):
    nlp = relation_pipeline(spans_key=spans_key)
    docs = make_docs(nlp, spans_key=spans_key)
    nlp.initialize(lambda: make_examples(docs))
    nlp.to_disk(tmp_path / "pipeline")
    candidates = candidates_of(str(tmp_path / "pipeline"))
    for doc in docs:
        document = from_doc(doc, name="n")
        found = candidates(document)
        # The schema was learnt of these notes: what is related is looked at, and no pair of types that never is.
        assert {(relation.head, relation.tail) for relation in relations_of(document)} <= found
        assert {mention for pair in found for mention in pair} <= mentions_of(document)
        assert not any(head.label == tail.label == "SITE" for head, tail in found)
        assert all(head != tail for head, tail in found)
    assert candidates(BratDocument("empty", "nothing")) == set()


def test_a_mention_in_pieces_stands_for_itself(tmp_path):
    nlp = relation_pipeline(spans_key="sc")
    nlp.initialize(lambda: make_examples(make_docs(nlp, spans_key="sc")))
    nlp.to_disk(tmp_path / "pipeline")
    text = "grave carcinoma de pulmón renal"
    entities = [
        Entity("T1", "GRADE", ((0, 5),), "grave"),
        Entity("T2", "TUMOUR", ((6, 15), (26, 31)), "carcinoma renal"),
    ]
    found = candidates_of(str(tmp_path / "pipeline"))(BratDocument("n", text, entities))
    assert (Mention("GRADE", ((0, 5),)), Mention("TUMOUR", ((6, 15), (26, 31)))) in found


def test_pipelines_without_relations(tmp_path):
    blank_pipeline("es").to_disk(tmp_path / "p")
    with pytest.raises(ClinicalNerError, match="no component of this pipeline finds relations"):
        candidates_of(str(tmp_path / "p"))
