"""Does the installed package do what a person expects on its first note?"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc, Span

import spacy_clinical_ner.extensions  # noqa: F401 (span._.confidence)
from spacy_clinical_ner.brat import document_name, list_notes, read_document
from spacy_clinical_ner.errors import ClinicalNerError


class Found(NamedTuple):
    """An entity of a note: offsets count characters; confidence is a probability; the text is None unless shown."""

    label: str
    start: int
    end: int
    confidence: float
    text: Optional[str]


def find_entities(
    nlp: Language, folder: Union[str, Path], *, show_text: bool = False, tries: int = 20
) -> Tuple[str, List[Found]]:
    """Entities of the first note in `folder` that has any: (name of the note, entities).

    Raises ClinicalNerError if the first `tries` notes have none, or if a confidence is no probability.
    """
    notes = list_notes(folder)[:tries]
    for path in notes:
        name = document_name(path, folder)
        spans = predicted_spans(nlp(read_document(path).text))
        if spans:
            return name, [_check(span, name, show_text) for span in spans]
    raise ClinicalNerError(f"{folder}: no entity found in {len(notes)} notes")


def predicted_spans(doc: Doc) -> List[Span]:
    """Entities in doc.ents and in all groups of doc.spans, each once, in the order of the text."""
    groups: Iterable[Iterable[Span]] = [doc.ents, *doc.spans.values()]
    unique = {(span.start_char, span.end_char, span.label_): span for group in groups for span in group}
    return [unique[key] for key in sorted(unique)]


def _check(span: Span, name: str, show_text: bool) -> Found:
    confidence = span._.confidence
    if confidence is None or not 0 < confidence <= 1:
        raise ClinicalNerError(
            f"{name}: {span.label_} at {span.start_char}-{span.end_char} has confidence {confidence}, not in (0, 1]"
        )
    text = span.text if show_text else None
    return Found(span.label_, span.start_char, span.end_char, confidence, text)
