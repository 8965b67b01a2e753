from pathlib import Path

import pool
import pytest

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


def test_a_pipeline_without_the_tagger(places: Path) -> None:
    with pytest.raises(InputError, match="give a pipeline with a crf_ner"):
        pool.measure(places / "corpus", places / "words", places / "corpus", False)
