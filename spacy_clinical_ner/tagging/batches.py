"""Batches of whole notes: bounded in tokens on the way in, padded together on the way to the decoder."""

from __future__ import annotations

from typing import Iterable, Iterator, List, Sequence

import torch
from spacy.tokens import Doc
from torch import Tensor

from spacy_clinical_ner.tagging.windows import batch_by_length


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
