from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Optional

import pytest
import torch

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.raw_notes import training
from spacy_clinical_ner.raw_notes.checkpoint import CheckpointFolder
from spacy_clinical_ner.raw_notes.data import MaskedNotes
from spacy_clinical_ner.raw_notes.network import new_model
from spacy_clinical_ner.raw_notes.settings import PretrainingSettings
from spacy_clinical_ner.raw_notes.training import Trainer
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer
from tests.raw_notes.corpora import TINIEST, make_notes

TEXTS = make_notes(24)
TOKENIZER = train_tokenizer(TEXTS, 300)
CPU = torch.device("cpu")


def make_trainer(total: Optional[int] = 40, folder: Optional[Path] = None, **options: Any) -> Trainer:
    settings = PretrainingSettings(**{"max_steps": total, "evaluations": 4, "checkpoint_minutes": 0.0, **options})
    torch.manual_seed(settings.seed)
    return Trainer(
        new_model(TINIEST, len(TOKENIZER), 16, 0),
        MaskedNotes(TOKENIZER, TEXTS[4:], 16, 4, settings.seed),
        MaskedNotes(TOKENIZER, TEXTS[:4], 16, 4, settings.seed).held_out_batches(9),
        settings,
        rate=settings.learning_rate or TINIEST.learning_rate,
        total=total,
        device=CPU,
        checkpoints=CheckpointFolder(folder / "encoder") if folder else None,
        identity={"seed": settings.seed, "max_minutes": settings.max_minutes},
    )


def test_perplexity_is_that_of_a_naive_computation() -> None:
    trainer = make_trainer()
    trainer.model.eval()
    losses = []
    with torch.no_grad():
        for batch in trainer.held_out:
            for row in range(len(batch.ids)):
                keep = slice(None) if batch.mask is None else batch.mask[row]
                logits = trainer.model(batch.ids[row][keep][None]).logits[0]
                probabilities = logits.softmax(-1)[batch.selected[row][keep]]
                first = int(batch.selected[:row].sum())
                labels = batch.labels[first : first + len(probabilities)].tolist()
                losses += [-math.log(float(probability[label])) for probability, label in zip(probabilities, labels)]
    assert len(losses) == sum(len(batch.labels) for batch in trainer.held_out) > 10
    assert trainer.perplexity() == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)
    assert trainer.model.training


def test_loss_and_perplexity_fall() -> None:
    progress = make_trainer(120).run()
    assert len(progress.losses) == progress.step == 120
    assert sum(progress.losses[-20:]) < 0.8 * sum(progress.losses[:20])
    perplexities = [row["perplexity"] for row in progress.evaluations]
    assert [row["step"] for row in progress.evaluations] == [0, 30, 60, 90, 120]
    assert perplexities[-1] < 0.5 * perplexities[0]


def test_same_seed_same_curve_and_another_another() -> None:
    one, again, other = (make_trainer(10, seed=seed).run() for seed in (0, 0, 1))
    assert one.losses == again.losses
    assert one.losses != other.losses


def test_mixed_precision_learns_as_well_and_full_precision_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "has_bfloat16", lambda device: False)
    plain = make_trainer(40).run()
    monkeypatch.setattr(training, "has_bfloat16", lambda device: True)
    mixed, full = make_trainer(40).run(), make_trainer(40, full_precision=True).run()
    assert full.losses == plain.losses
    assert mixed.losses != plain.losses
    assert mixed.losses == pytest.approx(plain.losses, rel=0.02)
    # Before the first step the weights are the same, and the perplexity is told in full precision.
    assert mixed.evaluations[0]["held_out_loss"] == plain.evaluations[0]["held_out_loss"]


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 13, 30, 39])
def test_resumed_run_has_the_same_curve(tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_trainer().run()
    stopped = make_trainer(folder=tmp_path)
    step = stopped._step

    def stop(bar: Any) -> None:
        if stopped.progress.step == stop_at:
            raise Stop
        step(bar)

    monkeypatch.setattr(stopped, "_step", stop)
    with pytest.raises(Stop):
        stopped.run()
    resumed = make_trainer(folder=tmp_path)
    assert resumed.resume() is True
    assert 0 < resumed.progress.step <= stop_at
    progress = resumed.run()
    assert progress.losses == pytest.approx(expected.losses, abs=1e-5)
    assert progress.rates == expected.rates
    for row, other in zip(progress.evaluations, expected.evaluations):
        assert row["step"] == other["step"]
        assert row["held_out_loss"] == pytest.approx(other["held_out_loss"], abs=1e-5)
    assert len(progress.evaluations) == len(expected.evaluations)
    assert progress.pieces == expected.pieces


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    make_trainer(4, tmp_path).run()
    with pytest.raises(ClinicalNerError, match="other seed; --restart"):
        make_trainer(4, tmp_path, seed=1).resume()
    CheckpointFolder(tmp_path / "encoder").remove()
    assert make_trainer(4, tmp_path, seed=1).resume() is False


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    make_trainer(4, tmp_path).run()
    (tmp_path / "encoder.partial" / "checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(ClinicalNerError, match=r"checkpoint\.pt: not a checkpoint"):
        make_trainer(4, tmp_path).resume()


def test_loss_that_is_no_number_ends_the_run() -> None:
    trainer = make_trainer(20)
    with torch.no_grad():
        trainer.model.bert.embeddings.word_embeddings.weight.fill_(math.nan)
    with pytest.raises(ClinicalNerError, match="lower --learning-rate"):
        trainer.run()


class Clock:
    """Time as steps take it: `pace` gives the seconds of each."""

    def __init__(self, pace) -> None:
        self.now, self.pace = 1000.0, pace

    def attach(self, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
        step, trainer._began = trainer._step, self.now

        def timed(bar: Any) -> None:
            step(bar)
            self.now += self.pace(trainer.progress.step)

        monkeypatch.setattr(trainer, "_step", timed)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(
    "pace",
    [lambda step: 1.0, lambda step: 1.0 if step < 30 else 3.0, lambda step: 3.0 if step < 30 else 1.0],
    ids=["steady", "slower", "faster"],
)
def test_minutes_are_kept_whatever_else_the_machine_does(pace, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(None, max_minutes=2.5, evaluations=20)
    clock = Clock(pace)
    clock.attach(trainer, monkeypatch)
    progress = trainer.run()
    assert clock.now - 1000 == pytest.approx(150, abs=15)
    assert progress.rates[-1] < 0.1 * max(progress.rates)
    assert len(progress.evaluations) >= 5


@pytest.mark.parametrize("most", [5, 23, 50])
def test_minutes_with_a_limit_on_steps(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(most, max_minutes=5.0)
    Clock(lambda step: 1.0).attach(trainer, monkeypatch)
    assert trainer.run().step == most


@pytest.mark.parametrize("minutes", [2.0, 3.0], ids=["the same", "more"])
def test_minutes_of_earlier_runs_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float) -> None:
    trainer = make_trainer(None, tmp_path, max_minutes=2.0, evaluations=20)
    clock = Clock(lambda step: 1.0)
    clock.attach(trainer, monkeypatch)
    monkeypatch.setattr(trainer, "_evaluate", _stopping(trainer, 60))
    with pytest.raises(Stop):
        trainer.run()
    clock.now += 10_000  # nobody was training
    resumed = make_trainer(None, tmp_path, max_minutes=minutes, evaluations=20)
    clock.attach(resumed, monkeypatch)
    assert resumed.resume()
    resumed._began = clock.now
    assert resumed.run().step == pytest.approx(minutes * 60, abs=6)


def _stopping(trainer: Trainer, at: int):
    evaluate = trainer._evaluate

    def stop() -> None:
        if trainer.progress.step > at:
            raise Stop
        evaluate()

    return stop
