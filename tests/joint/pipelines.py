"""Small pipelines that the tests of the joint extractor share; the notes are those of the tests of relations."""

from __future__ import annotations

from typing import Any

from spacy.language import Language
from spacy.util import fix_random_seed

from spacy_clinical_ner.tokenization import blank_pipeline

TINY = {
    "@misc": "spacy-clinical-ner.TinyEncoder.v1",
    "width": 32,
    "layers": 3,
    "heads": 4,
    "inner_width": 48,
    "positions": 96,
    "vocabulary": 120,
    "min_documents": 1,
    "dropout": 0.0,
}


def model_config(encoder: dict = TINY, **settings: Any) -> dict:
    """A small model without dropout, so that it can learn ten documents by heart."""
    return {
        "@architectures": "spacy-clinical-ner.JointExtractor.v1",
        "encoder": encoder,
        "task_layers": 2,
        "overlap": 8,
        "dropout": 0.0,
        **settings,
    }


def joint_pipeline(seed: int = 0, **config: Any) -> Language:
    fix_random_seed(seed)
    nlp = blank_pipeline("es")
    config.setdefault("model", model_config())
    nlp.add_pipe("joint_extractor", config=config)
    return nlp
