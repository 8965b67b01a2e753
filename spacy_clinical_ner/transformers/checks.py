"""The check that no token was left without a representation."""

from typing import Callable, List, Sequence

import numpy as np
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch
from spacy_transformers.util import registry
from thinc.types import Ragged

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.extensions import note_name


@registry.annotation_setters("spacy-clinical-ner.EveryTokenRepresented.v1")  # type: ignore[attr-defined]
def create_every_token_represented() -> Callable[[List[Doc], FullTransformerBatch], None]:
    """A `set_extra_annotations` for the `transformer` component that sets nothing but looks whether all is there.

    It works with any model, spacy-transformers' own included, whose `strided_spans` lose word pieces.
    """
    return every_token_represented


def every_token_represented(docs: List[Doc], batch: FullTransformerBatch) -> None:
    """Raise ClinicalNerError if a token of the Docs is aligned to no word piece of the batch."""
    check_representations(docs, [data.align for data in batch.doc_data])


def check_representations(docs: Sequence[Doc], aligns: Sequence[Ragged]) -> None:
    """Raise ClinicalNerError, naming note and position but no text, for the first token without a vector."""
    for number, (doc, align) in enumerate(zip(docs, aligns)):
        lengths = np.zeros(len(doc), dtype="int64")
        aligned = np.asarray(align.lengths.get() if hasattr(align.lengths, "get") else align.lengths)[: len(doc)]
        lengths[: len(aligned)] = aligned
        missing = np.flatnonzero(lengths == 0)
        if len(missing):
            position = int(missing[0])
            name = note_name(doc)
            raise ClinicalNerError(
                f"document {number} of its batch{f' ({name})' if name else ''}: token {position}, at character "
                f"{doc[position].idx}, has no vector from the transformer, nor have {len(missing) - 1} other(s) of "
                f"its {len(doc)} tokens"
            )
