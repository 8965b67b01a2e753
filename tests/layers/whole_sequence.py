"""Focused attention the slow way: Hugging Face's own layers over the whole window, once for each pair."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from spacy_clinical_ner.layers.focused_attention import FocusedEncoder, PairBatch, task_mask


def small_bert(layers: int = 4, width: int = 24, heads: int = 3, vocab: int = 40, **others) -> BertModel:
    """Random weights, larger than BERT's own so that attention is far from uniform."""
    config = BertConfig(
        vocab_size=vocab,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=160,
        initializer_range=0.3,
        **others,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def whole_sequence(encoder: FocusedEncoder, hidden: Tensor, mask: Tensor, pairs: PairBatch, form: str) -> Tensor:
    """What `FocusedEncoder.pairs` gives, [CLS] of each pair (pairs, width)."""
    return whole_layers(encoder, hidden, task_mask(mask, pairs, form), pairs)[:, 0]


def whole_layers(encoder: FocusedEncoder, hidden: Tensor, allowed: Tensor, pairs: PairBatch) -> Tensor:
    """(pairs, length, width), every position behind the last K layers."""
    x = hidden[pairs.window]
    added = torch.zeros(allowed.shape, dtype=x.dtype).masked_fill(~allowed, torch.finfo(x.dtype).min).unsqueeze(1)
    for layer in encoder.layers[-encoder.task_layers :]:
        found = layer(x, attention_mask=added)
        x = found if isinstance(found, Tensor) else found[0]
    return x


def random_case(rng: torch.Generator, vocab: int = 40) -> tuple[Tensor, Tensor, PairBatch]:
    """Word pieces, their mask, and pairs of mentions that may touch, overlap, or be one and the same."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    windows = number(1, 4)
    lengths = [number(2, 14) for _ in range(windows)]
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
    ids = torch.randint(1, vocab, mask.shape, generator=rng).masked_fill(~mask, 0)
    rows, places = [], []
    for _ in range(number(1, 9)):
        row = number(0, windows - 1)
        members = {0}
        for _ in range(2):
            start = number(1, lengths[row] - 1)
            members.update(range(start, number(start + 1, lengths[row])))
        rows.append(row)
        places.append(sorted(members))
    most = max(map(len, places))
    positions = torch.tensor([row + [0] * (most - len(row)) for row in places])
    members = torch.tensor([[True] * len(row) + [False] * (most - len(row)) for row in places])
    return ids, mask, PairBatch(torch.tensor(rows), positions, members)
