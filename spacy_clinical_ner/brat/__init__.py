"""The BRAT standoff format: read, audit, align to tokens, carry through spaCy Docs and write again."""

from spacy_clinical_ner.brat.align import Alignment, MentionOutcome, Policy, RelationOutcome, align
from spacy_clinical_ner.brat.audit import FolderAudit
from spacy_clinical_ner.brat.docs import fill_doc, from_doc, to_doc
from spacy_clinical_ner.brat.document import (
    Annotation,
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
    "Alignment",
    "Annotation",
    "Attribute",
    "Audit",
    "BratDocument",
    "Entity",
    "Equivalence",
    "Event",
    "FolderAudit",
    "LineState",
    "MentionOutcome",
    "Normalization",
    "Note",
    "Policy",
    "RelationLine",
    "RelationOutcome",
    "align",
    "document_name",
    "fill_doc",
    "from_doc",
    "list_notes",
    "parse_standoff",
    "read_document",
    "read_folder",
    "to_doc",
    "write_document",
]
