"""Loading trained pipelines with errors that fit on one line."""

from __future__ import annotations

from typing import Any, Iterator, Optional

import numpy as np
import spacy
from spacy.language import Language
from thinc.api import Model
from thinc.util import to_numpy
from wasabi import msg

from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.tokenization import blank_pipeline

# Characters of a note, at most: spaCy counts them in 32 bits.
MAX_LENGTH = 2**31 - 1
# Components of spaCy that need memory in proportion to a whole note, which `nlp.max_length` is there for.
_BY_NOTE = {"parser", "ner", "beam_parser", "beam_ner"}


def load_pipeline(name: str) -> Language:
    """`spacy.load` for a folder or an installed package.

    Raises ClinicalNerError if there is no such pipeline, or if what it predicts would mean nothing: weights or word
    vectors that are not finite, or a model that was made for another number of labels.
    """
    try:
        nlp = spacy.load(name)
    except Exception as error:  # whatever a module of that name, or a pipeline that was tampered with, may raise
        raise ClinicalNerError(f"{name}: not a pipeline that can be loaded: {one_line(error)}") from error
    problem = _problem(nlp) if isinstance(nlp, Language) else "it is a module that loads something else"
    if problem is not None:
        raise ClinicalNerError(f"{name}: not a pipeline that can be used: {problem}")
    if not _BY_NOTE & {nlp.get_pipe_meta(component).factory for component in nlp.pipe_names}:
        nlp.max_length = MAX_LENGTH
    return nlp


def _problem(nlp: Language) -> Optional[str]:
    """What is wrong with a pipeline that could be loaded."""
    if nlp.batch_size < 1:
        return f"nlp.batch_size is {nlp.batch_size}"
    if not np.isfinite(to_numpy(nlp.vocab.vectors.data)).all():
        return "its word vectors are not finite numbers"
    for name, pipe in nlp.pipeline:
        if getattr(pipe, "max_batch_tokens", 1) < 1:
            return f"max_batch_tokens of {name} is {pipe.max_batch_tokens}"  # type: ignore[attr-defined]
        model = getattr(pipe, "model", None)
        if not isinstance(model, Model):
            continue
        built = model.attrs.get("labels", 0) * model.attrs.get("chains", 0)
        if built and built != len(pipe.labels):  # type: ignore[attr-defined]
            return f"{name} has {len(pipe.labels)} labels, its model {built}"  # type: ignore[attr-defined]
        if not all(np.isfinite(array).all() for array in _weights(model)):
            return f"the weights of {name} are not finite numbers"
    return None


def _weights(model: Model) -> Iterator[Any]:
    """All floating-point parameters, Thinc's and torch's."""
    for node in model.walk():
        yield from (to_numpy(node.get_param(name)) for name in node.param_names if node.has_param(name))
        for shim in node.shims:
            if hasattr(shim._model, "state_dict"):
                tensors = shim._model.state_dict().values()
                yield from (each.detach().cpu().numpy() for each in tensors if each.is_floating_point())


def pipeline_or_blank(pipeline: Optional[str], lang: str) -> Language:
    """The pipeline of that name, or one that only tokenises `lang`. Raises ClinicalNerError if there is none.

    Says so where words are not found as spaCy would, because its dictionary for a language without spaces is missing.
    """
    if pipeline is not None:
        return load_pipeline(pipeline)
    try:
        nlp = blank_pipeline(lang)
    except Exception:  # any module of spacy.lang is taken for a language, and any path for a module
        raise ClinicalNerError(f"spaCy knows no language {lang!r} (--lang es, en, zh, ...)") from None
    try:
        spacy.blank(lang)
    except Exception:
        msg.warn(f"spaCy's tokenizer for {lang} is not installed: the clinical one knows no words of {lang}")
    return nlp
