"""From windows to what spacy-transformers' listeners read: `TransformerData` of a note, aligned to all of its tokens.

A note is one row of word pieces however many windows it took: for each window the vector of its first special piece,
then those of the core. Tokens without a piece of their own (white space, signs that the tokenizer's normalisation
removes) are aligned to the special piece of the window in which they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple, cast

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from thinc.api import Ops, get_array_module, torch2xp, xp2torch
from thinc.types import Ints1d, Ragged
from torch import Tensor
from transformers.file_utils import ModelOutput

from spacy_clinical_ner.transformers.piece_windows import PieceWindow
from spacy_clinical_ner.transformers.pieces import NotePieces


@dataclass
class NoteBatch(FullTransformerBatch):
    """A batch whose notes lie end to end in one row, already split by Doc."""

    def unsplit_by_doc(self, arrays: List[List[Any]]) -> NoteBatch:
        """The gradient of the batch from those of its Docs; empty Docs have none and are left out."""
        xp = get_array_module(arrays[0][0])
        rows = xp2torch(xp.concatenate([array for array, *_ in arrays], axis=1))
        return NoteBatch(self.spans, self.wordpieces, ModelOutput(last_hidden_state=rows), self.align)


def align_note(note: NotePieces, windows: Sequence[PieceWindow]) -> Ragged:
    """Rows (see the module's docstring) by token; no token is without one. windows: of this note, in their order."""
    starts = np.array([window.core_start for window in windows])

    def window_of(pieces: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the window in whose core each piece lies; of the last one, for what lies behind all pieces."""
        return np.searchsorted(starts, pieces, side="right") - 1

    # In front of a piece stand all pieces before it and the special ones of the windows up to its own.
    row_of_piece = note.pieces + window_of(note.pieces) + 1
    alone = np.setdiff1d(np.arange(len(note.home)), note.tokens)
    core = window_of(note.home[alone])
    row_of_anchor = starts[core] + core
    tokens = np.concatenate([note.tokens, alone])
    rows = np.concatenate([row_of_piece, row_of_anchor])[np.argsort(tokens, kind="stable")]
    return _ragged(rows, np.bincount(tokens, minlength=len(note.home)))


def _ragged(rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Ragged:
    return Ragged(cast(Ints1d, rows.astype("int32")), cast(Ints1d, lengths.astype("int32")))


def row_count(windows: Sequence[PieceWindow]) -> int:
    """How many rows windows fill."""
    return sum(1 + window.core_end - window.core_start for window in windows)


def as_batch(
    docs: Sequence[Doc],
    notes: Sequence[NotePieces],
    windows: Sequence[PieceWindow],
    anchor: Tuple[int, str],
    vectors: Tensor,
    ops: Ops,
) -> NoteBatch:
    """The batch of all Docs from the rows (rows, width) of those that are not empty.

    notes: of these, and windows: theirs, note by note. anchor: id and string of the special piece that is kept.
    """
    by_note: List[List[PieceWindow]] = [[] for _ in notes]
    for window in windows:
        by_note[window.note].append(window)
    array: Any = torch2xp(vectors, ops=ops)
    data: List[TransformerData] = []
    rows, lengths = [], []
    start = 0
    remaining = iter(zip(notes, by_note))
    for doc in docs:
        if not len(doc):
            data.append(TransformerData.empty())
            continue
        note, its_windows = next(remaining)
        align = align_note(note, its_windows)
        end = start + row_count(its_windows)
        output = ModelOutput(last_hidden_state=array[start:end][None])
        data.append(TransformerData(_wordpieces(note, its_windows, anchor), output, align))
        rows.append(np.asarray(align.dataXd) + start)
        lengths.append(np.asarray(align.lengths))
        start = end
    return NoteBatch(
        spans=[[doc[:]] if len(doc) else [] for doc in docs],
        wordpieces=_joined([each.wordpieces for each in data if len(each.wordpieces)]),
        model_output=ModelOutput(last_hidden_state=vectors[None]),
        align=_ragged(np.concatenate(rows), np.concatenate(lengths)),
        cached_doc_data=data,
    )


def _wordpieces(note: NotePieces, windows: Sequence[PieceWindow], anchor: Tuple[int, str]) -> WordpieceBatch:
    number, name = anchor
    ids = np.insert(note.ids, [window.core_start for window in windows], number)
    return _one_row(ids, [piece for w in windows for piece in (name, *note.strings[w.core_start : w.core_end])])


def _joined(parts: Sequence[WordpieceBatch]) -> WordpieceBatch:
    ids = np.concatenate([cast(Any, part.input_ids)[0] for part in parts])
    return _one_row(ids, [piece for part in parts for piece in part.strings[0]])


def _one_row(ids: Any, strings: List[str]) -> WordpieceBatch:
    mask: Any = np.ones((1, len(ids)), dtype="float32")
    return WordpieceBatch([strings], ids[None], mask, [len(ids)], None)
