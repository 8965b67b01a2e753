import numpy as np
import pytest
from spacy.training import Example

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.tagging.calibration import CalibrationSet, plot_reliability, reliability
from tests.tagging.pipelines import crf_pipeline, ents, make_docs, make_examples, train


def test_reliability_by_hand():
    figures = reliability([0.95, 0.85, 0.95, 0.15], [True, False, False, False], bins=10)
    # bins: 0.15 alone (accuracy 0), 0.85 alone (0), two at 0.95 (one half)
    assert figures.ece == pytest.approx((0.15 + 0.85 + 2 * 0.45) / 4)
    assert figures.count == [0, 1, 0, 0, 0, 0, 0, 0, 1, 2]
    assert figures.accuracy[9] == 0.5 and np.isnan(figures.accuracy[0])
    assert figures.to_dict()["accuracy"][0] is None
    assert figures.log_loss == pytest.approx(-np.mean(np.log([0.95, 0.15, 0.05, 0.85])))
    assert reliability([1.0], [True]).ece == 0.0


def test_reliability_of_nothing_is_an_error():
    with pytest.raises(ValueError):
        reliability([], [])


def test_a_calibrated_forecast_has_no_error():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200_000)
    assert reliability(p, rng.uniform(size=p.size) < p).ece < 0.01
    assert reliability(p, rng.uniform(size=p.size) < p**2).ece > 0.1


@pytest.fixture(scope="module")
def overconfident():
    """Trained by heart on notes a third of whose mentions are mislabelled, so that it errs on others, and is sure."""
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp, 12)), steps=60)
    dev = make_docs(nlp, 30, seed=8)
    for doc in dev:
        doc.set_ents([span for i, span in enumerate(doc.ents) if i % 3])
    return nlp, make_examples(nlp, dev)


def test_fit_minimises_the_log_loss_and_changes_no_mention(overconfident):
    nlp, examples = overconfident
    pipe = nlp.get_pipe("crf_ner")
    before = [ents(nlp(eg.reference.text)) for eg in examples]
    notes = CalibrationSet(pipe, examples)
    fitted = notes.fit()
    assert pipe.temperature == fitted.temperature > 1
    assert fitted.after.ece < fitted.before.ece
    grid = [notes.reliability(t).log_loss for t in np.exp(np.linspace(np.log(0.05), np.log(20), 60))]
    assert fitted.after.log_loss <= min(grid) + 1e-3
    assert [ents(nlp(eg.reference.text)) for eg in examples] == before


def test_outcomes_agree_with_what_the_pipeline_writes(overconfident):
    nlp, examples = overconfident
    pipe = nlp.get_pipe("crf_ner")
    confidence, correct = CalibrationSet(pipe, examples).outcomes(pipe.temperature)
    expected = []
    for eg in examples:
        gold = {(s.start_char, s.end_char, s.label_) for s in eg.reference.ents}
        doc = nlp(eg.reference.text)
        expected += [(s._.confidence, (s.start_char, s.end_char, s.label_) in gold) for s in doc.ents]
    assert correct == [right for _, right in expected]
    np.testing.assert_allclose(confidence, [c for c, _ in expected], rtol=1e-3)
    assert any(correct) and not all(correct)


def test_mentions_where_nothing_is_known_are_neither_right_nor_wrong(overconfident):
    nlp, examples = overconfident
    pipe = nlp.get_pipe("crf_ner")
    (found,) = [eg for eg in examples if len(nlp(eg.reference.text).ents) > 1][:1]
    start, end, _ = ents(nlp(found.reference.text))[0]
    reference = found.reference.copy()
    kept = [span for span in reference.ents if span.end <= start or span.start >= end]
    reference.set_ents(kept, missing=[reference[start:end]])
    whole = CalibrationSet(pipe, [found]).outcomes(1.0)
    part = CalibrationSet(pipe, [Example(found.predicted, reference)]).outcomes(1.0)
    assert part == (whole[0][1:], whole[1][1:])


def test_nothing_found_is_a_clear_error():
    nlp = crf_pipeline()
    examples = make_examples(nlp, make_docs(nlp, 2))
    nlp.initialize(lambda: examples)
    nlp.get_pipe("crf_ner").recall_bias = -1000.0
    with pytest.raises(ClinicalNerError, match="nothing to calibrate"):
        CalibrationSet(nlp.get_pipe("crf_ner"), examples).fit()


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    plot_reliability(tmp_path / "a.png", {"before": reliability([0.3, 0.9], [True, False])})
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
