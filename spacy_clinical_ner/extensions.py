"""What the package hangs on Docs and Spans: `doc._.relations`, `doc._.label_attention` and `span._.confidence`.

All are kept in `doc.user_data` as plain numbers, strings and arrays, so they survive to_bytes, to_disk, DocBin,
pickling and `n_process`. spaCy's own span extensions are keyed by offsets alone; ours know the label too, because
mentions with different labels may share their offsets.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

RELATIONS = "spacy_clinical_ner.relations"
CONFIDENCE = "spacy_clinical_ner.confidence"
LABEL_ATTENTION = "spacy_clinical_ner.label_attention"
BRAT = "spacy_clinical_ner.brat"  # name, fragments and other lines of a Doc that came from BRAT: see `brat.docs`


class Relation(NamedTuple):
    """A directed, labelled pair of mentions. `score` is a probability, 1.0 for gold relations."""

    head: Span
    tail: Span
    label: str
    score: float = 1.0


def get_relations(doc: Doc) -> List[Relation]:
    """The Doc's relations, in the order in which they were set."""

    def span(start: int, end: int, label: str, span_id: str) -> Span:
        return Span(doc, start, end, label=label, span_id=span_id)

    return [
        Relation(span(*head), span(*tail), label, score)
        for head, tail, label, score in doc.user_data.get(RELATIONS, ())
    ]


def set_relations(doc: Doc, relations: Iterable[Relation]) -> None:
    """Replace the Doc's relations. Raises ValueError for a relation whose mentions are of another Doc."""
    rows = []
    for relation in relations:
        if relation.head.doc is not doc or relation.tail.doc is not doc:
            raise ValueError("a relation's head and tail must be spans of the Doc that holds it")
        rows.append((_key(relation.head), _key(relation.tail), relation.label, float(relation.score)))
    doc.user_data[RELATIONS] = rows


def _key(span: Span) -> tuple:
    return (span.start, span.end, span.label_, span.id_)


def get_confidence(span: Span) -> Optional[float]:
    """Posterior probability (0 to 1) of this span with this label under the model that set it; None if none did."""
    return _user_data(span.doc).get((CONFIDENCE, span.start_char, span.end_char, span.label_))


def set_confidence(span: Span, value: float) -> None:
    """Store the posterior probability of `span` with its present label."""
    _user_data(span.doc)[(CONFIDENCE, span.start_char, span.end_char, span.label_)] = float(value)


class LabelAttention(NamedTuple):
    """How much each token attends to each tag of a label attention network.

    weights: (layers, heads, tokens, tags) float32; over the tags (of each chain of tags, in the last layer) they sum
        to 1. tags: names of the tags, "O", "B-<label>", ...
    """

    weights: NDArray[np.float32]
    tags: List[str]


def get_label_attention(doc: Doc) -> Optional[LabelAttention]:
    """What `label_attention_ner` stored, with `store_attention`; None if it did not, or for other tokens than now."""
    stored = doc.user_data.get(LABEL_ATTENTION)
    if stored is None or stored["weights"].shape[2] != len(doc):
        return None
    return LabelAttention(stored["weights"], list(stored["tags"]))


def set_label_attention(doc: Doc, value: LabelAttention) -> None:
    """Store the attention. Raises ValueError if its shape is not that of the Doc and the tags."""
    weights = np.asarray(value.weights, dtype="float32")
    if weights.ndim != 4 or weights.shape[2:] != (len(doc), len(value.tags)):
        raise ValueError(f"label attention of shape {weights.shape} for {len(doc)} tokens and {len(value.tags)} tags")
    doc.user_data[LABEL_ATTENTION] = {"weights": weights, "tags": list(value.tags)}


def _user_data(doc: Doc) -> Dict[Any, Any]:
    return doc.user_data  # spaCy's stubs allow string keys only; spaCy itself uses tuples


def register() -> None:
    """Make the extensions known to spaCy; harmless when called twice."""
    if not Doc.has_extension("relations"):
        Doc.set_extension("relations", getter=get_relations, setter=set_relations)
    if not Doc.has_extension("label_attention"):
        Doc.set_extension("label_attention", getter=get_label_attention, setter=set_label_attention)
    if not Span.has_extension("confidence"):
        Span.set_extension("confidence", getter=get_confidence, setter=set_confidence)


register()
