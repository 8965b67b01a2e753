"""Notes as word pieces, and which pieces belong to which token.

The model's view of a note is its text with every run of white space collapsed to one sign: a line end if the run holds
one, else a space. The note itself stays as it is; tokens are mapped into the view and pieces back to tokens.
"""

from __future__ import annotations

import re
from typing import Any, List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc

# A single space or line feed stands for itself; everything else that is white space is rewritten.
_RUN = re.compile(r"\s{2,}|[^\S \n]")
_LINE_ENDS = re.compile(r"[\n\r\v\f\x85\u2028\u2029]")

Ints = NDArray[np.int64]


class NotePieces(NamedTuple):
    """The word pieces of one note, without special ones.

    ids: (pieces,) numbers in the tokenizer's vocabulary. strings: what they stand for.
    tokens, pieces: (pairs,) which piece belongs to which token, by token; a piece may belong to several.
    ends: ascending numbers of pieces behind which no token is torn; the last is that of all pieces.
    home: (tokens,) the piece at or behind which a token lies, for tokens that have no piece of their own.
    """

    ids: Ints
    strings: List[str]
    tokens: Ints
    pieces: Ints
    ends: Ints
    home: Ints


class CollapsedText(NamedTuple):
    """A text with its runs of white space collapsed. starts, lengths: (runs,) of those that were rewritten."""

    text: str
    starts: Ints
    lengths: Ints

    def positions(self, characters: Ints) -> Ints:
        """Offsets of characters of the original text, as offsets into the view."""
        if not len(self.starts):
            return characters
        run = np.searchsorted(self.starts, characters, side="right") - 1
        removed = np.concatenate([[0], np.cumsum(self.lengths - 1)])
        inside = (run >= 0) & (characters < self.starts[run] + self.lengths[run])
        return np.where(inside, self.starts[run] - removed[run], characters - removed[run + 1])


def collapse(text: str) -> CollapsedText:
    """The model's view of a text."""
    runs: List[Tuple[int, int]] = []

    def shorten(match: re.Match) -> str:
        runs.append((match.start(), match.end() - match.start()))
        return "\n" if _LINE_ENDS.search(match.group()) else " "

    shortened = _RUN.sub(shorten, text)
    starts, lengths = np.array(runs, dtype="int64").reshape(-1, 2).T
    return CollapsedText(shortened, starts, lengths)


def split_notes(docs: Sequence[Doc], tokenizer: Any) -> List[NotePieces]:
    """The word pieces of notes that are not empty, each note split as a whole and never truncated.

    tokenizer: a fast Hugging Face tokenizer, which tells where in the text each piece lies.
    """
    if not docs:
        return []
    views = [collapse(doc.text) for doc in docs]
    encoded = tokenizer(
        [view.text for view in views],
        add_special_tokens=False,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_offsets_mapping=True,
        verbose=False,
    )
    return [
        _align(doc, view, np.array(ids, dtype="int64"), np.array(offsets, dtype="int64"), tokenizer)
        for doc, view, ids, offsets in zip(docs, views, encoded["input_ids"], encoded["offset_mapping"])
    ]


def count_pieces(texts: Sequence[str], tokenizer: Any) -> List[int]:
    """How many word pieces texts have, without special ones."""
    views = [collapse(text).text for text in texts]
    return [
        len(ids) for ids in tokenizer(views, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    ]


def _align(doc: Doc, view: CollapsedText, ids: Ints, offsets: Ints, tokenizer: Any) -> NotePieces:
    starts, lengths = doc.to_array([IDX, LENGTH]).astype("int64").T
    token_starts = view.positions(starts)
    token_ends = view.positions(starts + lengths - 1) + 1
    piece_starts, piece_ends = _trim(view.text, *offsets.reshape(-1, 2).T)
    # A piece belongs to the tokens from the first that ends behind its start to the last that starts before its end.
    first = np.searchsorted(token_ends, piece_starts, side="right")
    last = np.searchsorted(token_starts, piece_ends, side="left")
    counts = np.maximum(last - first, 0)
    pieces = np.repeat(np.arange(len(ids)), counts)
    tokens = np.arange(len(pieces)) - np.repeat(np.cumsum(counts) - counts, counts) + first[pieces]
    order = np.argsort(tokens, kind="stable")
    if len(ids):
        torn = np.maximum.accumulate(last)[:-1] > first[1:]
        ends = np.append(np.flatnonzero(~torn) + 1, len(ids))
    else:
        ends = np.zeros(0, dtype="int64")
    home = np.searchsorted(np.maximum.accumulate(piece_starts), token_starts)
    return NotePieces(ids, tokenizer.convert_ids_to_tokens(ids.tolist()), tokens[order], pieces[order], ends, home)


def _trim(text: str, starts: Ints, ends: Ints) -> Tuple[Ints, Ints]:
    """Pieces without the white space around them, unless they hold nothing else.

    Some tokenizers count the space before a word to its first piece. Without it a token of white space is never
    represented by the word beside it, from which no model could tell it then.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="uint32")
    filled = (codes != ord(" ")) & (codes != ord("\n"))
    positions = np.arange(len(codes) + 1)
    # For every offset the first one from there on that is filled, and the end of the last filled one before it.
    after = np.minimum.accumulate(np.where(np.append(filled, True), positions, len(codes))[::-1])[::-1]
    before = np.maximum.accumulate(np.where(np.append(True, filled), positions, 0))
    trimmed_starts, trimmed_ends = after[starts], before[ends]
    empty = trimmed_starts >= trimmed_ends
    return np.where(empty, starts, trimmed_starts), np.where(empty, ends, trimmed_ends)
