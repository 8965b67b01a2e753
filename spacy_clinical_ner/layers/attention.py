"""Multi-head scaled dot-product attention (Vaswani et al. 2017, section 3.2), and the encoder that is made of it."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., length, heads * width) -> (..., heads, length, width)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(..., heads, length, width) -> (..., length, heads * width): the inverse of `split_heads`."""
    return x.transpose(-3, -2).flatten(-2)


def scaled_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Dot products over the root of the width: (..., n, width), (..., m, width) -> (..., n, m)."""
    return queries @ keys.transpose(-1, -2) / queries.shape[-1] ** 0.5


def attention_weights(scores: Tensor, keep: Optional[Tensor] = None) -> Tensor:
    """Softmax over the last axis, on the positions that `keep` (bool, broadcast) allows; 0 where it allows none."""
    if keep is None:
        return scores.softmax(-1)
    # A finite number, since -inf everywhere would make nan of a row and of its gradient.
    return scores.masked_fill(~keep, torch.finfo(scores.dtype).min).softmax(-1) * keep


class MultiHeadAttention(nn.Module):
    """Every token attends to all tokens of its window; several heads side by side (CCKS-2019 system, Eq. 3-5).

    Works best behind an encoder that knows the order of the tokens, which attention does not.

    input_width: width of the vectors it reads, and of its result (`output_width`).
    heads: number of heads. They share the input width; where it does not divide, queries, keys and values are projected
        to the next multiple of `heads`, and their result back.
    dropout: on the attention weights.
    residual: add the input to the result, as the transformer does; without, it is the plain equation.
    """

    def __init__(self, input_width: int, heads: int = 8, dropout: float = 0.1, residual: bool = True) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"attention needs at least one head, not {heads}")
        inner = -(-input_width // heads) * heads
        self.heads = heads
        self.residual = residual
        self.query = nn.Linear(input_width, inner)
        self.key = nn.Linear(input_width, inner)
        self.value = nn.Linear(input_width, inner)
        self.output = nn.Linear(inner, input_width)
        self.dropout = nn.Dropout(dropout)
        self.output_width = input_width
        for linear in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (windows, length, input_width), mask: (windows, length) -> (windows, length, input_width)."""
        queries, keys, values = (split_heads(f(x), self.heads) for f in (self.query, self.key, self.value))
        weights = attention_weights(scaled_scores(queries, keys), mask[:, None, None, :])
        y = self.output(merge_heads(self.dropout(weights) @ values))
        return (x + y if self.residual else y) * mask.unsqueeze(-1)
