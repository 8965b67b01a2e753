"""The logger that leaves loss and scores for the report."""

from __future__ import annotations

import io
import json

from spacy_clinical_ner.evaluation.report.training import read_training
from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.training.loggers import JsonlLogger
from spacy_clinical_ner.training.workflow import prepare_config
from tests.training.test_learning_curve import CONFIG


def info(step: int) -> dict:
    scores = {"ents_f": 0.5, "ents_per_type": {"A": {}}, "speed": 99.0, "rel_micro_f": None}
    counts = {"epoch": 0, "seconds": step, "words": 10 * step}
    return {"step": step, **counts, "score": 0.5, "losses": {"crf_ner": 2.0}, "other_scores": scores}


def test_lines_are_whole_after_each_evaluation_and_replace_those_of_an_earlier_training(tmp_path):
    nlp = blank_pipeline("en")
    nlp.add_pipe("crf_ner")
    nlp.config["training"]["score_weights"] = {"ents_f": 1.0, "ents_per_type": None, "speed": 0.0}
    path = tmp_path / "new/log.jsonl"
    for _ in range(2):
        console = io.StringIO()
        log_step, finish = JsonlLogger(str(path))(nlp, console, console)
        for step in (1, 2):
            log_step(None)
            log_step(info(step))
            assert len(path.read_text("utf8").splitlines()) == 1 + step
        finish()
    header, *rows = [json.loads(line) for line in path.read_text("utf8").splitlines()]
    assert header["versions"].keys() >= {"spacy", "python", "spacy-clinical-ner"}
    assert header["started"].endswith("+00:00")
    assert rows[1] == {
        "step": 2, "epoch": 0, "seconds": 2, "words": 20, "losses": {"crf_ner": 2.0}, "scores": {"ents_f": 50.0},
        "score": 0.5,
    }  # fmt: skip
    assert "ENTS_F" in console.getvalue()
    (tmp_path / "new/model-best").mkdir()
    nlp.to_disk(tmp_path / "new/model-best")
    assert read_training(tmp_path / "new")["updates"] == rows


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log_step, finish = JsonlLogger()(blank_pipeline("en"), io.StringIO(), io.StringIO())
    log_step(None)
    finish()
    assert not list(tmp_path.iterdir())


def test_workflows_log_unless_the_config_has_a_logger(tmp_path):
    config = tmp_path / "c.cfg"
    config.write_text(CONFIG)
    text = prepare_config(config, tmp_path / "out").read_text("utf8")
    assert "spacy-clinical-ner.JsonlLogger.v1" in text and "log.jsonl" in text and "${paths.train}" in text
    config.write_text(CONFIG + '\n[training.logger]\n@loggers = "spacy.ConsoleLogger.v1"\n')
    assert "JsonlLogger" not in prepare_config(config, tmp_path / "out").read_text("utf8")
