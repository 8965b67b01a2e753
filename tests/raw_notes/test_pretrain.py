from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import srsly
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.raw_notes.pretrain import pretrain
from spacy_clinical_ner.raw_notes.settings import SIZES, PretrainingSettings
from tests.raw_notes.corpora import TINIEST, make_notes, write_notes
from tests.transformers.encoders import make_encoder

SETTINGS = PretrainingSettings(max_steps=24, evaluations=6, checkpoint_minutes=60.0, held_out=0.1)
# Runs in a process of its own, which kills itself: in a step, or while a checkpoint is half written.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from spacy_clinical_ner.raw_notes import training
from spacy_clinical_ner.raw_notes.pretrain import pretrain
from spacy_clinical_ner.raw_notes.settings import SIZES
from tests.raw_notes.corpora import TINIEST
from tests.raw_notes.test_pretrain import SETTINGS

SIZES["tiny"] = TINIEST
where, at = sys.argv[3], int(sys.argv[4])
step, save, saved = training.Trainer._step, torch.save, []

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def stepping(trainer, bar):
    step(trainer, bar)
    if where == "step" and trainer.progress.step == at:
        kill()

def saving(state, path):
    saved.append(path)
    if where == "checkpoint" and len(saved) == at:
        Path(path).write_bytes(b"half")
        kill()
    save(state, path)

training.Trainer._step, torch.save = stepping, saving
pretrain([sys.argv[1]], sys.argv[2], SETTINGS, plots=False)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "tiny", TINIEST)


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "private" / "raw", make_notes(30))


def curve(encoder: Path) -> list:
    return [row for row in srsly.read_jsonl(encoder / "loss.jsonl") if "loss" in row]


def test_output_is_an_ordinary_encoder(notes: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines: list = []
    rows: list = []
    output = tmp_path / "out" / "encoder"
    summary = pretrain([notes], output, SETTINGS, lang="es", say=lines.append, report=rows.append)
    assert [path.name for path in output.parent.iterdir()] == ["encoder"]
    assert {path.name for path in output.iterdir()} >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
        "README.md", "loss.jsonl", "loss.png",
    }  # fmt: skip
    tokenizer, model = AutoTokenizer.from_pretrained(output), AutoModel.from_pretrained(output)
    assert model.config.model_type == "bert"
    assert tokenizer.tokenize("Niña con úlcera") == ["Niña", "con", "úlcera"]
    with torch.no_grad():
        hidden = model(**tokenizer("Niña con úlcera", return_tensors="pt")).last_hidden_state
    assert hidden.shape == (1, 5, TINIEST.width)
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [row["step"] for row in curve(output)] == list(range(1, 25))
    assert [row["step"] for row in rows] == [0, 4, 8, 12, 16, 20, 24]
    assert (summary.steps, summary.notes_read) == (24, 30)
    assert summary.training_notes + summary.held_out_notes == 30
    assert 0.9 * 24 * 4 * 16 < summary.tokens < 24 * 4 * 16  # an epoch ends with a sequence that is shorter
    assert summary.perplexity == rows[-1]["perplexity"] < summary.first_perplexity
    card = (output / "README.md").read_text(encoding="utf8")
    assert "language: es" in card
    assert f"| training notes | {summary.training_notes} |" in card
    assert "30 notes read" in lines[0]


def test_nothing_of_the_notes_but_the_vocabulary_is_left(notes: Path, tmp_path: Path) -> None:
    for name in ("note003.txt", "note004.txt"):
        with (notes / name).open("a", encoding="utf8") as file:
            file.write(" Zurbarán" * 20)
    pretrain([notes], tmp_path / "encoder", SETTINGS, plots=False)
    for path in (tmp_path / "encoder").iterdir():
        data = path.read_bytes()
        for secret in ("Zurbarán", "Carcinoma de", "note00", "private"):
            assert secret.encode() not in data, path.name


def test_same_notes_and_seed_give_the_same_encoder(notes: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pretrain([notes], tmp_path / name, SETTINGS, plots=False)
    for file in ("model.safetensors", "vocab.txt", "tokenizer.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_near_duplicates_and_empty_notes_are_counted_and_left_out(notes: Path, tmp_path: Path) -> None:
    text = (notes / "note000.txt").read_text(encoding="utf8")
    long = " ".join(f"palabra{number}" for number in range(300))
    write_notes(tmp_path / "more", [text, long, long + " fin", "  \n", ""])
    summary = pretrain([notes, tmp_path / "more"], tmp_path / "encoder", SETTINGS, plots=False)
    assert (summary.notes_read, summary.near_duplicates, summary.empty) == (35, 2, 2)
    assert summary.training_notes + summary.held_out_notes == 31


@pytest.mark.parametrize(("where", "at"), [("step", 19), ("checkpoint", 3)])
def test_killed_run_goes_on_with_the_same_loss_curve(notes: Path, tmp_path: Path, where: str, at: int) -> None:
    pretrain([notes], tmp_path / "whole", SETTINGS, plots=False)
    command = [sys.executable, "-c", KILLED, str(notes), str(tmp_path / "killed"), where, str(at)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed").exists()
    lines: list = []
    pretrain([notes], tmp_path / "killed", SETTINGS, plots=False, say=lines.append)
    assert lines[-1] == f"going on at step {16 if where == 'step' else 8}"
    expected, found = curve(tmp_path / "whole"), curve(tmp_path / "killed")
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], abs=1e-5)
    assert not (tmp_path / "killed.partial").exists()


def test_continues_an_encoder_with_its_vocabulary(notes: Path, tmp_path: Path) -> None:
    first = pretrain([notes], tmp_path / "private" / "first", SETTINGS, plots=False)
    settings = PretrainingSettings(
        start=str(tmp_path / "private" / "first"), max_steps=120, held_out=0.1, batch_size=4, learning_rate=1e-3
    )
    second = pretrain([notes], tmp_path / "second", settings, plots=False)
    assert second.first_perplexity == pytest.approx(first.perplexity, rel=1e-5)
    assert second.perplexity < second.first_perplexity
    assert (tmp_path / "second" / "vocab.txt").read_text() == (tmp_path / "private" / "first" / "vocab.txt").read_text()
    card = (tmp_path / "second" / "README.md").read_text(encoding="utf8")
    assert "Continued from `first`" in card
    assert "private" not in card
    with pytest.raises(ClinicalNerError, match="at most 16 pieces"):
        longer = PretrainingSettings(start=settings.start, max_steps=1, sequence_length=32)
        pretrain([notes], tmp_path / "third", longer, plots=False)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "sentencepiece"])
@pytest.mark.parametrize("tied", [True, False])
def test_continues_an_encoder_that_has_no_head(notes: Path, tmp_path: Path, kind: str, tied: bool) -> None:
    """Sentence encoders come so: a new head, tied to the embeddings, and the tokenizer as it is."""
    start = make_encoder(kind, tmp_path / "bare")
    config = srsly.read_json(start / "config.json")
    assert config["architectures"][0].endswith("Model")
    srsly.write_json(start / "config.json", {**config, "tie_word_embeddings": tied})
    settings = PretrainingSettings(start=str(start), max_steps=40, held_out=0.1, batch_size=4, learning_rate=3e-3)
    summary = pretrain([notes], tmp_path / "out", settings, plots=False)
    assert summary.perplexity < 0.8 * summary.first_perplexity
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert model.config.tie_word_embeddings
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (start, tmp_path / "out")]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    before, after = (AutoModel.from_pretrained(folder).state_dict() for folder in (start, tmp_path / "out"))
    name = "embeddings.word_embeddings.weight"
    assert before[name].shape == after[name].shape and not torch.equal(before[name], after[name])


def test_output_that_is_there_is_kept_unless_told_otherwise(notes: Path, tmp_path: Path) -> None:
    output = tmp_path / "encoder"
    output.mkdir()
    (output / "config.json").write_text('{"model_type": "old"}', encoding="utf8")
    (output / "vocab.old").touch()
    with pytest.raises(ClinicalNerError, match="--overwrite"):
        pretrain([notes], output, SETTINGS, plots=False)
    (output / "mine").touch()
    with pytest.raises(ClinicalNerError, match="never replaced"):
        pretrain([notes], output, SETTINGS, plots=False, overwrite=True)
    assert (output / "mine").exists()
    (output / "mine").unlink()
    pretrain([notes], output, SETTINGS, plots=False, overwrite=True)
    assert not (output / "vocab.old").exists()
    assert '"model_type": "bert"' in (output / "config.json").read_text(encoding="utf8")


def test_too_little_to_train_on(tmp_path: Path) -> None:
    write_notes(tmp_path / "one", ["una nota", "una nota", ""])
    with pytest.raises(InputError, match="1 distinct notes"):
        pretrain([tmp_path / "one"], tmp_path / "encoder", SETTINGS, plots=False)
    write_notes(tmp_path / "two", ["uno dos", "tres cuatro"])
    with pytest.raises(InputError, match="lower --min-notes"):
        pretrain([tmp_path / "two"], tmp_path / "encoder", SETTINGS, plots=False)


def test_gpu_that_is_not_there(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(ClinicalNerError, match="no GPU 99"):
        pretrain([notes], tmp_path / "encoder", SETTINGS, plots=False, gpu_id=99)
