"""Candidate pairs of a joint extractor: the filters' choice, as far as a window can hold it."""

from __future__ import annotations

from typing import List

from spacy.tokens import Doc

from spacy_clinical_ner.joint.pair_windows import extent, fits, piece_edges
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.mentions import Mentions, Pairs
from spacy_clinical_ner.relations.schema import TypePairSchema
from spacy_clinical_ner.transformers.word_pieces import WordPieces


class PairsWithinWindow(CandidatePairs):
    """The candidates of the filters that fit into one window of the encoder, word piece by word piece.

    capacity: word pieces of a window. max_pieces: of one token; what a longer token has behind them is cut off.
    """

    def __init__(self, candidates: CandidatePairs, pieces: WordPieces, capacity: int, max_pieces: int) -> None:
        super().__init__(*candidates.filters)
        self.pieces = pieces
        self.capacity = capacity
        self.max_pieces = max_pieces

    def __call__(self, mentions: Mentions, schema: TypePairSchema) -> Pairs:
        pairs = super().__call__(mentions, schema)
        if not len(pairs.head):
            return pairs
        edges = piece_edges([len(ids) for ids in doc_pieces(mentions.doc, self.pieces, self.max_pieces)])
        kept = fits(*extent(mentions.start, mentions.end, *pairs), edges, self.capacity)
        return Pairs(pairs.head[kept], pairs.tail[kept])


def doc_pieces(doc: Doc, pieces: WordPieces, max_pieces: int) -> List[List[int]]:
    """The word pieces of each token, one at least and `max_pieces` at most."""
    return pieces([token.text for token in doc], max_pieces)
