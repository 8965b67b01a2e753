"""Loading trained pipelines with errors that fit on one line."""

from __future__ import annotations

import spacy
from spacy.language import Language

from spacy_clinical_ner.errors import ClinicalNerError


def load_pipeline(name: str) -> Language:
    """`spacy.load` for a folder or an installed package. Raises ClinicalNerError if there is no such pipeline."""
    try:
        return spacy.load(name)
    except (ImportError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClinicalNerError(f"{name}: not a pipeline that can be loaded: {reason}") from error
