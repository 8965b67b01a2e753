"""Does the installed package do what a person expects on its first note?"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinical_ner.brat import document_name, list_notes, read_document, to_doc
from spacy_clinical_ner.brat.docs import without_relations
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.extensions import get_relations


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


class FoundRelation(NamedTuple):
    """A relation of a note: labels and character offsets of its mentions, and its score, a probability."""

    label: str
    head: Tuple[str, int, int]
    tail: Tuple[str, int, int]
    score: float


def find_relations(nlp: Language, folder: Union[str, Path], *, tries: int = 20) -> Tuple[str, List[FoundRelation]]:
    """Relations between the given entities of the first note in `folder` that has any: (name of the note, relations).

    Raises ClinicalNerError if the first `tries` notes have none, or if a score is no probability.
    """
    notes = list_notes(folder)[:tries]
    for path in notes:
        name = document_name(path, folder)
        found = []
        for relation in get_relations(nlp(to_doc(nlp, without_relations(read_document(path))))):
            if not 0 < relation.score <= 1:
                raise ClinicalNerError(f"{name}: {relation.label} has score {relation.score}, not in (0, 1]")
            head, tail = ((s.label_, s.start_char, s.end_char) for s in (relation.head, relation.tail))
            found.append(FoundRelation(relation.label, head, tail, relation.score))
        if found:
            return name, found
    raise ClinicalNerError(f"{folder}: no relation found in {len(notes)} notes")


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
