"""Attention heads that look at neighbouring word pieces before they have learnt anything.

What a masked piece is depends most on the pieces beside it, and a transformer has to find out first what "beside"
means. With few notes that alone takes most of the training. Here the position embeddings are waves, and some heads of
the lower layers begin with projections that turn a position's wave into that of the position so many pieces on, so
that the pieces there get nearly all of the attention. Trockman and Kolter (2023) start attention in like manner from
what trained transformers look like. Everything can still be unlearnt.
"""

from __future__ import annotations

import math
from typing import Any, Tuple

import torch

# How many pieces on (or back, below 0) each head looks, by layer; further heads and layers are left alone.
OFFSETS: Tuple[Tuple[int, ...], ...] = ((-1, 1, -2, 2), (-1, 1, -3, 3))
PEAK = 8.0  # attention score of the piece looked at, in nats above that of others
NOISE = 0.3  # share of the random weights that is left in the projections of these heads
_SPACING = 1.5  # frequencies lie closer together where they are low, so that no two far positions look alike


def attend_to_neighbours(model: Any) -> int:
    """Set position embeddings and projections of a new BertForMaskedLM; return how many dimensions positions take.

    These are the first ones, as many as a head has; word pieces have nothing there from now on. 0, and nothing is
    changed, if a head is too narrow for waves or so wide that no dimensions are left to words.
    """
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    taken = width - width % 2
    if taken < 4 or taken > config.hidden_size // 2:
        return 0
    embeddings = model.bert.embeddings
    size = config.initializer_range
    with torch.no_grad():
        positions = embeddings.position_embeddings.weight
        positions.zero_()
        positions[:, :taken] = waves(len(positions), taken) * (math.sqrt(2) * size)
        embeddings.word_embeddings.weight[:, :taken] = 0.0
        embeddings.token_type_embeddings.weight.zero_()
        # Normalised, a position has size 1 in each dimension, so that its product with itself is `taken`.
        gain = math.sqrt(PEAK * math.sqrt(width) / taken)
        for layer, offsets in zip(model.bert.encoder.layer, OFFSETS):
            attention = layer.attention.self
            for head, offset in zip(range(config.num_attention_heads), offsets):
                rows = slice(head * width, head * width + taken)
                for projection, turn in ((attention.query, shift(offset, taken)), (attention.key, torch.eye(taken))):
                    projection.weight[rows] *= NOISE
                    projection.weight[rows, :taken] += gain * turn
    return taken


def waves(length: int, width: int) -> torch.Tensor:
    """(length, width): sine and cosine of each position at width / 2 frequencies, side by side."""
    angles = torch.arange(length)[:, None] * _frequencies(width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(length, width)


def shift(offset: int, width: int) -> torch.Tensor:
    """(width, width): the matrix that turns the waves of a position t into those of t + offset."""
    angles = offset * _frequencies(width)
    sine, cosine = angles.sin(), angles.cos()
    blocks = torch.stack([torch.stack([cosine, sine], dim=1), torch.stack([-sine, cosine], dim=1)], dim=1)
    return torch.block_diag(*blocks)


def _frequencies(width: int) -> torch.Tensor:
    pairs = width // 2
    return math.pi * ((torch.arange(pairs) + 0.5) / pairs) ** _SPACING
