"""Docs as batches of windows of word pieces, and pairs of mentions as positions in them."""

from __future__ import annotations

from typing import Any, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from spacy.tokens import Doc

from spacy_clinical_ner.joint.pair_windows import Ints, extent, piece_edges, plan_pairs, plan_windows
from spacy_clinical_ner.joint.pairs import doc_pieces
from spacy_clinical_ner.layers.focused_attention import PairBatch
from spacy_clinical_ner.layers.joint_network import PieceBatch
from spacy_clinical_ner.relations.pair_groups import PairGroup
from spacy_clinical_ner.transformers.word_pieces import WordPieces
from spacy_clinical_ner.windows.batches import group_by_length
from spacy_clinical_ner.windows.planning import Window
from spacy_clinical_ner.windows.sentences import sentence_ends


class Sizes(NamedTuple):
    """capacity: word pieces of a window, without special ones. overlap: context on both sides of a core. budget: word
    pieces that are run through the encoder at once."""

    capacity: int
    overlap: int
    budget: int

    @property
    def max_pieces(self) -> int:
        """The most pieces of one token; those of a longer one are cut off behind them."""
        return max(1, self.capacity - 2 * self.overlap)


class DocPieces(NamedTuple):
    """A Doc in word pieces. ids: all of them. edges: (tokens + 1,) pieces before each token. first: number of its first
    token among those of all Docs."""

    ids: Ints
    edges: Ints
    first: int


class PairRows(NamedTuple):
    """Pairs of one batch of windows. order: (pairs,) their numbers among all pairs. kinds: rows of `pair_types`."""

    order: torch.Tensor
    pairs: PairBatch
    kinds: torch.Tensor


class Layout:
    """Windows over some Docs, batch by batch: first those that cover the Docs, then any that pairs need besides."""

    def __init__(self, docs: Sequence[Doc], pieces: WordPieces, sizes: Sizes, device: torch.device) -> None:
        self.sizes = sizes
        self.pieces = pieces
        self.device = device
        self.notes: List[DocPieces] = []
        self.planned: List[List[Window]] = []
        first = 0
        for doc in docs:
            ids = doc_pieces(doc, pieces, sizes.max_pieces)
            edges = piece_edges([len(each) for each in ids])
            flat = np.array([i for each in ids for i in each], dtype="int64")
            self.notes.append(DocPieces(flat, edges, first))
            ends = sentence_ends(doc) if edges[-1] > sizes.capacity else np.zeros(0, dtype="int64")
            self.planned.append(plan_windows(edges, ends, sizes.capacity, sizes.overlap))
            first += len(doc)
        # (note, window) of every window that has a batch; and for each, its batch and its row there.
        self.windows: List[Tuple[int, Window]] = []
        self.places: List[Tuple[int, int]] = []
        self.offsets = np.concatenate([[0], np.cumsum([len(each) for each in self.planned])]).astype("int64")
        self.batches: List[PieceBatch] = []
        # For each group of pairs, the window of each of them.
        self.chosen: List[Ints] = []
        self._add([(note, each) for note, planned in enumerate(self.planned) for each in planned])

    def add_pairs(self, groups: Sequence[PairGroup]) -> List[PieceBatch]:
        """Find a window for every pair; returns batches of the windows that had to be added."""
        extra: List[Tuple[int, Window]] = []
        self.chosen = []
        for doc, mentions, _, pairs in groups:
            note = self.notes[doc]
            low, high = extent(mentions.start, mentions.end, *pairs)
            planned = self.planned[doc]
            plan = plan_pairs(planned, low, high, note.edges, self.sizes.capacity)
            if (plan.window < 0).any():
                raise ValueError("a pair of mentions does not fit into a window of the encoder")
            own = plan.window < len(planned)
            shift = len(self.windows) + len(extra) - len(planned)
            self.chosen.append(plan.window + np.where(own, self.offsets[doc], shift))
            extra += [(doc, window) for window in plan.extra]
        return self._add(extra)

    def pair_rows(
        self, groups: Sequence[PairGroup], types: int, whole_windows: bool = False
    ) -> Iterator[Tuple[int, PairRows]]:
        """(batch of windows, some of its pairs) until all pairs are through.

        types: entity labels, for the kinds. whole_windows: a pair takes the room of its window and not of its members.
        """
        batch_of, rows, places, kinds = [], [], [], []
        for (doc, mentions, type_ids, pairs), windows in zip(groups, self.chosen):
            edges = self.notes[doc].edges
            kinds.append((type_ids[pairs.head] * (types + 1) + type_ids[pairs.tail]) * 2 + (pairs.head < pairs.tail))
            for head, tail, window in zip(pairs.head.tolist(), pairs.tail.tolist(), windows.tolist()):
                batch, row = self.places[window]
                shift = 1 - int(edges[self.windows[window][1].context_start])  # 1 for [CLS]
                inside = {0}
                for mention in (head, tail):
                    start, end = edges[mentions.start[mention]], edges[mentions.end[mention]]
                    inside.update(range(int(start) + shift, int(end) + shift))
                batch_of.append(batch)
                rows.append(row)
                places.append(sorted(inside))
        if not rows:
            return
        all_kinds, batches = np.concatenate(kinds), np.array(batch_of)
        for batch in sorted(set(batch_of)):
            mine = np.flatnonzero(batches == batch).tolist()
            length = self.batches[batch].ids.shape[1]
            room = [length if whole_windows else len(places[i]) for i in mine]
            for chunk in group_by_length(room, self.sizes.budget):
                order = [mine[i] for i in chunk]
                longest = max(len(places[i]) for i in order)
                positions = np.zeros((len(order), longest), dtype="int64")
                members = np.zeros((len(order), longest), dtype=bool)
                for number, i in enumerate(order):
                    positions[number, : len(places[i])] = places[i]
                    members[number, : len(places[i])] = True
                window = self._tensor([rows[i] for i in order])
                packed = PairBatch(window, self._tensor(positions), self._tensor(members))
                yield batch, PairRows(self._tensor(order), packed, self._tensor(all_kinds[order]))

    def _tensor(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values, device=self.device)

    def _add(self, windows: Sequence[Tuple[int, Window]]) -> List[PieceBatch]:
        """Batch windows of about the same length, after those that there are; returns the new batches."""
        lengths = [self._length(note, window) for note, window in windows]
        before, known = len(self.windows), len(self.batches)
        self.windows += windows
        self.places += [(-1, -1)] * len(windows)
        result = []
        for number, members in enumerate(group_by_length(lengths, self.sizes.budget), known):
            for row, index in enumerate(members):
                self.places[before + index] = (number, row)
            result.append(self._batch([windows[i] for i in members], max(lengths[i] for i in members)))
        self.batches += result
        return result

    def _length(self, note: int, window: Window) -> int:
        edges = self.notes[note].edges
        return int(edges[window.context_end] - edges[window.context_start]) + 2

    def _batch(self, windows: Sequence[Tuple[int, Window]], longest: int) -> PieceBatch:
        ids = np.full((len(windows), longest), self.pieces.pad, dtype="int64")
        mask = np.zeros((len(windows), longest), dtype=bool)
        rows, columns, tokens = [], [], []
        for row, (number, window) in enumerate(windows):
            note = self.notes[number]
            start, end = note.edges[window.context_start], note.edges[window.context_end]
            framed = self.pieces.special.frame(note.ids[start:end])
            ids[row, : len(framed)] = framed
            mask[row, : len(framed)] = True
            columns.append(note.edges[window.start : window.end] - start + 1)
            rows.append(np.full(window.end - window.start, row, dtype="int64"))
            tokens.append(np.arange(window.start, window.end, dtype="int64") + note.first)
        return PieceBatch(*map(self._tensor, (ids, mask, *(np.concatenate(each) for each in (rows, columns, tokens)))))
