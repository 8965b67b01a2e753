from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from spacy_clinical_ner.brat import read_folder
from tests.cli.commands import run_command

SAMPLE = Path(__file__).parents[2] / "assets/sample/ccks2019"


run = partial(run_command, "import-ccks")


def test_imports_files_and_says_what_was_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    parts = [SAMPLE / "training_part1.txt", SAMPLE / "training_part2.txt"]
    assert run(monkeypatch, *parts, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    documents = list(read_folder(tmp_path / "out"))
    assert len(documents) == 60
    assert sum(len(document.entities) for document in documents) > 300
    assert f"{sum(len(document.entities) for document in documents):,}" in printed
    assert "疾病和诊断" in printed
    assert "training_part1.txt" in printed
    assert "Saved 60 notes" in printed
    assert documents[0].text[:10] not in printed


def test_malformed_record_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((SAMPLE / "dev.json").read_bytes().replace(b'"start_pos": ', b'"start_pos": -', 1))
    assert run(monkeypatch, path, tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"clinical-ner: {path}:1: entity 1: offsets -")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_output_is_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert run(monkeypatch, SAMPLE / "dev.json") == 2
    assert run(monkeypatch, "--help") == 0
    help_text = capsys.readouterr().out
    assert "originalText" in help_text
    assert "Example" in help_text
