from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from transformers import AutoModelForMaskedLM

from spacy_clinical_ner.raw_notes import training
from spacy_clinical_ner.raw_notes.settings import SIZES
from tests.cli.commands import run_command
from tests.raw_notes.corpora import TINIEST, make_notes, write_notes

QUICK = ["--max-steps", "4", "--no-plots"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny", "small"):
        monkeypatch.setitem(SIZES, name, TINIEST)


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    return write_notes(tmp_path / "notes", make_notes(20))


run = partial(run_command, "pretrain")


def test_writes_an_encoder_and_says_how_it_went(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text('{"text": "Carcinoma de mama sin fiebre en la niña"}\n', encoding="utf8")
    output = tmp_path / "encoder"
    options = ["--also", more, "--size", "small", "--lang", "es", "--batch-size", 2, "--vocab-size", 100]
    assert run(monkeypatch, notes, output, *QUICK, *options) == 0
    printed = capsys.readouterr().out
    assert "21 notes read" in printed
    assert "tokens/s" in printed and "perplexity" in printed
    assert "Carcinoma" not in printed
    model = AutoModelForMaskedLM.from_pretrained(output)
    assert model.config.vocab_size <= 100
    assert "language: es" in (output / "README.md").read_text(encoding="utf8")
    assert not (output / "loss.png").exists()


@pytest.mark.parametrize("able", [True, False])
def test_full_precision_is_float32_where_there_is_bfloat16(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    monkeypatch.setattr(training, "has_bfloat16", lambda device: able)
    assert run(monkeypatch, notes, tmp_path / "mixed", *QUICK) == 0
    assert run(monkeypatch, notes, tmp_path / "full", *QUICK, "--full-precision") == 0
    mixed, full = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("mixed", "full"))
    assert (mixed != full) == able


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("missing", "nowhere: no such folder"),
        ("latin-1", "other.txt:2: not UTF-8"),
        ("json", "bad.jsonl:2: not JSON"),
        ("from", "cannot be loaded"),
        ("from and size", "leave out --size"),
        ("output", "--overwrite"),
        ("gpu", "no GPU 99"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    notes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    case: str,
    expected: str,
) -> None:
    arguments = [notes, tmp_path / "encoder", *QUICK]
    if case == "missing":
        arguments[0] = tmp_path / "nowhere"
    elif case == "latin-1":
        (notes / "other.txt").write_bytes(b"a\nlesi\xf3n")
    elif case == "json":
        arguments[0] = tmp_path / "bad.jsonl"
        arguments[0].write_text('{"text": "secreto"}\nsecreto\n', encoding="utf8")
    elif case == "from":
        arguments += ["--from", notes]
    elif case == "from and size":
        arguments += ["--from", notes, "--size", "base"]
    elif case == "output":
        (tmp_path / "encoder").mkdir()
        (tmp_path / "encoder/mine").touch()
    else:
        arguments += ["--gpu-id", 99]
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("clinical-ner: ")
    assert error.count("\n") == 1
    assert expected in error
    assert "secreto" not in error
    assert case == "output" or not (tmp_path / "encoder").exists()


def test_unfinished_run_with_other_settings(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from spacy_clinical_ner.raw_notes.checkpoint import CheckpointFolder

    CheckpointFolder(tmp_path / "encoder").write({"seed": 3}, {})
    assert run(monkeypatch, notes, tmp_path / "encoder", *QUICK) == 2
    assert "--restart" in capsys.readouterr().err
    assert run(monkeypatch, notes, tmp_path / "encoder", *QUICK, "--restart") == 0


def test_help_names_every_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    for option in (
        "--size",
        "--from",
        "--max-steps",
        "--max-minutes",
        "--seed",
        "--lang",
        "--vocab-size",
        "--also",
        "--full-precision",
    ):
        assert option in printed
