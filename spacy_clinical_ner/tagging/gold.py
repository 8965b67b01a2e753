"""What a reference says of each token of the predicted Doc: a tag, or that the tag is not known."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans

from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN, TagScheme
from spacy_clinical_ner.tagging.views import View, to_words

# token.ent_iob: nothing is known of the token; a mention begins, or with no type: the token is blocked.
_MISSING, _BEGINS = 0, 3


def gold_tags(
    example: Example,
    spans: Sequence[Span],
    scheme: TagScheme,
    chain_and_label: Callable[[str], tuple[int, int]],
    *,
    chains: int = 1,
    flat: bool = True,
    view: Optional[View] = None,
) -> NDArray[np.int64]:
    """(chains, length) tags of the reference on the tokens of the predicted Doc, or on the words of its view.

    spans: mentions of the reference. chain_and_label: where a label stands. flat: the mentions are `doc.ents`, which
    also tell of tokens of which nothing is known. UNKNOWN is the tag of every token that shares characters with one of
    those, and of every token of a mention whose edges are those of no tokens of the predicted Doc.
    """
    aligned = example.get_aligned_spans_y2x(spans, allow_overlap=not flat)
    length = len(example.predicted)
    unknown = np.zeros((chains, length), dtype=bool)
    if flat:
        unknown |= unknown_tokens(example)
    if len(aligned) < len(spans):
        for span in spans:
            if not example.get_aligned_spans_y2x([span], allow_overlap=True):
                chain, _ = chain_and_label(span.label_)
                unknown[chain] |= _on_predicted(example, np.arange(span.start, span.end))
    if view is not None:
        length, unknown = len(view.words), unknown[:, view.tokens]
    tags = np.where(unknown, UNKNOWN, 0)
    for chain in range(chains):
        rows = []
        for span in filter_spans([each for each in aligned if chain_and_label(each.label_)[0] == chain]):
            start, end = (span.start, span.end) if view is None else to_words(view, span.start, span.end)
            if start < end:
                rows.append((start, end, chain_and_label(span.label_)[1]))
        mentions = scheme.encode(rows, length)
        tags[chain] = np.where(mentions > 0, mentions, tags[chain])
    return tags


def unknown_tokens(example: Example) -> NDArray[np.bool_]:
    """(length,) tokens of the predicted Doc that share characters with one of which `doc.ents` tells nothing."""
    return _on_predicted(example, np.flatnonzero(example.reference.to_array(ENT_IOB) == _MISSING))


def _on_predicted(example: Example, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(length,) which tokens of the predicted Doc share characters with these of the reference."""
    shared = np.zeros(len(example.predicted), dtype=bool)
    if len(tokens):
        lengths, data = (np.asarray(each) for each in (example.alignment.y2x.lengths, example.alignment.y2x.data))
        chosen = np.zeros(len(lengths), dtype=bool)
        chosen[tokens] = True
        shared[data[np.repeat(chosen, lengths)]] = True
    return shared


def blocked_tokens(docs: Sequence[Doc]) -> list[NDArray[np.int64]]:
    """Of each Doc the tokens that must not be part of an entity: those of `doc.set_ents(blocked=...)`."""
    values = [doc.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2) for doc in docs]
    return [np.flatnonzero((each[:, 0] == _BEGINS) & (each[:, 1] == 0)) for each in values]


def write_entities(doc: Doc, spans: Sequence[Span], kept: Sequence[Span] = ()) -> None:
    """Write to `doc.ents` what is kept and, of `spans`, what is on no token of that; blocked tokens stay blocked."""
    blocked = blocked_tokens([doc])[0].tolist()
    taken = {*blocked, *(i for entity in kept for i in range(entity.start, entity.end))}
    new = [span for span in spans if taken.isdisjoint(range(span.start, span.end))]
    doc.set_ents([*kept, *new], blocked=[doc[i : i + 1] for i in blocked])
