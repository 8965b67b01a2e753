import shutil
from pathlib import Path
from typing import Dict, List

import pool
import pytest
from tagger_common import Finished
from typer.testing import CliRunner

from spacy_clinical_ner.brat import from_doc, write_document
from spacy_clinical_ner.errors import InputError
from tests.tagging.pipelines import crf_pipeline, make_docs, make_examples, model_config, train


@pytest.fixture()
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pool, "WORK", tmp_path / "work")
    for name, encoder in (("words", True), ("transformer", False)):
        nlp = crf_pipeline(model=model_config() if encoder else model_config(encoder=None))
        train(nlp, make_examples(nlp, make_docs(nlp, 5)), steps=12)
        nlp.to_disk(tmp_path / name)
    for seed, part in enumerate(("train", "dev1", "dev2")):
        for number, doc in enumerate(make_docs(nlp, 3, seed=seed)):
            write_document(from_doc(doc), tmp_path / "corpus" / part / f"{number}.txt")
    return tmp_path


def test_rows_are_scored_against_the_first_and_stored(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (places / "words", places / "transformer", places / "corpus", False)
    results = pool.measure(*arguments)
    assert [result["name"] for result in results] == ["word vectors", "transformer", "pool of both"]
    first = results[0]["scores"]
    assert "comparison" not in first and first["f"] > 0.5
    for result in results[1:]:
        scores = result["scores"]
        assert scores["comparison"]["difference"] == pytest.approx(scores["f"] - first["f"])
    assert f"{results[2]['scores']['f']:.4f}" in pool.report(results)
    assert "pool of both: " in pool.line(results)
    monkeypatch.setattr(pool, "annotate", None)  # nothing is annotated a second time
    assert pool.measure(*arguments) == results


@pytest.fixture()
def commands(monkeypatch: pytest.MonkeyPatch) -> Dict[str, List[str]]:
    """What is run, by name, with the last part of paths only; nothing is trained, and predictions are the notes."""
    ran: Dict[str, List[str]] = {}

    def run(name: str, command: list, log: Path) -> Finished:
        ran[name] = [Path(word).name for word in command[3:]]
        return Finished(1.0, 1.0)

    def annotate(name: str, model: Path, notes: Path, folder: Path) -> None:
        shutil.copytree(notes, folder / "predictions")

    monkeypatch.setattr(pool, "run_logged", run)
    monkeypatch.setattr(pool, "annotate", annotate)
    return ran


@pytest.mark.parametrize("refits", [True, False])
def test_the_pool_of_both_teaches_a_student_that_joins_it(
    places: Path, commands: Dict[str, List[str]], refits: bool
) -> None:
    results = pool.measure(places / "words", places / "transformer", places / "corpus", refits, epochs=2)
    assert [result["name"] for result in results][-2:] == [pool.STUDENT, pool.ALL]
    student, three = commands[pool.STUDENT], commands[pool.ALL]
    too = "-trained-on-dev1-too"
    members = ["word-vectors" + too, "transformer" + too] if refits else ["words", "transformer"]
    teacher = "pool-of-both" + (too if refits else "")
    name = f"student-of-the-pool-of-both-on-raw-notes-of-{teacher}-2"
    assert student[:4] == ["distill", teacher, "background", name]
    assert student[student.index("--epochs") + 1] == "2"
    assert three[:5] == ["pool", *members, name, f"pool-of-both-and-the-student-of-{teacher}-2"]


def test_more_seeds_are_pooled_with_the_first(places: Path, commands: Dict[str, List[str]]) -> None:
    results = pool.measure(places / "words", places / "transformer", places / "corpus", True, seeds=2)
    names = [f"{name}, trained on dev1/ too, seed 1" for name in ("word vectors", "transformer")]
    assert [result["name"] for result in results][-3:] == [*names, "pool of both in 2 seeds, trained on dev1/ too"]
    for given, name in zip(("words", "transformer"), names):
        assert commands[name][:4] == ["refit", given, "train", pool.slug(name)]
        assert commands[name][commands[name].index("--seed") + 1] == "1"
    members = [
        pool.slug(name) for name in ("word vectors, trained on dev1/ too", "transformer, trained on dev1/ too", *names)
    ]
    assert commands[results[-1]["name"]][:6] == ["pool", *members, pool.slug(results[-1]["name"])]
    first = [name for name in commands if name.endswith("too") and not name.startswith("pool")]
    assert not any("--seed" in commands[name] for name in first)


def test_more_seeds_want_refits(places: Path) -> None:
    paths = [places / "words", "--transformer", places / "transformer", "--corpus", places / "corpus"]
    outcome = CliRunner().invoke(pool.app, ["--words", *map(str, paths), "--no-refits", "--seeds", "2"])
    assert outcome.exit_code == 2 and "leave out --no-refits" in outcome.output


def test_a_pipeline_without_the_tagger(places: Path) -> None:
    with pytest.raises(InputError, match="give a pipeline with a crf_ner"):
        pool.measure(places / "corpus", places / "words", places / "corpus", False)
