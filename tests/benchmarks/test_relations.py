from itertools import product

import numpy as np
import pytest
import spacy
from spacy.util import load_model_from_config

from benchmarks.corpus import DIABETES, MACCROBAT
from benchmarks.relations.compare import figures, look_up, median_f, our_config, report
from benchmarks.relations.lookup import LookUp
from spacy_clinical_ner.errors import MalformedLineError
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


@pytest.mark.parametrize("corpus, reach", [(MACCROBAT, 100), (DIABETES, 150)])
def test_the_config_of_each_corpus_makes_a_pipeline(corpus, reach, tmp_path):
    config = our_config(corpus)
    config["paths"].update(train=str(tmp_path), dev=str(tmp_path))
    nlp = load_model_from_config(config, auto_fill=True, validate=True)
    distance = nlp.get_pipe("relation_classifier").candidates.filters[1]
    assert (nlp.lang, distance.max_distance) == (corpus.lang, reach)


def test_the_look_up_drops_malformed_lines_of_training_notes(tmp_path):
    lines = ["T1\tDrug 0 1\t药", "T2\tDisease 1 2\t病", "R1\tDrug_Disease Arg1:T1 Arg2:T2"]
    for name, more in (("train", ["T3\tDrug x"]), ("test", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("药病", encoding="utf8")
        (tmp_path / name / "1.ann").write_text("\n".join([*lines, *more]) + "\n", encoding="utf8")
    found = look_up(DIABETES, tmp_path / "train", tmp_path / "test", tmp_path / "out")
    assert found["scores"]["f"] == 1.0
    with pytest.raises(MalformedLineError):
        look_up(MACCROBAT, tmp_path / "train", tmp_path / "test", tmp_path / "out")


def test_report_and_record_tell_medians():
    def result(f, seed):
        scores = {"f": f, "ci_low": f - 0.1, "ci_high": f + 0.1, "p": f, "r": f, "per_type": {"MODIFY": f}}
        return {"scores": scores, "seed": seed, "commit": "abc", "ceiling": {"recall": 0.95}, "train_seconds": 60.0}

    results = {"ours": [result(f, seed) for seed, f in enumerate((0.7, 0.9, 0.75))]}
    assert median_f(results["ours"]) == 0.75
    (row,) = figures(results)
    assert "0.7500" in report(results) and row["median_f"] == 0.75
    assert row["candidate_recall"] == 0.95 and row["by_seed"][1] == [0.9, 0.8, 1.0]
