from pathlib import Path

import pytest
from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.project.smoke import Found, find_entities, predicted_spans
from spacy_clinical_ner.tokenization import blank_pipeline


@Language.factory("smoke_test_fevers", default_config={"confidence": 0.5})
def make_fevers(nlp: Language, name: str, confidence: float):
    """Marks every 'fiebre', once in doc.ents and once, with another label, in doc.spans."""

    def mark(doc: Doc) -> Doc:
        fevers = [token.i for token in doc if token.lower_ == "fiebre"]
        doc.ents = [Span(doc, i, i + 1, label="SYMPTOM") for i in fevers]
        doc.spans["sc"] = [Span(doc, i, i + 1, label=label) for i in fevers for label in ("SYMPTOM", "SIGN")]
        for span in [*doc.ents, *doc.spans["sc"]]:
            if confidence >= 0:
                span._.confidence = confidence
        return doc

    return mark


def pipeline(confidence: float = 0.5) -> Language:
    nlp = blank_pipeline("es")
    nlp.add_pipe("smoke_test_fevers", config={"confidence": confidence})
    return nlp


@pytest.fixture()
def notes(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("Sin hallazgos.", encoding="utf8")
    (tmp_path / "b.txt").write_bytes(b"Dolor.\r\nFiebre alta.")
    return tmp_path


def test_first_note_with_entities_is_shown_without_text(notes: Path) -> None:
    name, entities = find_entities(pipeline(), notes)
    assert name == "b"
    assert entities == [Found("SIGN", 8, 14, 0.5, None), Found("SYMPTOM", 8, 14, 0.5, None)]


def test_text_when_asked_for(notes: Path) -> None:
    _, entities = find_entities(pipeline(), notes, show_text=True)
    assert {found.text for found in entities} == {"Fiebre"}


def test_entities_and_spans_are_listed_once_in_order() -> None:
    spans = predicted_spans(pipeline()("fiebre y fiebre"))
    assert [(span.start_char, span.label_) for span in spans] == [
        (0, "SIGN"), (0, "SYMPTOM"), (9, "SIGN"), (9, "SYMPTOM"),
    ]  # fmt: skip


@pytest.mark.parametrize("confidence", [-1.0, 0.0, 1.5])
def test_confidence_must_be_a_probability(notes: Path, confidence: float) -> None:
    with pytest.raises(ClinicalNerError, match=r"b: SIGN at 8-14 has confidence") as error:
        find_entities(pipeline(confidence), notes)
    assert "iebre" not in str(error.value)


def test_nothing_found_is_a_failure(notes: Path) -> None:
    with pytest.raises(ClinicalNerError, match="no entity found in 1 notes"):
        find_entities(pipeline(), notes, tries=1)
