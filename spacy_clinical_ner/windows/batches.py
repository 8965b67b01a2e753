"""Batches of windows for an encoder and of whole notes for a decoder, as tensors. Knows nothing of Docs."""

from __future__ import annotations

import math
from typing import Callable, List, NamedTuple, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class WindowBatch(NamedTuple):
    """Windows of about the same length, as rows into the flat token vectors of a batch.

    rows: (windows, length) long, the token at each position (any at padding).
    mask: (windows, length) bool, True for tokens.
    core: (windows, length) bool, True where this window's result is the one to keep; False in its context.
    """

    rows: Tensor
    mask: Tensor
    core: Tensor


def over_windows(
    vectors: Tensor, batches: Sequence[WindowBatch], function: Callable[[Tensor, WindowBatch], Tensor]
) -> Tensor:
    """vectors: (tokens, width) -> (tokens, ...), what `function` gives for the core tokens of each batch of windows.

    Each token is core in exactly one window of one batch, so the results are put back by a permutation.
    """
    kept = [function(vectors[batch.rows] * batch.mask.unsqueeze(-1), batch) for batch in batches]
    origin = torch.cat([batch.rows[batch.core] for batch in batches])
    return torch.cat(kept)[torch.argsort(origin)]


def group_by_length(
    lengths: Sequence[int], max_tokens: int, max_ratio: float = math.inf, longest_first: bool = False
) -> List[List[int]]:
    """Indices grouped so that each group, padded to its longest member, holds at most `max_tokens` (or one member).

    What has no length is left out. max_ratio: of the longest to the shortest member of a group, a bound on padding.
    longest_first: begin with the group that needs most memory, so that it is the first to fail, if any does.
    """
    groups: List[List[int]] = []
    filled = [index for index, length in enumerate(lengths) if length]
    for index in sorted(filled, key=lambda i: lengths[i], reverse=longest_first):
        shortest, longest = sorted((lengths[index], lengths[groups[-1][0]])) if groups else (0, 0)
        if groups and longest * (len(groups[-1]) + 1) <= max_tokens and longest <= max_ratio * shortest:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def pad_chains(arrays: Sequence[Tensor], chains: int) -> tuple[Tensor, Tensor]:
    """Arrays (length, chains * tags) to scores (notes * chains, longest, tags) and their mask."""
    padded = pad_sequence(list(arrays), batch_first=True)
    notes, longest, width = padded.shape
    scores = padded.view(notes, longest, chains, width // chains).transpose(1, 2)
    lengths = torch.tensor([len(array) for array in arrays], device=padded.device)
    mask = torch.arange(longest, device=padded.device) < lengths.repeat_interleave(chains).unsqueeze(1)
    return scores.reshape(notes * chains, longest, width // chains), mask
