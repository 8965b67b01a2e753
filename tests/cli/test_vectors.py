from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import spacy

from tests.cli.commands import run_command

# Often enough that every row of the small table is moved.
NOTE = "Carcinoma de mama. El carcinoma mide 8mg.\n" * 100
QUICK = ["--lang", "es", "--dim", "4", "--epochs", "1", "--min-count", "1", "--buckets", "100"]


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "note.txt").write_text(NOTE, encoding="utf8")
    return folder


run = partial(run_command, "vectors")


def test_writes_a_pipeline_with_vectors_and_says_what_it_read(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("floret")
    output = tmp_path / "vectors"
    assert run(monkeypatch, notes, output, *QUICK, "--also", notes, "--attr", "ORTH") == 0
    printed = capsys.readouterr().out
    assert "100 x 4" in printed
    assert "100.0%" in printed
    assert "arcinoma" not in printed
    vocab = spacy.load(output).vocab
    assert vocab.vectors.shape == (100, 4)
    assert vocab["Carcinoma"].vector.tolist() != vocab["carcinoma"].vector.tolist()


@pytest.mark.parametrize("broken", ["missing", "latin-1", "language"])
def test_bad_input_is_one_line_and_status_2(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, broken: str
) -> None:
    pytest.importorskip("floret")
    arguments = [notes, tmp_path / "vectors", *QUICK]
    if broken == "missing":
        arguments[0] = tmp_path / "nowhere"
    elif broken == "latin-1":
        (notes / "other.txt").write_bytes(b"a\nlesi\xf3n")
    else:
        arguments[3] = "qq"
    assert run(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("clinical-ner: ")
    assert error.count("\n") == 1
    expected = {"missing": "nowhere: no such folder", "latin-1": "other.txt:2: not UTF-8", "language": "'qq'"}
    assert expected[broken] in error
    assert not (tmp_path / "vectors").exists()


def test_missing_floret_is_one_line_and_status_2(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "floret", None)
    assert run(monkeypatch, notes, tmp_path / "vectors", *QUICK) == 2
    assert "spacy-clinical-ner[vectors]" in capsys.readouterr().err
