"""Focused attention: one BERT whose last layers are run once per task, with the same weights and the task's mask.

"Fine-tuning BERT for Joint Entity and Relation Extraction in Chinese Medical Text" (Xue et al., BIBM 2019).
"""

from __future__ import annotations

from typing import Any, Callable, List, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

# Names of Hugging Face configs (`model_type`) whose modules are laid out as BERT's.
FAMILY = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
MASKS = ("eq13", "eq14")


class PairBatch(NamedTuple):
    """Candidate pairs and the positions that they are about.

    window: (pairs,) row of the window in its batch.
    positions: (pairs, places) long, positions in the window: [CLS], which is position 0, in the first column, then
        the word pieces of both mentions, each once; 0 at padding.
    members: (pairs, places) bool, False at padding. The first column is always True.
    """

    window: Tensor
    positions: Tensor
    members: Tensor


def task_mask(mask: Tensor, pairs: PairBatch, form: str) -> Tensor:
    """(pairs, length, length) bool, [p, i, j] = in the task of pair p, position i attends to position j.

    mask: (windows, length) bool, False at padding. form: one of `MASKS`.
        "eq13", the paper's Eq. 13: [CLS] attends to itself and to the word pieces of the two mentions only; every
            other position attends to the whole window, [CLS] included. What stands elsewhere may reach [CLS] through
            the mentions: from the second of the layers on, with all that the mentions have read in the first.
        "eq14", the paper's Eq. 14: [CLS] and the word pieces of the two mentions attend to each other only, all
            other positions to nothing. What stands elsewhere cannot reach [CLS] within these layers.
    The paper's text is read so; its matrices are not printed element by element. Raises ValueError for another form.
    """
    check_mask(form)
    inside = _member_columns(pairs, mask.shape[1])
    if form == "eq14":
        return inside.unsqueeze(2) & inside.unsqueeze(1)
    full = mask[pairs.window].unsqueeze(1) & mask[pairs.window].unsqueeze(2)
    return torch.cat([inside.unsqueeze(1), full[:, 1:]], dim=1)


def check_mask(form: str) -> None:
    """Raise ValueError for a mask that is not in `MASKS`."""
    if form not in MASKS:
        raise ValueError(f"unknown mask '{form}': choose one of {', '.join(MASKS)}")


class FocusedEncoder(nn.Module):
    """A Hugging Face encoder of BERT's family in two parts: layers that all tasks share, and layers run once per task.

    model: a `BertModel` or one that shares its layout (see `FAMILY`). Its weights are used as they are; what it does
        after its last layer is not.
    task_layers: K, how many of the last layers are run once for each task, from 1 to all of them.

    The results are those of the whole sequence under `task_mask`, but only what [CLS] depends on is computed. A
    position that may attend to nothing gets 0 from the attention, never NaN.
    Raises ValueError for a model of another layout and for a K that it has no layers for.

    recompute: in training, compute activations anew in the backward pass (Chen et al. 2016), so that memory holds those
        of one call of `shared`, `entities` or `pairs`, with the same dropout, and not those of all.
    """

    recompute = False

    def __init__(self, model: nn.Module, task_layers: int) -> None:
        super().__init__()
        config = cast(Any, model).config
        check_layout(config)
        if not 1 <= task_layers <= config.num_hidden_layers:
            raise ValueError(
                f"task_layers must be from 1 to the encoder's {config.num_hidden_layers} layers, not {task_layers}"
            )
        self.model = model
        self.task_layers = task_layers
        self.output_width: int = config.hidden_size

    @property
    def layers(self) -> List[nn.Module]:
        """All layers, the first one first."""
        return list(cast(Any, self.model).encoder.layer)

    def shared(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids: (windows, length) word pieces; mask: the same shape, False at padding -> (windows, length, width).

        The hidden states behind the first N-K layers.
        """
        model = cast(Any, self.model)
        x = model.embeddings(input_ids=ids)
        if hasattr(model, "embeddings_project"):
            x = model.embeddings_project(x)
        return self._run(self._full, self.layers[: -self.task_layers], x, mask)

    def entities(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The last K layers with full attention. hidden: as `shared` gives it -> the same shape."""
        return self._run(self._full, self.layers[-self.task_layers :], hidden, mask)

    def pairs(self, hidden: Tensor, mask: Tensor, pairs: PairBatch, form: str) -> Tensor:
        """The last K layers under the mask of each pair. hidden: as `shared` gives it -> [CLS] (pairs, width)."""
        check_mask(form)
        focus = self._among_members if form == "eq14" else self._one_way
        return self._run(focus, hidden, mask, pairs)[:, 0]

    def _run(self, compute: Callable[..., Tensor], *inputs: Any) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(compute, *inputs, use_reentrant=False))
        return compute(*inputs)

    def _full(self, layers: List[nn.Module], x: Tensor, mask: Tensor) -> Tensor:
        for layer in layers:
            x = self._layer(layer, x, x, mask.unsqueeze(1))
        return x

    def _among_members(self, hidden: Tensor, mask: Tensor, pairs: PairBatch) -> Tensor:
        """Eq. 14: nothing but the members is ever looked at, so they are packed and the rest is left behind."""
        *layers, last = self.layers[-self.task_layers :]
        x = hidden[pairs.window.unsqueeze(1), pairs.positions]
        members = pairs.members.unsqueeze(1)
        for layer in layers:
            x = self._layer(layer, x, x, members)
        return self._layer(last, x[:, :1], x, members)

    def _one_way(self, hidden: Tensor, mask: Tensor, pairs: PairBatch) -> Tensor:
        """Eq. 13. Before its first layer all pairs of a window are alike, so there only [CLS] is computed for each.

        [CLS] is a key of the other positions, so from then on these differ by pair as well, until the last layer but
        one, behind which only the members count, and the last, behind which only [CLS] does.
        """
        first, *others = self.layers[-self.task_layers :]
        rows = pairs.window.unsqueeze(1)
        members = pairs.members.unsqueeze(1)
        x = hidden[rows, pairs.positions]
        cls = self._layer(first, x[:, :1], x, members)
        if not others:
            return cls
        alike = self._layer(first, hidden, hidden, mask.unsqueeze(1))
        *middle, last = others
        if middle:
            x = torch.cat([cls, alike[pairs.window, 1:]], dim=1)
            inside = _member_columns(pairs, mask.shape[1]).unsqueeze(1)
            full = mask[pairs.window].unsqueeze(1)
            for layer in middle[:-1]:
                allowed = torch.cat([inside, full.expand(-1, x.shape[1] - 1, -1)], dim=1)
                x = self._layer(layer, x, x, allowed)
            numbers = torch.arange(len(x), device=x.device).unsqueeze(1)
            queries = x[numbers, pairs.positions]
            allowed = torch.cat([inside, full.expand(-1, queries.shape[1] - 1, -1)], dim=1)
            x = self._layer(middle[-1], queries, x, allowed)
        else:
            x = torch.cat([cls, alike[rows, pairs.positions[:, 1:]]], dim=1)
        return self._layer(last, x[:, :1], x, members)

    def _layer(self, layer: nn.Module, x: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """One layer of BERT for some rows only.

        x: (batch, rows, width), what is computed; keys: (batch, length, width), what is attended to.
        allowed: (batch, rows or 1, length) bool.
        """
        parts = cast(Any, layer)
        attention = parts.attention.self
        heads: int = attention.num_attention_heads

        def split(project: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
            return project(y).unflatten(-1, (heads, -1)).transpose(1, 2)

        nothing = ~allowed.any(-1, keepdim=True)
        found = scaled_dot_product_attention(
            split(attention.query, x),
            split(attention.key, keys),
            split(attention.value, keys),
            attn_mask=(allowed | nothing).unsqueeze(1),
            dropout_p=attention.dropout.p if self.training else 0.0,
        )
        found = found.transpose(1, 2).flatten(2).masked_fill(nothing, 0.0)
        read = parts.attention.output(found, x)
        return parts.output(parts.intermediate(read), read)


def check_layout(config: Any) -> None:
    """Raise ValueError for the config of a model whose layers are not those of BERT."""
    kind = getattr(config, "model_type", None)
    if kind not in FAMILY:
        raise ValueError(f"the encoder is of type '{kind}'; focused attention needs one of {', '.join(FAMILY)}")
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    if positions != "absolute" or getattr(config, "is_decoder", False):
        raise ValueError("focused attention needs an encoder with absolute positions, and no decoder")


def _member_columns(pairs: PairBatch, length: int) -> Tensor:
    """(pairs, length) True at the members' positions."""
    inside = torch.zeros((len(pairs.window), length), dtype=torch.bool, device=pairs.members.device)
    # Padding points at position 0, which is a member anyway.
    return inside.scatter(1, pairs.positions, torch.ones_like(pairs.members))
