"""Batches: of whole notes on the way in, of their windows for an encoder, and of whole notes for the decoder."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Sequence

import numpy as np
import torch
from spacy.tokens import Doc
from torch import Tensor

from spacy_clinical_ner.layers.tagger_network import WindowBatch
from spacy_clinical_ner.windows.planning import Window, batch_by_length, plan_windows


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


def window_batches(
    docs: Sequence[Doc], device: torch.device, window: int, context: int, max_batch_tokens: int, pack: bool = True
) -> List[WindowBatch]:
    """The windows of notes (see `plan_windows`) in groups of about the same length, at most `max_batch_tokens` each."""
    windows = plan_windows(docs, window, context, pack)
    groups = batch_by_length([len(each) for each in windows], max_batch_tokens)
    return [_pad([windows[i] for i in group], device) for group in groups]


def _pad(windows: List[Window], device: torch.device) -> WindowBatch:
    starts, ends = (np.array([getattr(w, name) for w in windows])[:, None] for name in ("start", "end"))
    first = np.array([w.context_start for w in windows])[:, None]
    last = np.array([w.context_end for w in windows])[:, None]
    rows = first + np.arange(int((last - first).max()))
    mask = rows < last
    core = (rows >= starts) & (rows < ends)
    rows = np.where(mask, rows, first)
    return WindowBatch(*(torch.from_numpy(array).to(device) for array in (rows, mask, core)))


def alike(lengths: Sequence[int], max_tokens: int) -> Iterator[List[int]]:
    """Indices of notes of about the same length; empty notes are left out: they have nothing to decode."""
    filled = [i for i, length in enumerate(lengths) if length]
    for group in batch_by_length([lengths[i] for i in filled], max_tokens):
        yield [filled[i] for i in group]


def pad_chains(arrays: List[Tensor], chains: int) -> tuple[Tensor, Tensor]:
    """Arrays (length, chains * tags) to scores (notes * chains, longest, tags) and their mask."""
    padded = torch.nn.utils.rnn.pad_sequence(arrays, batch_first=True)
    notes, longest, width = padded.shape
    scores = padded.view(notes, longest, chains, width // chains).transpose(1, 2)
    lengths = torch.tensor([len(array) for array in arrays], device=padded.device)
    mask = torch.arange(longest, device=padded.device) < lengths.repeat_interleave(chains).unsqueeze(1)
    return scores.reshape(notes * chains, longest, width // chains), mask
