"""Where sentences end: one rule for windows, views, relations, statistics and the cutting of training notes."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, ORTH, SENT_START
from spacy.tokens import Doc

_TERMINALS = (".", "!", "?", "。", "！", "？", "；", "…")
_CLOSING = ('"', "'", ")", "]", "}", "»", "”", "’", "」", "』", "）", "】")


def sentence_ends(doc: Doc) -> NDArray[np.int64]:
    """Ascending token offsets just behind each sentence; the last is behind the last token, if there is one.

    They are those that the Doc is annotated with, if it is; else just behind a terminal sign or a line end.
    """
    if not len(doc):
        return np.zeros(0, dtype="int64")
    if doc.has_annotation("SENT_START"):
        return np.append(np.flatnonzero(doc.to_array(SENT_START)[1:] == 1) + 1, len(doc))
    ends = _is_one_of(doc, _TERMINALS)
    for position in np.flatnonzero(doc.to_array(IS_SPACE)):
        text = doc[int(position)].text
        ends[position] = "\n" in text or "\r" in text
    ends[-1] = True
    return np.flatnonzero(ends) + 1


def sentence_starts(doc: Doc) -> NDArray[np.int64]:
    """Ascending token offsets where the second and later sentences start, for texts that are to stand by themselves.

    What closes a sentence behind its end (`sentence_ends`) stays with it: white space, quotes, brackets, more signs.
    """
    opens = np.flatnonzero(~(_is_one_of(doc, _TERMINALS + _CLOSING) | (doc.to_array(IS_SPACE) > 0)))
    following = np.searchsorted(opens, sentence_ends(doc))
    return np.unique(opens[following[following < len(opens)]])


def _is_one_of(doc: Doc, words: Sequence[str]) -> NDArray[np.bool_]:
    """(tokens,) whether each token is one of the words."""
    return np.isin(doc.to_array(ORTH), np.array([doc.vocab.strings[word] for word in words], dtype="uint64"))
