"""The log-likelihood of a linear-chain CRF with its gradient written out, so that no graph grows over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacy_clinical_ner.layers.crf_messages import Scores, compute_messages


class LogLikelihood(torch.autograd.Function):
    """(needed, emissions, start, end, transitions, mask, lengths, tags) -> log-likelihood (sequences,).

    The gradient is gold counts minus expected counts (Sutton and McCallum 2012, "An introduction to conditional random
    fields", section 5.1), both at hand after one forward-backward pass. Differentiating twice raises RuntimeError.
    """

    @staticmethod
    def forward(
        ctx: Any,
        needed: bool,
        emissions: Tensor,
        start: Tensor,
        end: Tensor,
        transitions: Tensor,
        mask: Tensor,
        lengths: Tensor,
        tags: Tensor,
    ) -> Tensor:
        """needed: whether a gradient will be asked for; without, half of the work is left out.

        emissions: (length, sequences, tags); tags: (length, sequences) long; the rest as in `Scores`.
        """
        scores = Scores(emissions, start, end, transitions, mask, lengths)
        found = compute_messages(scores, directions=2 if needed else 1)
        if needed:
            ctx.kind = type(found)
            ctx.save_for_backward(tags, *scores, *found)
        return (scores.path_score(tags) - found.log_partition).to(emissions.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple:
        tags, *saved = ctx.saved_tensors
        scores, found = Scores(*saved[:6]), ctx.kind(*saved[6:])
        at, pairs = found.expectations(scores, -weight)
        gold = weight * scores.mask
        at.scatter_add_(2, tags.unsqueeze(2), gold.unsqueeze(2).to(at.dtype))
        place = tags[:-1] * len(pairs) + tags[1:]
        pairs.view(-1).scatter_add_(0, place.reshape(-1), gold[1:].reshape(-1).to(pairs.dtype))
        last = at[scores.lengths - 1, torch.arange(at.shape[1], device=at.device)]
        gradients = (at, at[0].sum(0), last.sum(0), pairs)
        return (None, *(g.to(x.dtype) for g, x in zip(gradients, scores)), None, None, None)
