"""A relation without direction is scored, and written, in one order of its pair alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.joint.pipelines import joint_pipeline
from tests.relations.pipelines import given, make_docs, make_examples, relation_pipeline, triples

NEAR = {
    "@misc": "spacy-clinical-ner.CandidatePairs.v1",
    "*": {"near": {"@misc": "spacy-clinical-ner.TokenDistance.v1", "max_distance": 20}},
}
PIPELINES = {"relation_classifier": relation_pipeline, "joint_extractor": joint_pipeline}


@pytest.mark.parametrize("factory", PIPELINES)
def test_symmetric_labels_have_no_probability_in_reverse_order(factory):
    nlp = PIPELINES[factory](candidates=NEAR, symmetric=["SAME"])
    docs = make_docs(nlp, 4)
    nlp.initialize(lambda: make_examples(docs))
    pipe = nlp.get_pipe(factory)
    same, modify = (pipe.relation_labels.index(label) for label in ("SAME", "MODIFY"))
    for scored in pipe.score_pairs([given(doc) for doc in docs]):
        backwards = scored.pairs.head > scored.pairs.tail
        assert backwards.any() and not backwards.all()
        assert not scored.probabilities[backwards, same].any()
        assert (scored.probabilities[~backwards, same] > 0).all()
        assert (scored.probabilities[:, modify] > 0).all()


def test_none_is_written_twice_however_low_the_threshold():
    nlp = relation_pipeline(candidates=NEAR, symmetric=["SAME"], multi_label=True, threshold=0.0)
    docs = make_docs(nlp, 3)
    nlp.initialize(lambda: make_examples(docs))
    for doc in docs:
        found = triples(nlp(given(doc)))
        modify, same = ({(h, t) for label, h, t in found if label == wanted} for wanted in ("MODIFY", "SAME"))
        assert modify == {(t, h) for h, t in modify}, "of a directed label every pair is written in both orders"
        assert same == {(h, t) for h, t in modify if h < t}
        assert np.all([h < t for h, t in same])
