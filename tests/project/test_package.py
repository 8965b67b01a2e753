from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.training import Example

from spacy_clinical_ner import __version__
from spacy_clinical_ner.brat import BratDocument, Entity
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.evaluation.scoring import evaluate
from spacy_clinical_ner.project.layout import PreparedCorpus
from spacy_clinical_ner.project.package import build_wheel, describe
from spacy_clinical_ner.tokenization import blank_pipeline

CORPUS = PreparedCorpus(
    corpus="clinic",
    sample=False,
    documents={"train": 7, "dev": 2, "test": 2, "raw": 7},
    origin={"train": "train/", "dev": "dev/", "test": "dev2/", "raw": "train/"},
    remarks=["no test/"],
)


def scores(samples: int = 50) -> dict:
    fever, cough = Entity("T1", "SYMPTOM", ((0, 5),), "Fever"), Entity("T2", "SYMPTOM", ((6, 11),), "cough")
    gold = [BratDocument(name, "Fever cough", [fever, cough]) for name in ("a", "b")]
    predicted = [BratDocument(name, "Fever cough", [fever]) for name in ("a", "b")]
    return evaluate(gold, predicted, samples=samples)


def sample_corpus() -> PreparedCorpus:
    return PreparedCorpus(**{**CORPUS.to_dict(), "corpus": "clinic sample", "sample": True})


def test_meta_tells_corpus_scores_and_requirement() -> None:
    meta = describe(CORPUS, scores(), "es")
    assert "Spanish" in meta["description"]
    assert "the corpus 'clinic' (7 documents)" in meta["description"]
    assert "strict micro F1 0.667 (95% interval 0.667 to 0.667)" in meta["description"]
    assert "2 documents from dev2/" in meta["description"]
    assert meta["trained_on"]["synthetic_sample"] is False
    assert meta["sources"] == [{"name": "clinic"}]
    assert "terms of the training corpus" in meta["license"]
    assert meta["performance"]["ents_strict_micro_p"] == 1.0
    assert meta["performance"]["ents_strict_micro_r"] == 0.5
    assert meta["performance"]["ents_strict_per_type"]["SYMPTOM"]["f"] == pytest.approx(2 / 3)
    # Token-level names of spaCy would claim another kind of score.
    assert not {"ents_f", "ents_p", "ents_r"} & set(meta["performance"])
    assert meta["requirements"] == [f"spacy-clinical-ner>={__version__},<0.2.0"]


def test_meta_of_the_sample_warns() -> None:
    meta = describe(sample_corpus(), scores(samples=0), "es")
    assert "synthetic sample" in meta["description"]
    assert "not for use on real" in meta["description"]
    assert "interval" not in meta["description"]
    assert meta["license"] == "MIT"


def test_license_can_be_given() -> None:
    assert describe(CORPUS, scores(), "xx", "CC BY 4.0")["license"] == "CC BY 4.0"


@pytest.fixture()
def inputs(tmp_path: Path) -> Path:
    nlp: Language = blank_pipeline("es")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "SYMPTOM", "pattern": "fiebre"}])  # type: ignore[attr-defined]
    nlp.meta["performance"] = {"ents_f": 0.999}
    nlp.to_disk(tmp_path / "model")
    srsly.write_json(tmp_path / "corpus.json", CORPUS.to_dict())
    srsly.write_json(tmp_path / "metrics.json", scores())
    return tmp_path


def trained_crf_ner(folder: Path) -> Path:
    nlp = blank_pipeline("es")
    nlp.add_pipe("crf_ner")
    text = "Ingresa Zanquelia con fiebre."
    example = Example.from_dict(nlp.make_doc(text), {"entities": [(22, 28, "SYMPTOM")]})
    optimizer = nlp.initialize(lambda: [example])
    for _ in range(30):
        nlp.update([example], sgd=optimizer)
    nlp(text)
    nlp.to_disk(folder)
    return folder


def build(inputs: Path, version: str = "1.2.3") -> Path:
    return build_wheel(
        inputs / "model", inputs, inputs / "metrics.json", inputs / "packages", name="tiny_ner", version=version
    )


def test_meta_counts_the_notes_of_a_refit(inputs: Path) -> None:
    nlp = spacy.load(inputs / "model")
    nlp.meta["refit"] = {"notes": 41, "updates": 5}
    nlp.to_disk(inputs / "model")
    build(inputs)
    meta = srsly.read_json(next((inputs / "packages").glob("*/es_tiny_ner/meta.json")))
    assert "the corpus 'clinic' (41 documents)" in meta["description"]
    assert meta["refit"] == {"notes": 41, "updates": 5}


def test_wheel_holds_pipeline_and_meta(inputs: Path) -> None:
    # As an earlier build would have left it: `spacy package` would keep the old README.
    stale = inputs / "packages" / "es_tiny_ner-1.2.3" / "README.md"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale", encoding="utf8")
    wheel = build(inputs)
    assert wheel == inputs / "packages" / "es_tiny_ner-1.2.3" / "dist" / "es_tiny_ner-1.2.3-py3-none-any.whl"
    assert sorted(path.name for path in (inputs / "packages").iterdir()) == ["es_tiny_ner-1.2.3"]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        meta = json.loads(archive.read("es_tiny_ner/es_tiny_ner-1.2.3/meta.json"))
        metadata = archive.read("es_tiny_ner-1.2.3.dist-info/METADATA").decode("utf8")
        entry_points = archive.read("es_tiny_ner-1.2.3.dist-info/entry_points.txt").decode("utf8")
        everything = b"".join(archive.read(name) for name in names)
    assert "es_tiny_ner/es_tiny_ner-1.2.3/entity_ruler/patterns.jsonl" in names
    assert (meta["name"], meta["version"], meta["lang"]) == ("tiny_ner", "1.2.3", "es")
    assert meta["trained_on"]["documents"]["train"] == 7
    assert meta["performance"]["ents_strict_micro_f"] == pytest.approx(2 / 3)
    assert "ents_f" not in meta["performance"]
    requirements = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: spacy")]
    assert any(line.startswith("Requires-Dist: spacy-clinical-ner") and __version__ in line for line in requirements)
    assert any(line.startswith("Requires-Dist: spacy<") or ": spacy>" in line for line in requirements)
    assert "es_tiny_ner = es_tiny_ner" in entry_points
    assert "clinic" in stale.read_text(encoding="utf8")
    assert str(inputs).encode() not in everything


def test_wheel_holds_no_word_of_the_notes(inputs: Path) -> None:
    shutil.rmtree(inputs / "model")
    trained_crf_ner(inputs / "model")
    with zipfile.ZipFile(build(inputs)) as archive:
        assert not [name for name in archive.namelist() if b"anquelia" in archive.read(name)]


def test_missing_metrics_leave_the_old_package(inputs: Path) -> None:
    wheel = build(inputs)
    before = wheel.read_bytes()
    (inputs / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"metrics\.json"):
        build(inputs)
    assert wheel.read_bytes() == before


def test_failing_build_names_its_tools(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy_clinical_ner.project.package.sys.executable", "/bin/false")
    with pytest.raises(ClinicalNerError, match="setuptools"):
        build(inputs)
    assert not (inputs / "packages").exists()
