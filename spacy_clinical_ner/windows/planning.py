"""Cutting notes into windows that an encoder can take, without a token lost or decided at an edge.

A window has a core, whose results are kept, and context on both sides, which is read and thrown away. The cores of a
note follow each other without gap or overlap; they end at sentence-like ends where there are any, and are never longer
than `size`. The CRF then decodes over the emissions of the whole note, so a mention may cross from core to core.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Union

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, ORTH, SENT_START
from spacy.tokens import Doc

_TERMINALS = (".", "!", "?", "。", "！", "？", "；", "…")


class Window(NamedTuple):
    """Token offsets into a batch of notes laid end to end; context_start <= start < end <= context_end."""

    context_start: int
    start: int
    end: int
    context_end: int

    def __len__(self) -> int:  # tokens that the encoder reads
        return self.context_end - self.context_start


def sentence_ends(doc: Doc) -> NDArray[np.int64]:
    """Ascending token offsets where sentences end; the last is behind the last token, if there is one.

    They are those that the Doc is annotated with, if it is; else just behind a terminal sign or a line end.
    """
    if not len(doc):
        return np.zeros(0, dtype="int64")
    if doc.has_annotation("SENT_START"):
        return np.append(np.flatnonzero(doc.to_array(SENT_START)[1:] == 1) + 1, len(doc))
    orth, is_space = doc.to_array([ORTH, IS_SPACE]).T
    strings = doc.vocab.strings
    ends = np.isin(orth, np.array([strings[sign] for sign in _TERMINALS], dtype="uint64"))
    for position in np.flatnonzero(is_space):
        text = doc[int(position)].text
        ends[position] = "\n" in text or "\r" in text
    ends[-1] = True
    return np.flatnonzero(ends) + 1


def cut(length: int, ends: Union[Sequence[int], NDArray[np.int64]], size: int, pack: bool = True) -> List[int]:
    """Where the cores of a note of `length` tokens end: as many whole sentences each as fit into `size` tokens.

    Without `pack`, one sentence each. A sentence longer than `size` is cut hard. Raises ValueError if size < 1.
    """
    if size < 1:
        raise ValueError(f"a window must hold at least one token, not {size}")
    candidates = np.asarray(ends, dtype="int64")
    if not pack:
        starts = [0, *candidates[:-1].tolist()]
        sentences = zip(starts, candidates.tolist())
        return [min(edge, end) for start, end in sentences for edge in range(start + size, end + size, size)]
    edges: List[int] = []
    start = 0
    while start < length:
        if length - start <= size:
            edges.append(length)
            break
        fitting = int(np.searchsorted(candidates, start + size, side="right")) - 1
        end = int(candidates[fitting]) if fitting >= 0 else start
        start = end if end > start else start + size
        edges.append(start)
    return edges


def plan_windows(docs: Sequence[Doc], size: int, context: int, pack: bool = True) -> List[Window]:
    """Windows over the tokens of all docs laid end to end; no window reads across the edge of its note.

    size, pack: as in `cut`. context: tokens that are read on both sides of a core.
    """
    windows = []
    offset = 0
    for doc in docs:
        length = len(doc)
        start = 0
        ends = sentence_ends(doc) if length > size or not pack else [length]
        for end in cut(length, ends, size, pack):
            windows.append(
                Window(
                    offset + max(0, start - context),
                    offset + start,
                    offset + end,
                    offset + min(length, end + context),
                )
            )
            start = end
        offset += length
    return windows


def batch_by_length(lengths: Sequence[int], max_tokens: int) -> List[List[int]]:
    """Indices grouped so that each group, padded to its longest member, holds at most `max_tokens` (or one member)."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    groups: List[List[int]] = []
    for index in order:
        if groups and lengths[index] * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
