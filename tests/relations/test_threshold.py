"""The tuned threshold counts what the components before it lost: its F is the one that `evaluate` gives."""

from __future__ import annotations

import numpy as np
import pytest
from spacy.tokens import Span

from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.relations.threshold import best_threshold
from tests.relations.pipelines import given, make_docs, make_examples, relation_pipeline, train, triples


def test_relations_that_no_candidate_can_show_count_as_missed():
    nlp = relation_pipeline()
    train(nlp, make_examples(make_docs(nlp)), steps=12)
    pipe = nlp.get_pipe("relation_classifier")
    docs = make_docs(nlp, 12, seed=11)
    plain = best_threshold(pipe, make_examples(docs))
    lost = 0
    for doc in docs:
        taken = {token.i for entity in doc.ents for token in entity}
        # Mentions that doc.ents had no room for: say, because they overlap with others.
        free = [Span(doc, i, i + 1, label="SITE") for i in range(len(doc)) if i not in taken]
        doc._.relations = [*doc._.relations, *(Relation(span, doc.ents[0], "MODIFY") for span in free)]
        lost += len(free)
    best = best_threshold(pipe, make_examples(docs))
    assert lost > 20
    assert best.f < plain.f

    def f_at(threshold):
        pipe.cfg["threshold"] = threshold
        found, gold = [triples(nlp(given(doc))) for doc in docs], [triples(doc) for doc in docs]
        right = sum(len(one & other) for one, other in zip(found, gold))
        return 2 * right / (sum(map(len, found)) + sum(map(len, gold)))

    assert f_at(best.threshold) == pytest.approx(best.f)
    assert nlp.evaluate(make_examples(docs))["rel_micro_f"] == pytest.approx(best.f)
    assert best.f >= max(f_at(cut) for cut in np.linspace(0.01, 0.99, 40)) - 1e-9
