"""Candidate pairs of a Doc's mentions as a model takes them."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.mentions import Ints, Mentions, Pairs
from spacy_clinical_ner.relations.schema import TypePairSchema


class PairGroup(NamedTuple):
    """Pairs among one set of mentions of a Doc.

    doc: the Doc's place in the batch. types: (mentions,) entity types as the model counts them, from 1; 0 is unknown.
    """

    doc: int
    mentions: Mentions
    types: Ints
    pairs: Pairs

    def kept(self, chosen: NDArray[np.bool_]) -> PairGroup:
        """The group with some of its pairs."""
        return self._replace(pairs=Pairs(self.pairs.head[chosen], self.pairs.tail[chosen]))


def make_group(
    number: int,
    doc: Doc,
    spans: Iterable[Span],
    types: Sequence[str],
    candidates: CandidatePairs,
    schema: TypePairSchema,
) -> PairGroup:
    """All candidates among mentions of the Doc with that place. types: the entity types that the model knows."""
    mentions = Mentions.of(doc, spans)
    known = {name: i for i, name in enumerate(types, 1)}
    of_names = np.array([known.get(name, 0) for name in mentions.names], dtype="int64")
    return PairGroup(number, mentions, of_names[mentions.labels], candidates(mentions, schema))
