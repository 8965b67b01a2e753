from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from spacy_clinical_ner.project import __main__ as project
from spacy_clinical_ner.project.layout import PreparedCorpus


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["project", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        project.main()
    return int(end.value.code or 0)


@pytest.fixture()
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with a sample of corpus "c", and another corpus elsewhere/c v2."""
    monkeypatch.chdir(tmp_path)
    for folder in ("assets/sample/c", "elsewhere/c v2"):
        for part in ("train", "dev", "test"):
            path = tmp_path / folder / part / "note.txt"
            path.parent.mkdir(parents=True)
            path.write_text("Fever", encoding="utf8")
            path.with_suffix(".ann").write_text("T1\tX 0 5\tFever\n", encoding="utf8")
    return tmp_path


def test_sample_is_used_without_a_corpus(places: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "corpus", "c", "out", "--given", "") == 0
    assert PreparedCorpus.read("out").sample is True
    assert "--vars.c FOLDER" in " ".join(capsys.readouterr().out.split())


def test_corpus_in_assets_comes_before_the_sample(places: Path, monkeypatch) -> None:
    (places / "elsewhere" / "c v2").rename(places / "assets" / "c")
    assert run(monkeypatch, "corpus", "c", "out") == 0
    prepared = PreparedCorpus.read("out")
    assert (prepared.sample, prepared.corpus) == (False, "c")


def test_given_corpus_comes_first(places: Path, monkeypatch) -> None:
    assert run(monkeypatch, "corpus", "c", "out", "--given", "elsewhere/c v2") == 0
    prepared = PreparedCorpus.read("out")
    assert (prepared.sample, prepared.corpus) == (False, "c v2")


def test_sample_given_by_its_path_is_still_a_sample(places: Path, monkeypatch) -> None:
    assert run(monkeypatch, "corpus", "c", "out", "--given", "assets/../assets/sample/c") == 0
    assert PreparedCorpus.read("out").sample is True


def test_missing_folder_never_falls_back_to_the_sample(places: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, "corpus", "c", "out", "--given", "nowhere") == 2
    error = capsys.readouterr().err
    assert "nowhere: no such folder" in error
    assert error.count("\n") == 1
    assert not (places / "out").exists()


def test_what_was_split_off_is_said(places: Path, monkeypatch, capsys) -> None:
    for number in range(9):
        (places / "elsewhere" / "c v2" / "train" / f"n{number}.txt").write_text("Fever", encoding="utf8")
    for path in (places / "elsewhere" / "c v2" / "test").iterdir():
        path.unlink()
    assert run(monkeypatch, "corpus", "c", "out", "--given", "elsewhere/c v2") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "test/ has no annotations" in printed
    assert re.search(r"no test/: \d of 10 documents split off by a hash of their names", printed)


def test_old_predictions_are_cleared(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "predictions"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "a.ann", "deep/b.ann"):
        (folder / name).write_text("", encoding="utf8")
    assert run(monkeypatch, "clear", folder) == 0
    assert not folder.exists()
    assert run(monkeypatch, "clear", folder) == 0


def test_other_folders_are_not_cleared(tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ("a.ann", "thesis.docx"):
        (tmp_path / name).write_text("", encoding="utf8")
    assert run(monkeypatch, "clear", tmp_path) == 2
    assert "thesis.docx: not a prediction" in capsys.readouterr().err
    assert (tmp_path / "a.ann").exists()


def test_encoder_is_trained_on_the_raw_notes_of_the_corpus_and_on_those_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from spacy_clinical_ner.raw_notes.settings import SIZES
    from tests.raw_notes.corpora import TINIEST, make_notes, write_notes

    pytest.importorskip("matplotlib")
    monkeypatch.setitem(SIZES, "tiny", TINIEST)
    write_notes(tmp_path / "corpus" / "raw", make_notes(20))
    write_notes(tmp_path / "given", make_notes(10, seed=1))
    output, options = tmp_path / "encoder", ["--lang", "es", "--small-below", 100, "--small-steps", 3]
    assert run(monkeypatch, "pretrain", tmp_path / "corpus", output, "--raw", "", *options) == 0
    printed = capsys.readouterr().out
    assert "20 notes read" in printed
    assert "step       3 of 3" in printed
    options += ["--raw", tmp_path / "given", "--max-minutes", 0]
    assert run(monkeypatch, "pretrain", tmp_path / "corpus", output, *options) == 0
    assert "30 notes read" in capsys.readouterr().out
    assert run(monkeypatch, "pretrain", tmp_path / "corpus", output, *options, "--size", "huge") == 2
    assert "no size 'huge'" in capsys.readouterr().err


@pytest.mark.parametrize(("below", "size"), [(1000, 400), (0, 2500)])
def test_settings_for_a_small_corpus_win_over_those_for_a_small_encoder(
    places: Path, monkeypatch, below: int, size: int
) -> None:
    (places / "encoder").mkdir()
    (places / "encoder" / "config.json").write_text('{"max_position_embeddings": 128, "hidden_size": 256}')
    given: dict = {}
    monkeypatch.setattr(
        "spacy_clinical_ner.training.workflow.train_pipeline",
        lambda config, data, output, overrides, **settings: given.update(overrides),
    )
    options = ["--encoder", "encoder", "--small-below", below, "--for-small", "training.batcher.size=400", "--seed", 3]
    assert run(monkeypatch, "train", "config.cfg", "assets/sample/c", "data", "out", *options) == 0
    assert given["training.batcher.size"] == size
    assert given["components.transformer.model.get_spans.window"] == 128
    assert given["system.seed"] == 3
