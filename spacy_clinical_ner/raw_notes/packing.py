"""Notes as word pieces, and packed into sequences of one length: no padding but in the last sequence of an epoch."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Sequence

import numpy

from spacy_clinical_ner.transformers.special_pieces import special_pieces

_SPACE = "\u2581"  # what SentencePiece writes for it
_AT_ONCE = 256  # notes that the tokenizer is given at a time: its offsets take much more memory than the ids


@dataclass(frozen=True)
class EncodedNotes:
    """The word pieces of all notes, end to end.

    ids: (pieces,) int32. starts: (pieces,) bool, whether a word begins here. bounds: (notes + 1,) int64, where in
    `ids` each note begins and ends.
    """

    ids: numpy.ndarray
    starts: numpy.ndarray
    bounds: numpy.ndarray

    @property
    def notes(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True)
class Packed:
    """Sequences of one length. ids: (sequences, length) int32, padded with the padding id in the last row only.

    words: (sequences, length) int32, the number of the word within its row that a piece belongs to; -1 for special
    pieces, unknown words and padding, which are never to be predicted. lengths: (sequences,) int64, without padding.
    """

    ids: numpy.ndarray
    words: numpy.ndarray
    lengths: numpy.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def encode_notes(tokenizer: Any, texts: Sequence[str]) -> EncodedNotes:
    """Word pieces of each text, without special ones.

    tokenizer: a fast tokenizer, which knows where words begin; where it takes more for one word (SentencePiece a whole
    clause of Chinese, or a whole note), they also begin behind a space and at each Chinese character.
    """
    begins = _BeginsWord()
    ids: List[numpy.ndarray] = []
    starts: List[numpy.ndarray] = []
    bounds = [0]
    for first in range(0, len(texts), _AT_ONCE):
        batch = tokenizer.backend_tokenizer.encode_batch(
            list(texts[first : first + _AT_ONCE]), add_special_tokens=False
        )
        for encoding in batch:
            words = numpy.array([-1 if word is None else word for word in encoding.word_ids], dtype=numpy.int64)
            ids.append(numpy.array(encoding.ids, dtype=numpy.int32))
            marked = numpy.array([begins[piece] for piece in encoding.tokens], dtype=bool)
            starts.append((numpy.diff(words, prepend=-2) != 0) | marked)
            bounds.append(bounds[-1] + len(words))
    empty = numpy.zeros(0)
    return EncodedNotes(
        numpy.concatenate([empty, *ids]).astype(numpy.int32),
        numpy.concatenate([empty, *starts]).astype(bool),
        numpy.array(bounds, dtype=numpy.int64),
    )


class _BeginsWord(Dict[str, bool]):
    """Whether a piece shows by itself that it begins a word; filled as pieces come."""

    def __missing__(self, piece: str) -> bool:
        first = piece[:1]
        self[piece] = first == _SPACE or (first > "\u2e7f" and unicodedata.name(first, "").startswith("CJK"))
        return self[piece]


def frame_pieces(tokenizer: Any) -> Dict[str, int]:
    """Numbers of the pieces before, between and behind notes (`cls`, `sep`), and of the padding (`pad`).

    Raises ValueError for a tokenizer that puts nothing around a text.
    """
    special = special_pieces(tokenizer)
    around = [*special.prefix, *special.suffix]
    found = {"cls": tokenizer.cls_token_id, "sep": tokenizer.sep_token_id, "pad": tokenizer.pad_token_id}
    for name, instead in (("cls", around[0]), ("sep", around[-1]), ("pad", around[-1])):
        if found[name] is None:
            found[name] = instead
    return found


def count_sequences(notes: EncodedNotes, length: int) -> int:
    """How many sequences `pack` makes of these notes, in any order."""
    filled = numpy.count_nonzero(numpy.diff(notes.bounds))
    pieces = len(notes.ids) + max(0, filled - 1)
    return -(-pieces // (length - 2))


def pack(
    notes: EncodedNotes, order: Iterable[int], length: int, *, cls: int, sep: int, pad: int, special: Sequence[int]
) -> Packed:
    """Lay the notes end to end in this order, with `sep` between them, and cut that into rows `cls ... sep`.

    Rows are full, whatever that cuts: words at an edge are two words to the masking. Every piece of every note in
    `order` stands in exactly one row.
    """
    room = length - 2
    ids: List[numpy.ndarray] = []
    starts: List[numpy.ndarray] = []
    for index in order:
        begin, end = notes.bounds[index], notes.bounds[index + 1]
        if begin == end:
            continue
        ids += [notes.ids[begin:end], numpy.array([sep], dtype=numpy.int32)]
        starts += [notes.starts[begin:end], numpy.array([True])]
    stream = numpy.concatenate([numpy.zeros(0, dtype=numpy.int32), *ids[:-1]])
    begins = numpy.concatenate([numpy.zeros(0, dtype=bool), *starts[:-1]])
    rows = -(-len(stream) // room)
    lengths = numpy.full(rows, length, dtype=numpy.int64)
    if rows:
        lengths[-1] = len(stream) - (rows - 1) * room + 2
    body = numpy.full(rows * room, pad, dtype=numpy.int32)
    body[: len(stream)] = stream
    edges = numpy.ones(rows * room, dtype=bool)
    edges[: len(stream)] = begins
    packed = numpy.full((rows, length), pad, dtype=numpy.int32)
    packed[:, 0] = cls
    packed[:, 1:-1] = body.reshape(rows, room)
    packed[numpy.arange(rows), lengths - 1] = sep
    begin_word = edges.reshape(rows, room)
    words = numpy.full((rows, length), -1, dtype=numpy.int32)
    words[:, 1:-1] = begin_word.cumsum(axis=1) - begin_word[:, :1]
    words[numpy.isin(packed, numpy.array(special))] = -1
    return Packed(packed, words, lengths)
