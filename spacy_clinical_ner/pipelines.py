"""Loading trained pipelines with errors that fit on one line."""

from __future__ import annotations

from typing import Optional

import spacy
from spacy.language import Language

from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.tokenization import blank_pipeline


def load_pipeline(name: str) -> Language:
    """`spacy.load` for a folder or an installed package. Raises ClinicalNerError if there is no such pipeline."""
    try:
        return spacy.load(name)
    except (ImportError, OSError, ValueError) as error:
        raise ClinicalNerError(f"{name}: not a pipeline that can be loaded: {one_line(error)}") from error


def pipeline_or_blank(pipeline: Optional[str], lang: str) -> Language:
    """The pipeline of that name, or one that only tokenises `lang`. Raises ClinicalNerError if there is none."""
    if pipeline is not None:
        return load_pipeline(pipeline)
    try:
        return blank_pipeline(lang)
    except ImportError:
        raise ClinicalNerError(f"spaCy knows no language {lang!r} (--lang es, en, zh, ...)") from None
