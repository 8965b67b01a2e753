"""What every tagger must do, whatever its network and decoder; `test_crf_ner.py` has what is special to the CRF."""

import numpy as np
import pytest
from spacy.tokens import Doc
from thinc.api import Adam

from spacy_clinical_ner.tagging.calibration import CalibrationSet
from tests.tagging.pipelines import (
    TAGGERS,
    crf_pipeline,
    ents,
    make_docs,
    make_examples,
    spans,
    train,
)

TEXT = "paciente con carcinoma ductal y dolor por metástasis y tos . \n sin fiebre"


class Case:
    """A tagger of TAGGERS: how to make one, and one that is trained on ten documents."""

    def __init__(self, name):
        self.factory, self.config = TAGGERS[name]
        self.trained = self.pipeline()
        self.examples = make_examples(self.trained, make_docs(self.trained))
        train(self.trained, self.examples, steps=60)

    def pipeline(self, seed=0, settings=None, **model):
        return crf_pipeline(seed, self.factory, model=self.config(**model), **(settings or {}))

    @property
    def pipe(self):
        return self.trained.get_pipe(self.factory)


@pytest.fixture(scope="module", params=list(TAGGERS))
def case(request):
    return Case(request.param)


def test_learns_the_other_scheme(case):
    nlp = case.pipeline(scheme="BIO")
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=60)
    assert nlp.evaluate(examples)["ents_f"] == 1.0


def test_learns_overlapping_mentions_by_heart(case):
    scorer = {"@scorers": "spacy-clinical-ner.EntityScorer.v1", "spans_key": "sc"}
    nlp = case.pipeline(settings={"spans_key": "sc", "scorer": scorer})
    docs = make_docs(nlp, spans_key="sc")
    train(nlp, make_examples(nlp, docs), steps=80)
    predicted = [nlp.get_pipe(case.factory)(Doc(nlp.vocab, words=[t.text for t in doc])) for doc in docs]
    assert [spans(doc, "sc") for doc in predicted] == [spans(doc, "sc") for doc in docs]
    assert all(0 < span._.confidence <= 1 for doc in predicted for span in doc.spans["sc"])


def test_result_does_not_depend_on_the_batch(case):
    docs = [case.trained.make_doc(doc.text) for doc in make_docs(case.trained, 7, seed=9)]
    for doc, emissions in zip(docs, case.pipe.model.predict(docs)):
        np.testing.assert_allclose(case.pipe.model.predict([doc])[0], emissions, atol=1e-4)


def test_recall_bias_and_threshold(case):
    docs = make_docs(case.trained, seed=7)

    def found():
        return sum(len(case.trained(doc.text).ents) for doc in docs)

    plain = found()
    try:
        case.pipe.recall_bias = 30.0
        assert found() > plain
        case.pipe.recall_bias = -30.0
        assert found() < plain
        case.pipe.recall_bias = 0.0
        case.pipe.threshold = 1.0
        assert found() < plain
    finally:
        case.pipe.recall_bias = case.pipe.threshold = 0.0


def test_calibration_fits_a_temperature_and_changes_no_mention(case):
    dev = make_docs(case.trained, 20, seed=8)
    for doc in dev:  # wrong about a third of the mentions, and sure of them
        doc.set_ents([span for i, span in enumerate(doc.ents) if i % 3])
    before = [ents(case.trained(doc.text)) for doc in dev]
    try:
        fitted = CalibrationSet(case.pipe, make_examples(case.trained, dev)).fit()
        assert case.pipe.temperature == fitted.temperature > 1
        assert fitted.after.log_loss < fitted.before.log_loss
        assert [ents(case.trained(doc.text)) for doc in dev] == before
    finally:
        case.pipe.temperature = 1.0


def test_averages_reach_the_torch_weights(case):
    nlp = case.pipeline()
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.005, use_averages=True)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    model, docs = nlp.get_pipe(case.factory).model, [eg.reference for eg in examples[:2]]
    plain = model.predict(docs)
    with nlp.use_params(optimizer.averages):
        assert not np.allclose(model.predict(docs)[0], plain[0])
    assert np.array_equal(model.predict(docs)[0], plain[0])


def test_confidence_stays_a_probability_where_scores_are_too_large_to_add_exactly(case):
    """Sums of such scores have a rounding error of more than nothing, even in float64."""
    rng = np.random.default_rng(0)
    width = case.pipe.model.predict([case.trained.make_doc(TEXT)])[0].shape[1]
    emissions = [1e9 * rng.standard_normal((length, width)).astype("float32") for length in (1, 40, 200)]
    found = [mention.confidence for mentions in case.pipe.decode(emissions) for mention in mentions]
    assert len(found) > 30
    assert all(0.0 <= value <= 1.0 for value in found)
