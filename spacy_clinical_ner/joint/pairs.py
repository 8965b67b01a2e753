"""Candidate pairs of a joint extractor: the filters' choice, as far as a window can hold it."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc

from spacy_clinical_ner.joint.pair_windows import extent, fits, piece_edges
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.mentions import Ints, Mentions, Pairs
from spacy_clinical_ner.relations.schema import TypePairSchema
from spacy_clinical_ner.transformers.word_pieces import WordPieces


class PairGroup(NamedTuple):
    """Pairs among mentions of a Doc.

    doc: the Doc's place in the batch. types: (mentions,) entity labels as the model counts them, from 1; 0 is unknown.
    """

    doc: int
    mentions: Mentions
    types: Ints
    pairs: Pairs

    def kept(self, chosen: NDArray[np.bool_]) -> PairGroup:
        """The group with some of its pairs."""
        return self._replace(pairs=Pairs(self.pairs.head[chosen], self.pairs.tail[chosen]))


class FittingPairs(CandidatePairs):
    """The candidates of the filters that fit into one window of the encoder, word piece by word piece."""

    def __init__(self, candidates: CandidatePairs, pieces: WordPieces, capacity: int, most: int) -> None:
        super().__init__(candidates.filters)
        self.pieces = pieces
        self.capacity = capacity
        self.most = most

    def __call__(self, mentions: Mentions, schema: TypePairSchema) -> Pairs:
        pairs = super().__call__(mentions, schema)
        if not len(pairs.head):
            return pairs
        edges = piece_edges([len(ids) for ids in doc_pieces(mentions.doc, self.pieces, self.most)])
        kept = fits(*extent(mentions.start, mentions.end, *pairs), edges, self.capacity)
        return Pairs(pairs.head[kept], pairs.tail[kept])


def doc_pieces(doc: Doc, pieces: WordPieces, most: int) -> List[List[int]]:
    """The word pieces of each token, one at least and `most` at most."""
    return pieces([token.text for token in doc], most)


def make_group(
    doc: int, mentions: Mentions, labels: Sequence[str], candidates: CandidatePairs, schema: TypePairSchema
) -> PairGroup:
    """All candidates among the mentions. labels: the entity labels of the model."""
    known = {name: i for i, name in enumerate(labels, 1)}
    types = np.array([known.get(name, 0) for name in mentions.names], dtype="int64")
    types = types[mentions.labels] if len(mentions) else np.zeros(0, dtype="int64")
    return PairGroup(doc, mentions, types, candidates(mentions, schema))
