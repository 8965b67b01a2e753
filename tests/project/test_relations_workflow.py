"""The workflow maccrobat_relations, its package and its smoke test: entities are given, relations are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import srsly
from spacy.language import Language
from spacy.tokens import Doc
from weasel.util import load_project_config

from spacy_clinical_ner.brat import BratDocument, Entity, RelationLine, write_document
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.evaluation.scoring import evaluate
from spacy_clinical_ner.extensions import Relation
from spacy_clinical_ner.project.package import build_wheel, describe
from spacy_clinical_ner.project.smoke import FoundRelation, find_relations
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.project.test_package import CORPUS

ROOT = Path(__file__).parents[2]


def test_entities_are_given() -> None:
    commands = {entry["name"]: entry for entry in load_project_config(ROOT)["commands"]}
    (deliver,) = commands["maccrobat_relations-deliver"]["script"]
    assert "--given-entities" in deliver.split()


def document(relations: bool, name: str = "a") -> BratDocument:
    entities = [Entity("T1", "SEVERITY", ((0, 4),), "High"), Entity("T2", "SIGN", ((5, 10),), "fever")]
    lines = [RelationLine("R1", "MODIFY", (("Arg1", "T1"), ("Arg2", "T2")))] if relations else []
    return BratDocument(name, "High fever", entities, lines)


def scores(relations: bool) -> dict:
    gold = [document(True), document(True, "b")]
    return evaluate(gold, [document(True), document(False, "b")], relations=relations, samples=20)


def test_meta_tells_scores_of_relations_only() -> None:
    meta = describe(CORPUS, scores(True), "en", given_entities=True)
    assert meta["description"].startswith("Relations between given entities in English")
    assert "strict micro F1 0.667" in meta["description"]
    assert meta["performance"]["rels_strict_micro_r"] == 0.5
    assert meta["performance"]["rels_strict_per_type"]["MODIFY"]["p"] == 1.0
    assert not any(name.startswith("ents") for name in meta["performance"])


def test_meta_of_a_pipeline_that_finds_both() -> None:
    performance = describe(CORPUS, scores(True), "en")["performance"]
    assert performance["ents_strict_micro_f"] == 1.0
    assert performance["rels_strict_micro_r"] == 0.5


def test_package_of_relations_needs_their_scores(tmp_path: Path) -> None:
    blank_pipeline("en").to_disk(tmp_path / "model")
    srsly.write_json(tmp_path / "metrics.json", scores(False))
    srsly.write_json(tmp_path / "corpus.json", CORPUS.to_dict())
    with pytest.raises(InputError, match="no scores of relations"):
        build_wheel(
            tmp_path / "model", tmp_path, tmp_path / "metrics.json", tmp_path / "packages",
            name="x", version="0.1.0", given_entities=True,
        )  # fmt: skip


@Language.factory("smoke_test_relates", default_config={"score": 0.5})
def make_relates(nlp, name, score):  # confection 0.1 resolves no postponed annotations
    def relate(doc: Doc) -> Doc:
        first, *others = doc.ents
        doc._.relations = [*doc._.relations, *(Relation(first, other, "MODIFY", score) for other in others)]
        return doc

    return relate


def smoke_pipeline(**config: float) -> Language:
    nlp = blank_pipeline("en")
    nlp.add_pipe("smoke_test_relates", config=config)
    return nlp


def test_smoke_shows_what_is_found_and_not_what_was_annotated(tmp_path: Path) -> None:
    write_document(document(True), tmp_path / "a.txt")
    found = FoundRelation("MODIFY", ("SEVERITY", 0, 4), ("SIGN", 5, 10), 0.5)
    assert find_relations(smoke_pipeline(), tmp_path) == ("a", [found])
    with pytest.raises(ClinicalNerError, match=r"a: MODIFY has score 1\.5"):
        find_relations(smoke_pipeline(score=1.5), tmp_path)
    with pytest.raises(ClinicalNerError, match="no relation found in 1 notes"):
        find_relations(blank_pipeline("en"), tmp_path)
