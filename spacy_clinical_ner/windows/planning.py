"""Cutting notes into windows that an encoder can take, without a token lost or decided at an edge.

A window has a core, whose results are kept, and context on both sides, which is read and thrown away. The cores of a
note follow each other without gap or overlap; they end at sentence-like ends where there are any, and are never longer
than `size`. The CRF then decodes over the emissions of the whole note, so a mention may cross from core to core.
"""

from __future__ import annotations

from typing import Iterable, Iterator, List, NamedTuple, Sequence, Union

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc

from spacy_clinical_ner.windows.batches import WindowBatch, group_by_length
from spacy_clinical_ner.windows.sentences import sentence_ends


class WindowSettings(NamedTuple):
    """How notes are cut into windows for an encoder.

    window, context: tokens in a window's core, and tokens read on both sides of it.
    max_batch_tokens: tokens that the encoder sees at once; bounds memory, changes no result.
    pack: whether a window may hold several sentences. False, with a context of 0, reads sentence by sentence and cuts
        those longer than `window`, as most papers do; decoding runs over the whole note all the same.
    """

    window: int = 128
    context: int = 16
    max_batch_tokens: int = 8192
    pack: bool = True


class Window(NamedTuple):
    """Token offsets into a batch of notes laid end to end; context_start <= start < end <= context_end."""

    context_start: int
    start: int
    end: int
    context_end: int

    def __len__(self) -> int:  # tokens that the encoder reads
        return self.context_end - self.context_start


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
    while length - start > size:
        last = int(np.searchsorted(candidates, start + size, side="right")) - 1
        end = int(candidates[last]) if last >= 0 else start
        start = end if end > start else start + size
        edges.append(start)
    return [*edges, length] if length else []


def plan_windows(docs: Sequence[Doc], size: int, context: int, pack: bool = True) -> List[Window]:
    """Windows over the tokens of all docs laid end to end; no window reads across the edge of its note.

    size, pack: as in `cut`. context: tokens that are read on both sides of a core.
    """
    windows = []
    first = 0  # token of the note
    for doc in docs:
        behind = first + len(doc)
        start = first
        ends = sentence_ends(doc) if len(doc) > size or not pack else [len(doc)]
        for end in (first + edge for edge in cut(len(doc), ends, size, pack)):
            windows.append(Window(max(first, start - context), start, end, min(behind, end + context)))
            start = end
        first = behind
    return windows


def window_batches(docs: Sequence[Doc], device: torch.device, settings: WindowSettings) -> List[WindowBatch]:
    """The windows of notes (see `plan_windows`) in groups of about the same length, at most `max_batch_tokens` each."""
    windows = plan_windows(docs, settings.window, settings.context, settings.pack)
    groups = group_by_length([len(each) for each in windows], settings.max_batch_tokens)
    return [_pad([windows[i] for i in group], device) for group in groups]


def _pad(windows: Sequence[Window], device: torch.device) -> WindowBatch:
    first, start, end, last = (column[:, None] for column in np.array([[*window] for window in windows]).T)
    rows = first + np.arange(int((last - first).max()))
    mask = rows < last
    core = (rows >= start) & (rows < end)
    rows = np.where(mask, rows, first)
    return WindowBatch(*(torch.from_numpy(array).to(device) for array in (rows, mask, core)))


def batch_docs(docs: Iterable[Doc], max_docs: int, max_tokens: int) -> Iterator[List[Doc]]:
    """Batches of a stream, in its order, of at most `max_docs` and `max_tokens`; a longer note goes alone."""
    batch: List[Doc] = []
    tokens = 0
    for doc in docs:
        if batch and (len(batch) >= max_docs or tokens + len(doc) > max_tokens):
            yield batch
            batch, tokens = [], 0
        batch.append(doc)
        tokens += len(doc)
    if batch:
        yield batch
