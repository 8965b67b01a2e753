from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.cli.commands import run_command


@Language.component("test_cli_fails_on_secret")
def fails_on_secret(doc: Doc) -> Doc:
    if "secreto" in doc.text:
        raise RuntimeError(doc.text)
    return doc


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nlp = blank_pipeline("es")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "MORPH", "pattern": "carcinoma"}])
    nlp.add_pipe("test_cli_fails_on_secret")
    path = tmp_path_factory.mktemp("annotate") / "pipeline"
    nlp.to_disk(path)
    return path


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("Un carcinoma y otro carcinoma.\n")
    (folder / "deep/b.txt").write_bytes(b"Sin carcinoma.\r\n")
    return folder


run = partial(run_command, "annotate")


def test_annotates_a_folder_and_sums_up(
    pipeline: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, pipeline, notes, out, "--format", "brat", "--n-process", 1, "--batch-size", 1) == 0
    assert (out / "a.ann").read_text() == "T1\tMORPH 3 12\tcarcinoma\nT2\tMORPH 20 29\tcarcinoma\n"
    assert (out / "deep/b.txt").read_bytes() == b"Sin carcinoma.\r\n"
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["notes", "2"] in rows
    assert ["words", "9"] in rows
    assert ["MORPH", "3"] in rows
    assert any(row[:1] == ["time"] and row[-1] == "words/s" for row in rows)


def test_refuses_to_replace_unless_told(
    pipeline: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.ann").write_text("")
    assert run(monkeypatch, pipeline, notes, out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"clinical-ner: {out / 'a.ann'}: exists already") and error.count("\n") == 1
    assert [path.name for path in out.iterdir()] == ["a.ann"]
    assert run(monkeypatch, pipeline, notes, out, "--overwrite") == 0
    assert (out / "a.ann").read_text() != ""


@pytest.mark.parametrize("name", ["no/such/folder", "no_such_package"])
def test_bad_pipeline_is_one_line(
    name: str, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, name, notes, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"clinical-ner: {name}") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert run(monkeypatch, pipeline, tmp_path / "missing", tmp_path / "out") == 2
    assert capsys.readouterr().err == f"clinical-ner: {tmp_path / 'missing'}: no such folder\n"


def test_a_failing_note_is_named_and_not_quoted(
    pipeline: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (notes / "bad.txt").write_text("carcinoma secreto")
    assert run(monkeypatch, pipeline, notes, tmp_path / "out") == 2
    printed = capsys.readouterr()
    assert printed.err == (
        f"clinical-ner: {notes / 'bad.txt'}: the pipeline fails on this note: "
        "RuntimeError in test_cli_fails_on_secret\n"
    )
    assert "secreto" not in printed.out
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.ann")) == ["a.ann", "b.ann"]


def test_a_pipeline_that_always_fails_does_not_fill_the_screen(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(25):
        (notes / f"{number}.txt").write_text("secreto")
    assert run(monkeypatch, pipeline, notes, tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "clinical-ner: 5 more notes could not be annotated"


def test_progress_on_a_terminal(
    pipeline: Path, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(monkeypatch, pipeline, notes, tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "2/2" in error and "words/s" in error
