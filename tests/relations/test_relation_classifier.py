import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import registry

from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.relations.candidates import TokenDistance
from spacy_clinical_ner.relations.threshold import best_threshold
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.relations.pipelines import (
    given,
    make_docs,
    make_examples,
    relation_pipeline,
    train,
    triples,
)


@pytest.fixture(scope="module")
def trained() -> Language:
    nlp = relation_pipeline()
    train(nlp, make_examples(make_docs(nlp)), steps=40, learn_rate=0.02)
    return nlp


@pytest.fixture()
def pipe(trained):
    return trained.get_pipe("relation_classifier")


@pytest.mark.parametrize("spans_key, multi_label", [(None, True), ("sc", False), ("sc", True)])
def test_learns_ten_documents_by_heart(spans_key, multi_label):
    nlp = relation_pipeline(spans_key=spans_key, multi_label=multi_label)
    docs = make_docs(nlp, spans_key=spans_key)
    train(nlp, make_examples(docs), steps=50, learn_rate=0.02)
    scores = nlp.evaluate(make_examples(docs))
    assert scores["rel_micro_f"] == 1.0
    assert scores["rel_candidate_recall"] == 1.0
    assert set(scores["rel_per_type"]) == {"MODIFY", "SAME"}
    for doc in docs:
        assert triples(nlp(given(doc))) == triples(doc)
    if spans_key:
        relations = [r for doc in docs for r in doc._.relations]
        assert any(r.head.start == r.tail.start for r in relations), "the corpus must have same-start mentions"


def test_two_labels_for_one_pair():
    nlp = relation_pipeline(multi_label=True)
    docs = make_docs(nlp)
    for doc in docs:
        twice = [r._replace(label="AGAIN") for r in doc._.relations if r.label == "SAME"]
        doc._.relations = [*doc._.relations, *twice]
    train(nlp, make_examples(docs), steps=50, learn_rate=0.02)
    assert nlp.evaluate(make_examples(docs))["rel_micro_f"] == 1.0


@pytest.mark.parametrize("how", ["setting", "annotation.conf"])
def test_symmetric_labels_have_no_direction(how, tmp_path):
    if how == "setting":
        nlp = relation_pipeline(symmetric=["SAME"])
    else:
        (tmp_path / "annotation.conf").write_text(
            "[relations]\nMODIFY Arg1:GRADE|SITE, Arg2:TUMOUR\nSAME Arg1:TUMOUR, Arg2:TUMOUR, <REL-TYPE>:symmetric\n"
        )
        types = {"@misc": "spacy-clinical-ner.TypePairs.v1", "path": str(tmp_path / "annotation.conf")}
        nlp = relation_pipeline(candidates={"@misc": "spacy-clinical-ner.CandidatePairs.v1", "*": {"types": types}})
    docs, turned = make_docs(nlp), make_docs(nlp)
    for doc in turned:
        doc._.relations = [r._replace(head=r.tail, tail=r.head) if r.label == "SAME" else r for r in doc._.relations]
    train(nlp, make_examples(docs), steps=50, learn_rate=0.02)
    (tmp_path / "annotation.conf").unlink(missing_ok=True)  # what it said is stored
    assert nlp.evaluate(make_examples(docs))["rel_micro_f"] == 1.0
    assert nlp.evaluate(make_examples(turned))["rel_micro_f"] == 1.0
    for doc in docs:
        assert all(r.head.start < r.tail.start for r in nlp(given(doc))._.relations if r.label == "SAME")


def test_default_config_is_complete():
    nlp = blank_pipeline("en")
    nlp.add_pipe("relation_classifier")
    again = spacy.util.load_model_from_config(nlp.config.from_str(nlp.config.to_str()), auto_fill=False)
    for each in (nlp, again):
        filters = each.get_pipe("relation_classifier").candidates.filters
        assert [type(one).__name__ for one in filters] == ["TypePairs", "TokenDistance"]


def test_a_config_decides_on_the_filters_alone():
    nlp = blank_pipeline("en")
    near = {"@misc": "spacy-clinical-ner.TokenDistance.v1", "max_distance": 3}
    chosen = {"@misc": "spacy-clinical-ner.CandidatePairs.v1", "*": {"near": near}}
    pipe = nlp.add_pipe("relation_classifier", config={"candidates": chosen})
    assert pipe.candidates.filters == [TokenDistance(3)]


def test_a_reference_without_relation_annotation_teaches_nothing(trained):
    silent, said = make_docs(trained, 2)
    silent.user_data.clear()
    assert trained.get_pipe("relation_classifier").update(make_examples([silent]))["relation_classifier"] == 0
    said._.relations = []
    assert trained.get_pipe("relation_classifier").update(make_examples([said]))["relation_classifier"] > 0


def test_unknown_entity_types_and_no_candidates(trained):
    doc = given(make_docs(trained)[0])
    doc.set_ents([Span(doc, span.start, span.end, label="NEW") for span in doc.ents])
    assert trained(doc)._.relations == []


def test_batches_change_nothing(trained):
    docs = make_docs(trained, 12, seed=7)
    pipe = trained.get_pipe("relation_classifier")
    alone = [pipe.score_pairs([given(doc)])[0].probabilities for doc in docs]
    together = [scored.probabilities for scored in pipe.score_pairs([given(doc) for doc in docs])]
    for one, other in zip(alone, together):
        np.testing.assert_allclose(one, other, atol=1e-5)
    (network,) = pipe.model.shims[0].module.members
    network.max_pairs = 3
    few = [pipe.score_pairs([given(doc)])[0].probabilities for doc in docs]
    network.max_pairs = 50000
    for one, other in zip(alone, few):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "setting", [{"threshold": 1.5}, {"keep_negatives": 0.0}, {"train_on": "silver"}], ids=lambda s: next(iter(s))
)
def test_bad_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        relation_pipeline(**setting)


def test_negatives_are_drawn_and_positives_kept():
    nlp = relation_pipeline(keep_negatives=0.2)
    docs = make_docs(nlp)
    nlp.initialize(lambda: make_examples(docs))
    pipe = nlp.get_pipe("relation_classifier")
    draws = []
    for _ in range(2):
        groups, gold, kept = pipe.training_pairs(make_examples(docs))
        assert len(gold) == len(kept) == sum(len(group.pairs.head) for group in groups)
        positive = gold.any(axis=1)
        assert gold.sum() == sum(len(doc._.relations) for doc in docs)
        assert kept[positive].all()
        assert 0.1 < kept[~positive].mean() < 0.3
        draws.append(kept)
    assert not np.array_equal(*draws)
    scores = pipe.model.ops.asarray2f(np.ones((len(gold), 3), dtype="float32"))
    _, gradient = pipe.loss(scores, (gold, kept))
    assert np.array_equal(gradient.any(axis=1), kept)


def test_initialize_tells_and_stores_the_ceiling(capsys):
    nlp = relation_pipeline(
        candidates={
            "@misc": "spacy-clinical-ner.CandidatePairs.v1",
            "*": {"near": {"@misc": "spacy-clinical-ner.TokenDistance.v1", "max_distance": 0}},
        }
    )
    docs = make_docs(nlp)
    nlp.initialize(lambda: make_examples(docs))
    relations = [r for doc in docs for r in doc._.relations]
    near = [r for r in relations if max(r.head.start, r.tail.start) <= min(r.head.end, r.tail.end)]
    assert 0 < len(near) < len(relations)
    stored = nlp.get_pipe("relation_classifier").cfg["ceiling"]["train"]
    assert (stored["gold"], stored["covered"]) == (len(relations), len(near))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"cover {len(near) / len(relations):.1%} of {len(relations)} gold relations" in printed
    scores = nlp.evaluate(make_examples(docs))
    assert scores["rel_candidate_recall"] == pytest.approx(len(near) / len(relations))


def test_trains_on_predicted_mentions_or_both():
    """The predicted Docs lack one mention and have a wrong one."""
    nlp = relation_pipeline(train_on="predicted")
    docs = make_docs(nlp, 4)
    examples = make_examples(docs)
    for example in examples:
        first, *rest = example.predicted.ents
        example.predicted.set_ents([Span(example.predicted, first.start, first.end, "WRONG"), *rest])
    nlp.initialize(lambda: examples)
    pipe = nlp.get_pipe("relation_classifier")
    lost = sum(doc.ents[0].start in (r.head.start, r.tail.start) for doc in docs for r in doc._.relations)
    total = sum(len(doc._.relations) for doc in docs)
    assert lost
    assert pipe.training_pairs(examples)[1].sum() == total - lost
    pipe.train_on = "gold"
    assert pipe.training_pairs(examples)[1].sum() == total
    assert pipe.training_pairs(make_examples(docs, mentions=False))[1].sum() == total
    pipe.train_on = "both"
    groups, gold, _ = pipe.training_pairs(examples)
    assert (len(groups), gold.sum()) == (2 * len(docs), 2 * total - lost)
    pipe.train_on = "predicted"
    assert pipe.update(make_examples(docs, mentions=False))["relation_classifier"] == 0
    for train_on in ("predicted", "both"):
        pipe.train_on = train_on
        assert nlp.update(examples)["relation_classifier"] > 0


def test_other_tokens_than_the_reference():
    """A gold mention inside a token of the predicted Doc is lost and counts against the ceiling."""
    nlp = relation_pipeline()
    doc = Doc(nlp.vocab, words=["G3", "carcinoma", "-", "renal"], spaces=[True, False, False, False])
    grade, tumour, site = (Span(doc, i, i + 1, label) for i, label in ((0, "GRADE"), (1, "TUMOUR"), (3, "SITE")))
    doc.set_ents([grade, tumour, site])
    doc._.relations = [Relation(grade, tumour, "MODIFY"), Relation(grade, site, "MODIFY")]
    predicted = Doc(nlp.vocab, words=["G3", "carcinoma-", "renal"], spaces=[True, False, False])
    nlp.initialize(lambda: [Example(predicted, doc)])
    pipe = nlp.get_pipe("relation_classifier")
    assert pipe.cfg["ceiling"]["train"]["gold"] == 2
    assert pipe.cfg["ceiling"]["train"]["covered"] == 1
    assert pipe.training_pairs([Example(predicted, doc)])[1].sum() == 1


def test_best_threshold_against_all_thresholds():
    nlp = relation_pipeline()
    train(nlp, make_examples(make_docs(nlp)), steps=25)
    pipe = nlp.get_pipe("relation_classifier")
    docs = make_docs(nlp, 20, seed=11)
    best = best_threshold(pipe, make_examples(docs))
    scores = []
    for cut in sorted({best.threshold, *np.linspace(0.01, 0.99, 50)}):
        pipe.cfg["threshold"] = cut
        f = nlp.evaluate(make_examples(docs))["rel_micro_f"]
        scores.append(f)
        if cut == best.threshold:
            assert f == pytest.approx(best.f)
    assert best.f >= max(scores) - 1e-9
    assert len(set(scores)) > 1


def test_threshold_callback_and_which_threshold_counts(tmp_path):
    nlp = relation_pipeline()
    docs = make_docs(nlp)
    train(nlp, make_examples(docs), steps=25)
    pipe = nlp.get_pipe("relation_classifier")
    assert pipe.threshold == 0.5
    tune = registry.callbacks.get("spacy-clinical-ner.TuneRelationThreshold.v1")(lambda nlp: make_examples(docs))
    assert tune(nlp) is nlp
    assert pipe.threshold == best_threshold(pipe, make_examples(docs)).threshold != 0.5
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).get_pipe("relation_classifier").threshold == pytest.approx(pipe.threshold)
    chosen = {"components": {"relation_classifier": {"threshold": 0.9}}}
    assert spacy.load(tmp_path, config=chosen).get_pipe("relation_classifier").threshold == 0.9


def test_end_to_end_with_an_annotating_component():
    nlp = relation_pipeline(train_on="both")
    ruler = nlp.add_pipe("entity_ruler", before="relation_classifier")
    docs = make_docs(nlp)
    optimizer = nlp.initialize(lambda: make_examples(docs, mentions=False))
    ruler.add_patterns(
        [{"label": "TUMOUR", "pattern": word} for word in ("carcinoma", "tumor", "adenoma")]
        + [{"label": "SITE", "pattern": word} for word in ("pulmón", "hueso")]
        + [{"label": "GRADE", "pattern": word} for word in ("leve", "grave")]
    )
    optimizer.learn_rate = 0.02
    for _ in range(50):
        nlp.update(make_examples(docs, mentions=False), sgd=optimizer, annotates=["entity_ruler"])
    assert nlp.evaluate(make_examples(docs, mentions=False))["rel_micro_f"] == 1.0
