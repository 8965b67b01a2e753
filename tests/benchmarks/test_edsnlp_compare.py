import json

import numpy as np
import pytest

from benchmarks.registry import create_head_rate_adam, create_step_times
from benchmarks.tagger import edsnlp_compare
from benchmarks.tagger.edsnlp_compare import (
    FLOAT_EDS,
    FLOAT_OURS,
    INT8,
    ROWS,
    Budget,
    edsnlp_report,
    entities_only,
    trained_once,
    write_predictions,
)
from spacy_clinical_ner.brat import read_document, read_folder


def test_budget_counts_the_last_smaller_batch():
    budget = Budget(epochs=3, batch_size=4, encoder_rate=1e-4, head_rate=1e-3)
    assert budget.steps(9) == (3, 9)
    assert budget.steps(8) == (2, 6)


def test_entities_only_leaves_what_edsnlp_can_read(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.b.txt").write_bytes("caf\u00e9\r\nfever".encode())
    (source / "a.b.ann").write_text(
        "T1\tSign 6 11\tfever\nT2\tX 0 2;3 4\tca \u00e9\nE1\tSign:T1\n#1\tAnnotatorNotes E1\tseen\n", encoding="utf8"
    )
    (document,) = read_folder(entities_only(source, tmp_path / "bare"))
    assert document.name == "a.b"
    assert document.text == "caf\u00e9\r\nfever"
    assert [(e.id, e.fragments) for e in document.entities] == [("T1", ((6, 11),)), ("T2", ((0, 2), (3, 4)))]
    assert not document.events and not document.notes


def test_predictions_keep_their_offsets_across_line_breaks(tmp_path):
    gold = tmp_path / "gold"
    (gold / "ward").mkdir(parents=True)
    (gold / "ward" / "n.txt").write_bytes(b"acute\r\nfever, none")
    write_predictions(gold, {"ward/n": [["Sign", 0, 12], ["Sign", 14, 18]]}, tmp_path / "out")
    document = read_document(tmp_path / "out" / "ward" / "n.txt")
    assert [(e.label, e.start, e.end) for e in document.entities] == [("Sign", 0, 12), ("Sign", 14, 18)]
    assert document.text == "acute\r\nfever, none"


def test_report_compares_in_the_same_precision():
    def rates(base):
        return {"rates": [base, 2 * base], "peak_rss_mib": 700.0}

    trained = {"train_words_per_second": 300.0, "train_words_per_cpu_second": 400.0, "train_peak_rss_mib": 1800.0}
    bfloat16 = next(row for row in ROWS if row.precision == "bfloat16")
    scores = {"f": 0.5, "ci_low": 0.4, "ci_high": 0.6}
    text = edsnlp_report(
        {
            "budget": "2 epochs",
            "training": {FLOAT_EDS.system: trained, FLOAT_OURS.system: {**trained, "train_words_per_second": 330.0}},
            "inference": {
                FLOAT_EDS.name: rates(100.0),
                bfloat16.name: rates(250.0),
                FLOAT_OURS.name: rates(90.0),
                INT8.name: rates(130.0),
            },
            "scores": {row.name: scores for row in ROWS},
            "comparison": {"difference": 0.1, "ci_low": 0.05, "ci_high": 0.15, "p_value": 0.01},
            "int8": {"difference": -0.002, "ci_low": -0.01, "ci_high": 0.01, "p_value": 0.5},
        }
    )
    assert "training 1.10 x by the clock and 1.00 x by CPU time" in text
    assert "inference 0.90 x" in text
    assert "inference 1.30 x of EDS-NLP, float32, F -0.0020" in text
    assert text.count("0.5000 [0.400, 0.600]") == 4


def test_requests_go_to_edsnlp_in_the_precision_of_their_row():
    assert [row.request for row in ROWS] == [{"mixed": False}, {"mixed": True}, {}, {}]


def test_head_rate_applies_to_the_head_alone():
    optimizer = create_head_rate_adam(0.01, head="emission|crf", head_factor=10.0)
    moved = {}
    for name in ("emission.weight", "crf.transitions", "encoder.emission.weight", "pooler.dense.bias"):
        weights, _ = optimizer((1, name), np.zeros(4, dtype="float32"), np.ones(4, dtype="float32"))
        moved[name] = float(-weights[0])
    assert moved["emission.weight"] == pytest.approx(0.1, rel=1e-3)
    assert moved["crf.transitions"] == pytest.approx(0.1, rel=1e-3)
    assert moved["encoder.emission.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["pooler.dense.bias"] == pytest.approx(0.01, rel=1e-3)


def test_step_times_notes_both_clocks_after_every_step(tmp_path, capsys):
    import sys

    step, finish = create_step_times(str(tmp_path / "times.json"))(None, sys.stdout, sys.stderr)
    step({"step": 0, "epoch": 0, "losses": {"crf_ner": 1.5}})
    step(None)
    finish()
    (first, second) = json.loads((tmp_path / "times.json").read_text())
    assert len(first) == 2 and second[0] >= first[0] and second[1] >= first[1]
    assert capsys.readouterr().out == "step 0, epoch 0: crf_ner 1.50\n"


def test_training_is_repeated_only_for_other_notes_or_another_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(edsnlp_compare, "WORK", tmp_path / "work")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.txt").write_text("note")
    trainings = []

    def trainer(train, output, budget):
        output.mkdir(parents=True)
        trainings.append(budget.epochs)
        return {"model": str(output), "train_words_per_second": 1.0}

    def train(epochs, fresh=False):
        budget = Budget(epochs, batch_size=2, encoder_rate=1e-4, head_rate=1e-3)
        return trained_once("ours", trainer, tmp_path / "train", budget, fresh)

    assert train(2) == train(2)
    assert trainings == [2]
    train(3)
    train(2, fresh=True)
    assert trainings == [2, 3, 2]
    (tmp_path / "train" / "b.txt").write_text("another")
    train(2)
    assert trainings == [2, 3, 2, 2]
