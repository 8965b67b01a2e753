"""The BRAT standoff format: read, audit, align to tokens, carry through spaCy Docs and write again."""

from spacy_clinical_ner.brat.document import (
    Attribute,
    Audit,
    BratDocument,
    Entity,
    Equivalence,
    Event,
    LineState,
    Normalization,
    Note,
    RelationLine,
)
from spacy_clinical_ner.brat.files import (
    document_name,
    list_notes,
    read_document,
    read_folder,
    write_document,
)
from spacy_clinical_ner.brat.parse import parse_standoff

__all__ = [
    "Attribute",
    "Audit",
    "BratDocument",
    "Entity",
    "Equivalence",
    "Event",
    "LineState",
    "Normalization",
    "Note",
    "RelationLine",
    "document_name",
    "list_notes",
    "parse_standoff",
    "read_document",
    "read_folder",
    "write_document",
]
