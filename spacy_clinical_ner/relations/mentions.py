"""The mentions of a Doc as arrays, so that everything about pairs of them is computed at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from spacy_clinical_ner.windows.sentences import sentence_ends

Ints = NDArray[np.int64]
MentionKey = Tuple[int, int, str]  # first token, token behind the last, label


class Pairs(NamedTuple):
    """Ordered pairs of mentions as indices into `Mentions`; both arrays have the shape (pairs,)."""

    head: Ints
    tail: Ints


@dataclass(frozen=True)
class Mentions:
    """Distinct mentions of a Doc in the order of their start, end and label; none of them empty.

    Mentions with the same offsets and different labels, with the same start, nested and crossing ones are all apart.

    start, end: (mentions,) token offsets, end exclusive. labels: (mentions,) indices into `names`.
    sentences: (mentions,) number of the sentence in which each mention starts.
    """

    doc: Doc
    spans: List[Span]
    start: Ints
    end: Ints
    labels: Ints
    names: List[str]
    sentences: Ints

    @classmethod
    def of(cls, doc: Doc, spans: Iterable[Span]) -> Mentions:
        unique: Dict[MentionKey, Span] = {}
        for span in spans:
            if span.start < span.end:
                unique.setdefault(mention_key(span), span)
        keys = sorted(unique)
        names = sorted({label for _, _, label in keys})
        index = {name: i for i, name in enumerate(names)}
        start = np.array([start for start, _, _ in keys], dtype="int64")
        return cls(
            doc,
            [unique[key] for key in keys],
            start,
            np.array([end for _, end, _ in keys], dtype="int64"),
            np.array([index[label] for _, _, label in keys], dtype="int64"),
            names,
            np.searchsorted(sentence_ends(doc), start, side="right") if len(start) else start,
        )

    def __len__(self) -> int:
        return len(self.spans)

    def index(self) -> Dict[MentionKey, int]:
        """Position of each mention by its tokens and label."""
        return {mention_key(span): i for i, span in enumerate(self.spans)}

    def gaps(self, pairs: Pairs) -> Ints:
        """Tokens between the two mentions of each pair; 0 if they touch or overlap."""
        first, second = np.minimum(*pairs), np.maximum(*pairs)
        return np.maximum(self.start[second] - self.end[first], 0)


def mention_key(span: Span) -> MentionKey:
    return (span.start, span.end, span.label_)


def get_spans(doc: Doc, spans_key: Optional[str]) -> Sequence[Span]:
    """The mentions that a component works on: `doc.ents` or, with a key, `doc.spans[spans_key]`."""
    if spans_key is None:
        return doc.ents
    return list(doc.spans.get(spans_key, ()))
