import shutil
from pathlib import Path
from typing import Dict, List

import pytest

from benchmarks.common import Finished
from benchmarks.tagger import pool
from spacy_clinical_ner.brat import from_doc, write_document
from spacy_clinical_ner.errors import InputError
from tests.tagging.pipelines import crf_pipeline, make_docs, make_examples, model_config, train


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """words/, transformer/ and third/, trained pipelines, and corpus/."""
    folder = tmp_path_factory.mktemp("pool")
    for name, steps, encoder in (("words", 12, True), ("transformer", 12, False), ("third", 1, False)):
        nlp = crf_pipeline(model=model_config() if encoder else model_config(encoder=None))
        train(nlp, make_examples(nlp, make_docs(nlp, 5)), steps=steps)
        nlp.to_disk(folder / name)
    for seed, part in enumerate(("train", "dev1", "dev2")):
        for number, doc in enumerate(make_docs(nlp, 3, seed=seed)):
            write_document(from_doc(doc), folder / "corpus" / part / f"{number}.txt")
    return folder


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pool, "WORK", tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture()
def commands(monkeypatch: pytest.MonkeyPatch) -> Dict[str, List[str]]:
    """What is run, by name; nothing is trained, and predictions are the notes."""
    ran: Dict[str, List[str]] = {}

    def run(name: str, command: List[str], log: Path) -> Finished:
        assert name not in ran
        ran[name] = list(command[3:])
        return Finished(1.0, 1.0)

    def annotate(name: str, model: Path, notes: Path, folder: Path) -> None:
        shutil.copytree(notes, folder / "predictions")

    monkeypatch.setattr(pool, "run_logged", run)
    monkeypatch.setattr(pool, "annotate", annotate)
    return ran


def test_rows_are_scored_against_the_first_and_stored(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ([places / "words", places / "transformer"], places / "corpus", False)
    results = pool.measure(*arguments)
    assert [result["name"] for result in results] == ["word vectors", "transformer", "pool"]
    first = results[0]["scores"]
    assert "comparison" not in first and first["f"] > 0.5
    for result in results[1:]:
        scores = result["scores"]
        assert scores["comparison"]["difference"] == pytest.approx(scores["f"] - first["f"])
    assert f"{results[2]['scores']['f']:.4f}" in pool.report(results)
    rows = pool.figures(results)
    assert [row["name"] for row in rows] == ["word vectors", "transformer", "pool"]
    assert rows[0]["difference"] is None and rows[2]["f"][0] == round(results[2]["scores"]["f"], 4)
    monkeypatch.setattr(pool, "annotate", None)  # nothing is annotated a second time
    assert pool.measure(*arguments) == results


@pytest.mark.parametrize("same_passes", [False, True])
def test_members_are_trained_on_dev1_too_and_pooled(
    places: Path, commands: Dict[str, List[str]], work: Path, same_passes: bool
) -> None:
    given = [places / "words", places / "transformer"]
    pool.measure(given, places / "corpus", True, same_passes)
    suffix = ", trained on dev1/ too" + ", as many passes" * same_passes
    assert list(commands) == ["pool", f"word vectors{suffix}", f"transformer{suffix}", f"pool{suffix}"]
    assert commands["pool"][:3] == ["pool", *map(str, given)]
    members = [commands[f"word vectors{suffix}"], commands[f"transformer{suffix}"]]
    for command, pipeline in zip(members, given):
        assert command[:3] == ["refit", str(pipeline), str(places / "corpus" / "train")]
        assert command[command.index("--also") + 1] == str(places / "corpus" / "dev1")
        assert ("--same-passes" in command) == same_passes
    assert commands[f"pool{suffix}"][1:3] == [command[3] for command in members]
    assert len({command[3] for command in commands.values()}) == 4
    assert all(Path(command[3]).is_relative_to(work) for command in commands.values())


def test_another_pool_repeats_only_what_is_new(places: Path, commands: Dict[str, List[str]]) -> None:
    first = pool.measure([places / "words", places / "transformer"], places / "corpus", True)
    before = dict(commands)
    commands.clear()
    second = pool.measure([places / "words", places / "third", places / "transformer"], places / "corpus", True)
    assert list(commands) == ["pool", "transformer, trained on dev1/ too", "pool, trained on dev1/ too"]
    assert [result["name"] for result in second[:3]] == ["word vectors", "transformer", "transformer 2"]
    assert commands["transformer, trained on dev1/ too"][1] == str(places / "third")
    first_members, members = (ran["pool, trained on dev1/ too"] for ran in (before, commands))
    assert members[1] == first_members[1] and members[3] == first_members[2]
    assert len(first) == 6 and len(second) == 8


@pytest.mark.parametrize("refits", [True, False])
def test_the_last_pool_teaches_a_student_that_joins_it(
    places: Path, commands: Dict[str, List[str]], refits: bool
) -> None:
    given = [places / "words", places / "transformer"]
    results = pool.measure(given, places / "corpus", refits, epochs=2)
    assert [result["name"] for result in results][-2:] == [pool.STUDENT, pool.ALL]
    last = "pool, trained on dev1/ too" if refits else "pool"
    student, together = commands[pool.STUDENT], commands[pool.ALL]
    assert student[:3] == ["distill", commands[last][3], str(places / "corpus" / "background")]
    assert student[student.index("--epochs") + 1] == "2"
    assert together[:4] == ["pool", *commands[last][1:3], student[3]]
    commands.clear()
    pool.measure(given, places / "corpus", not refits, epochs=2)
    assert commands[pool.STUDENT][3] != student[3]  # it has another teacher


def test_a_pipeline_without_the_tagger(places: Path) -> None:
    with pytest.raises(InputError, match="give a pipeline with a crf_ner"):
        pool.measure([places / "corpus", places / "words"], places / "corpus", False)
