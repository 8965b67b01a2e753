from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import pytest
import srsly

from spacy_clinical_ner import cli
from spacy_clinical_ner.project.layout import PreparedCorpus
from spacy_clinical_ner.project.package import sample_package
from tests.transformers.encoders import make_encoder, trained_tokenizer


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["clinical-ner", "project", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
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


PREPARE = ("prepare", "c", "--lang", "en")
BRAT = "corpus/c/brat"


def test_sample_is_used_without_a_corpus(places: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *PREPARE, "--given", "") == 0
    assert PreparedCorpus.read(BRAT).sample is True
    assert "--vars.c FOLDER" in " ".join(capsys.readouterr().out.split())


def test_corpus_is_converted_with_an_audit_and_the_same_bytes_each_time(places: Path, monkeypatch) -> None:
    """Else a step that depends on them would never be skipped."""
    files = [places / "corpus/c" / name for name in ("train.spacy", "dev.spacy", "train.audit.json", "dev.audit.json")]
    assert run(monkeypatch, *PREPARE) == 0
    before = [path.read_bytes() for path in files]
    assert run(monkeypatch, *PREPARE) == 0
    assert [path.read_bytes() for path in files] == before


def test_corpus_in_assets_comes_before_the_sample(places: Path, monkeypatch) -> None:
    (places / "elsewhere" / "c v2").rename(places / "assets" / "c")
    assert run(monkeypatch, *PREPARE) == 0
    prepared = PreparedCorpus.read(BRAT)
    assert (prepared.sample, prepared.corpus) == (False, "c")


def test_given_corpus_comes_first(places: Path, monkeypatch) -> None:
    assert run(monkeypatch, *PREPARE, "--given", "elsewhere/c v2") == 0
    prepared = PreparedCorpus.read(BRAT)
    assert (prepared.sample, prepared.corpus) == (False, "c v2")


def test_sample_given_by_its_path_is_still_a_sample(places: Path, monkeypatch) -> None:
    assert run(monkeypatch, *PREPARE, "--given", "assets/../assets/sample/c") == 0
    assert PreparedCorpus.read(BRAT).sample is True


def test_missing_folder_never_falls_back_to_the_sample(places: Path, monkeypatch, capsys) -> None:
    assert run(monkeypatch, *PREPARE, "--given", "nowhere") == 2
    error = capsys.readouterr().err
    assert "nowhere: no such folder" in error
    assert error.count("\n") == 1
    assert not (places / BRAT).exists()


def test_what_was_split_off_is_said(places: Path, monkeypatch, capsys) -> None:
    for number in range(9):
        (places / "elsewhere" / "c v2" / "train" / f"n{number}.txt").write_text("Fever", encoding="utf8")
    for path in (places / "elsewhere" / "c v2" / "test").iterdir():
        path.unlink()
    assert run(monkeypatch, *PREPARE, "--given", "elsewhere/c v2") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "test/ has no annotations" in printed
    assert re.search(r"no test/: \d of 10 documents split off by a hash of their names", printed)


DELIVER = ("deliver", "c", "--corpus", "c", "--package", "c_ner", "--version", "1.0.0")


def write_pipeline(folder: Path) -> None:
    from spacy_clinical_ner.tokenization import blank_pipeline

    nlp = blank_pipeline("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "X", "pattern": "Fever"}])  # type: ignore[attr-defined]
    folder.parent.mkdir(parents=True)
    nlp.to_disk(folder)


def test_delivery_clears_old_predictions_scores_builds_installs_and_tries(
    places: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    calls: dict = {}
    monkeypatch.setattr(
        "spacy_clinical_ner.project.package.install_wheels",
        lambda wheels, force: calls.update(wheels=wheels, force=force),
    )
    monkeypatch.setattr(
        "spacy_clinical_ner.cli.project.try_on_a_note",
        lambda name, brat, given_entities: calls.update(name=name, brat=brat),
    )
    assert run(monkeypatch, *PREPARE) == 0
    write_pipeline(places / "training/c/model-best")
    (places / "training/c/predictions/deep").mkdir(parents=True)
    (places / "training/c/predictions/deep/old.ann").write_text("", encoding="utf8")
    assert run(monkeypatch, *DELIVER) == 0
    predictions = places / "training/c/predictions"
    assert sorted(path.name for path in predictions.iterdir()) == ["note.ann", "note.txt"]
    assert (predictions / "note.ann").read_text(encoding="utf8") == "T1\tX 0 5\tFever\n"
    assert '"f":1.0' in (places / "training/c/metrics.json").read_text(encoding="utf8").replace(" ", "")
    (wheel,) = calls["wheels"]
    assert wheel == Path("packages/en_c_sample_ner-1.0.0/dist/en_c_sample_ner-1.0.0-py3-none-any.whl")
    assert wheel.is_file()
    assert (calls["force"], calls["name"], calls["brat"]) == (True, "en_c_sample_ner", Path(BRAT))
    page = (places / "training/c/report.html").read_text(encoding="utf8")
    assert "best strict micro F" in page and "Fever" not in page
    with zipfile.ZipFile(wheel) as archive:
        card = archive.read("en_c_sample_ner-1.0.0.dist-info/METADATA").decode("utf8")
    assert "| micro | 100.00 | 100.00 | 100.00 |" in card and "Fever" not in card


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cantemist_ner", "cantemist_sample_ner"),
        ("maccrobat_relations", "maccrobat_sample_relations"),
        ("x", "x_sample"),
    ],
)
def test_what_the_sample_trained_has_a_name_of_its_own(name: str, expected: str) -> None:
    assert sample_package(name) == expected


def test_delivery_of_another_corpus_has_the_plain_name(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list = []
    monkeypatch.setattr("spacy_clinical_ner.project.package.install_wheels", lambda wheels, force: None)
    monkeypatch.setattr(
        "spacy_clinical_ner.cli.project.try_on_a_note", lambda name, brat, given_entities: names.append(name)
    )
    assert run(monkeypatch, *PREPARE, "--given", "elsewhere/c v2") == 0
    write_pipeline(places / "training/c/model-best")
    assert run(monkeypatch, *DELIVER) == 0
    assert names == ["en_c_ner"]


def test_other_folders_are_not_cleared(places: Path, monkeypatch, capsys) -> None:
    folder = places / "training/c/predictions"
    folder.mkdir(parents=True)
    for name in ("a.ann", "thesis.docx"):
        (folder / name).write_text("", encoding="utf8")
    assert run(monkeypatch, *DELIVER) == 2
    assert "thesis.docx: not a prediction" in capsys.readouterr().err
    assert (folder / "a.ann").exists()


def test_only_wheels_of_the_version_are_installed(places: Path, monkeypatch) -> None:
    installed: list = []
    monkeypatch.setattr("spacy_clinical_ner.project.package._run_pip", lambda *words, problem: installed.append(words))
    assert run(monkeypatch, "install", "--version", "1.0.0") == 0
    assert installed == []
    for version in ("0.9.0", "1.0.0"):
        wheel = places / f"packages/en_c_ner-{version}/dist/en_c_ner-{version}-py3-none-any.whl"
        wheel.parent.mkdir(parents=True)
        wheel.write_bytes(b"")
    assert run(monkeypatch, "install", "--version", "1.0.0") == 0
    assert installed == [("install", "packages/en_c_ner-1.0.0/dist/en_c_ner-1.0.0-py3-none-any.whl")]


def test_encoder_is_trained_on_the_raw_notes_of_the_corpus_and_on_those_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from spacy_clinical_ner.raw_notes.settings import SIZES
    from tests.raw_notes.corpora import TINIEST, make_notes, write_notes

    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(SIZES, "tiny", TINIEST)
    write_notes(tmp_path / BRAT / "raw", make_notes(20))
    write_notes(tmp_path / "given", make_notes(10, seed=1))
    options = ["--lang", "es", "--small-below", 100, "--small-steps", 3]
    assert run(monkeypatch, "pretrain", "c", "--raw", "", *options) == 0
    printed = capsys.readouterr().out
    assert "20 notes read" in printed
    assert "step       3 of 3" in printed
    options += ["--raw", tmp_path / "given", "--max-minutes", 0]
    assert run(monkeypatch, "pretrain", "c", *options) == 0
    assert "30 notes read" in capsys.readouterr().out
    assert run(monkeypatch, "pretrain", "c", *options, "--size", "huge") == 2
    assert "huge" in capsys.readouterr().err


@pytest.mark.parametrize("below", [1000, 0])
def test_an_encoder_and_the_settings_for_a_small_corpus_reach_the_training(
    places: Path, monkeypatch, below: int
) -> None:
    (places / "encoder").mkdir()
    (places / "encoder" / "config.json").write_text('{"vocab_size": 30000, "hidden_size": 256}')
    given: dict = {}
    monkeypatch.setattr(
        "spacy_clinical_ner.training.workflow.train_pipeline",
        lambda config, data, output, overrides, **settings: given.update(
            settings, config=config, output=output, overrides=overrides
        ),
    )
    assert run(monkeypatch, *PREPARE) == 0
    options = ["--encoder", "encoder", "--small-below", below, "--for-small", "training.batcher.size=400", "--seed", 3]
    assert run(monkeypatch, "train", "w", "--corpus", "c", *options) == 0
    small = {"training.batcher.size": 400} if below else {}
    assert given["overrides"] == {**small, "system.seed": 3}
    assert given["encoder"] == "encoder"
    assert (given["config"], given["output"]) == (Path("configs/w.cfg"), Path("training/w"))
    assert run(monkeypatch, "train", "w", "--corpus", "c", "--encoder", "") == 0
    assert given["encoder"] is None


def test_an_encoder_of_many_languages_is_cut_to_the_corpus_once(places: Path, monkeypatch, capsys) -> None:
    encoder = make_encoder("sentencepiece", places / "elsewhere" / "many")
    before = len(trained_tokenizer("sentencepiece"))
    monkeypatch.setattr("spacy_clinical_ner.cli.project.MANY_PIECES", before)
    given: list = []
    monkeypatch.setattr(
        "spacy_clinical_ner.training.workflow.train_pipeline", lambda *args, **settings: given.append(settings)
    )
    assert run(monkeypatch, *PREPARE) == 0
    (places / "configs").mkdir()
    (places / "configs" / "w.cfg").write_text('[nlp]\nlang = "en"\n')
    for _ in range(2):
        assert run(monkeypatch, "train", "w", "--corpus", "c", "--encoder", encoder) == 0
    assert "cut out of" in " ".join(capsys.readouterr().out.split())
    assert [settings["encoder"] for settings in given] == ["corpus/c/many"] * 2
    kept = srsly.read_json(places / "corpus/c/many/config.json")["vocab_size"]
    assert 0 < kept < before
    # `cantemist_trf` has it in place of an encoder of its own.
    assert run(monkeypatch, "pretrain", "c", "--lang", "en", "--encoder", encoder) == 0
    assert srsly.read_json(places / "corpus/c/encoder/config.json")["vocab_size"] == kept


@pytest.mark.parametrize(("flag", "output"), [(["--refit"], Path("training/w/model-refit")), ([], None)])
def test_refit_is_trained_on_train_and_dev(places: Path, monkeypatch, flag: list, output) -> None:
    given: dict = {}
    monkeypatch.setattr("spacy_clinical_ner.training.workflow.train_pipeline", lambda *args, **settings: None)
    monkeypatch.setattr(
        "spacy_clinical_ner.cli.refit.refit_and_save",
        lambda pipeline, notes, output, **options: given.update(pipeline=pipeline, notes=notes, output=output),
    )
    assert run(monkeypatch, *PREPARE) == 0
    assert run(monkeypatch, "train", "w", "--corpus", "c", *flag) == 0
    assert given.get("output") == output
    if flag:
        assert given["pipeline"] == "training/w/model-best"
        assert given["notes"] == [Path("corpus/c/train.spacy"), Path("corpus/c/dev.spacy")]


@pytest.mark.parametrize("command", ["prepare", "pretrain", "train", "deliver", "install", "smoke"])
def test_help_teaches(monkeypatch, capsys, command: str) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"Example: clinical-ner project {command}" in " ".join(capsys.readouterr().out.split())
