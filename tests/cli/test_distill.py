from __future__ import annotations

from functools import partial
from importlib.metadata import version
from pathlib import Path

import pytest
import spacy
from thinc.api import Config

from spacy_clinical_ner.cli.distill import _student_config
from tests.cli.commands import run_command
from tests.raw_notes.corpora import write_notes
from tests.tagging.pipelines import ents, make_docs
from tests.tagging.test_distillation import NOTES, make_teacher, student_config

CONFECTION = version("confection")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
    make_teacher().to_disk(folder / "teacher")
    write_notes(folder / "raw", [text for _, text in NOTES] + [" "])
    student_config().to_disk(folder / "student.cfg")
    return folder


run = partial(run_command, "distill")


def test_writes_a_pipeline_that_agrees_with_the_teacher(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = ["--config", places / "student.cfg", "--epochs", 6, "--batch-tokens", 300, "--held-out", 0.1]
    assert run(monkeypatch, places / "teacher", places / "raw", tmp_path / "student", *options) == 0
    printed = capsys.readouterr().out
    assert "labels: SITE, TUMOUR" in printed
    assert "carcinoma" not in printed
    student, teacher = spacy.load(tmp_path / "student"), spacy.load(places / "teacher")
    texts = [doc.text for doc in make_docs(teacher, 10, seed=77)]
    assert sum(ents(student(text)) == ents(teacher(text)) for text in texts) >= 7


def test_annotated_notes_are_learnt_beside(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = "metastasis de carcinoma"
    write_notes(tmp_path / "gold", [text, text])
    for note in sorted((tmp_path / "gold").glob("*.txt")):
        note.with_suffix(".ann").write_text("T1\tSITE 0 10\tmetastasis\n", encoding="utf8")
    sizes = ["--epochs", 4, "--batch-tokens", 100, "--gold-passes", 50]
    options = ["--config", places / "student.cfg", "--gold", tmp_path / "gold", *sizes]
    assert run(monkeypatch, places / "teacher", places / "raw", tmp_path / "student", *options) == 0
    assert "2 annotated ones beside" in capsys.readouterr().out
    assert ents(spacy.load(tmp_path / "student")(text)) == [(0, 1, "SITE")]
    for note in (tmp_path / "gold").glob("*.ann"):
        note.write_text("T1\tDRUG 0 10\tmetastasis\n", encoding="utf8")
    assert run(monkeypatch, places / "teacher", places / "raw", tmp_path / "other", *options) == 2
    told = capsys.readouterr().err
    assert "do not fit the teacher" in told and "DRUG" in told and told.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_a_config_as_published_needs_no_corpus(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = Path(__file__).parents[2] / "configs" / "cantemist.cfg"
    assert run(monkeypatch, places / "teacher", places / "raw", tmp_path / "student", "--config", config) == 2
    told = capsys.readouterr().err
    assert "takes word vectors: give them with --vectors" in told
    assert told.count("\n") == 1
    without = config.read_text(encoding="utf8").replace(
        "include_static_vectors = true", "include_static_vectors = false"
    )
    (tmp_path / "own.cfg").write_text(without, encoding="utf8")
    options = ["--config", tmp_path / "own.cfg", "--max-steps", 1]
    assert run(monkeypatch, places / "teacher", places / "raw", tmp_path / "student", *options) == 0
    assert spacy.load(tmp_path / "student").get_pipe("crf_ner").labels == ("SITE", "TUMOUR")  # type: ignore[attr-defined]


def test_the_learning_rate_of_the_config_lasts_as_long_as_the_training(places: Path, tmp_path: Path) -> None:
    config = Config().from_disk(places / "student.cfg", interpolate=False)
    config["training"]["max_steps"] = 20
    schedule = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": 1,
        "total_steps": "${training.max_steps}",
        "initial_rate": 0.1,
    }
    config["training"]["optimizer"]["learn_rate"] = schedule
    config.to_disk(tmp_path / "falling.cfg", interpolate=False)
    loaded = _student_config(tmp_path / "falling.cfg", None, 500)
    assert loaded["training"]["optimizer"]["learn_rate"]["total_steps"] == 500


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("teacher", "not a pipeline"),
        ("untagged", "no component 'crf_ner'"),
        ("raw", "no such folder"),
        ("config", "no such config"),
        ("broken config", "not a config"),
        ("config without components", "[components] is missing"),
        # confection 0.1 takes [nlp.tokenizer] for an [nlp], and what is missing is told one step later.
        ("config without a language", "nlp.lang" if CONFECTION.startswith("0.") else "Section 'nlp' is not defined"),
        ("config without any nlp", "nlp.lang"),
        ("output", "--overwrite"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    places: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    case: str,
    expected: str,
) -> None:
    teacher, raw, output, config = places / "teacher", places / "raw", tmp_path / "out", places / "student.cfg"
    if case == "teacher":
        teacher = tmp_path / "nowhere"
    elif case == "untagged":
        teacher = tmp_path / "blank"
        spacy.blank("es").to_disk(teacher)
    elif case == "raw":
        raw = tmp_path / "nowhere"
    elif case == "config":
        config = tmp_path / "no.cfg"
    elif case == "broken config":
        config = tmp_path / "broken.cfg"
        config.write_text("[nlp\nlang = es", encoding="utf8")
    elif case.startswith("config without"):
        text = (places / "student.cfg").read_text(encoding="utf8")
        config = tmp_path / "partial.cfg"
        kept = {
            "config without components": '[nlp]\nlang = "es"\n',
            "config without a language": text.replace("[nlp]", "[other]"),
            "config without any nlp": text.replace("[nlp", "[other"),
        }[case]
        config.write_text(kept, encoding="utf8")
    else:
        output.mkdir()
        (output / "mine").touch()
    assert run(monkeypatch, teacher, raw, output, "--config", config) == 2
    error = capsys.readouterr().err
    assert error.startswith("clinical-ner: ")
    assert error.count("\n") == 1
    assert expected in error
