import shutil
from pathlib import Path

import pool
import pytest
from tagger_common import Finished

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


@pytest.mark.parametrize("refits", [True, False])
def test_the_last_pool_teaches_a_student_that_joins_it(
    places: Path, monkeypatch: pytest.MonkeyPatch, refits: bool
) -> None:
    ran: dict = {}

    def run(name: str, command: list, log: Path) -> Finished:
        ran[name] = [Path(word).name for word in command[3:]]
        return Finished(1.0, 1.0)

    def annotate(name: str, model: Path, notes: Path, folder: Path) -> None:
        shutil.copytree(notes, folder / "predictions")

    monkeypatch.setattr(pool, "run_logged", run)
    monkeypatch.setattr(pool, "annotate", annotate)
    results = pool.measure(places / "words", places / "transformer", places / "corpus", refits, epochs=2)
    assert [result["name"] for result in results][-2:] == [pool.STUDENT, pool.ALL]
    student, three = ran[pool.STUDENT], ran[pool.ALL]
    members = ["refit-word-vectors", "refit-transformer"] if refits else ["words", "transformer"]
    assert student[:4] == ["distill", "refit-pool-of-both" if refits else "pool", "background", "student-2"]
    assert student[student.index("--epochs") + 1] == "2"
    assert three[:5] == ["pool", *members, "student-2", "three-2"]


def test_a_pipeline_without_the_tagger(places: Path) -> None:
    with pytest.raises(InputError, match="give a pipeline with a crf_ner"):
        pool.measure(places / "corpus", places / "words", places / "corpus", False)
