from itertools import product

import numpy as np
import pytest
import spacy

from benchmarks.relations.compare import figures, median_f, report
from benchmarks.relations.lookup import LookUp
from tests.relations.pipelines import given, make_docs, make_examples, model_config, relation_pipeline, train, triples


@pytest.fixture(scope="module")
def tutorial():
    settings = {
        name: value
        for name, value in model_config().items()
        if name in ("tok2vec", "encoder", "window", "context", "dropout")
    }
    nlp = relation_pipeline(
        model={"@architectures": "benchmarks.TutorialRelations.v1", **settings},
        candidates={"@misc": "spacy-clinical-ner.CandidatePairs.v1", "*": {}},
        multi_label=True,
    )
    train(nlp, make_examples(make_docs(nlp)), steps=30, learn_rate=0.02)
    return nlp


def test_the_tutorial_scores_all_ordered_pairs_from_mean_vectors_alone(tutorial):
    pipe = tutorial.get_pipe("relation_classifier")
    doc = given(make_docs(tutorial, 1, seed=3)[0])
    scored = pipe.score_pairs([doc])[0]
    mentions = range(len(doc.ents))
    assert set(zip(scored.pairs.head.tolist(), scored.pairs.tail.tolist())) == {
        pair for pair in product(mentions, repeat=2) if pair[0] != pair[1]
    }
    # A sum of something of the head and something of the tail: differences between tails are alike for all heads.
    logits = np.log(scored.probabilities) - np.log1p(-scored.probabilities)
    logit = dict(zip(zip(scored.pairs.head.tolist(), scored.pairs.tail.tolist()), logits))
    np.testing.assert_allclose(logit[0, 2] - logit[0, 3], logit[1, 2] - logit[1, 3], rtol=1e-2, atol=1e-2)


def test_the_look_up_remembers_types_order_and_distance():
    nlp = spacy.blank("es")
    table = LookUp()
    docs = make_docs(nlp, 30, spans_key="sc")
    table.learn(docs)
    predicted = [table(given(doc)) for doc in docs]
    found = [triples(doc) for doc in predicted]
    gold = [triples(doc) for doc in docs]
    hits = sum(len(one & other) for one, other in zip(found, gold))
    assert hits > 0.5 * sum(map(len, gold))
    assert {relation[0] for doc in found for relation in doc} <= {"MODIFY", "SAME"}


def test_report_and_record_tell_medians():
    def result(f, seed):
        scores = {"f": f, "ci_low": f - 0.1, "ci_high": f + 0.1, "p": f, "r": f, "per_type": {"MODIFY": f}}
        return {"scores": scores, "seed": seed, "commit": "abc", "ceiling": {"recall": 0.95}, "train_seconds": 60.0}

    results = {"ours": [result(f, seed) for seed, f in enumerate((0.7, 0.9, 0.75))]}
    assert median_f(results["ours"]) == 0.75
    (row,) = figures(results)
    assert "0.7500" in report(results) and row["median_f"] == 0.75
    assert row["candidate_recall"] == 0.95 and row["by_seed"][1] == [0.9, 0.8, 1.0]
