"""The log-likelihood of a linear-chain CRF with its gradient written out, so that no graph grows over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spacy_clinical_ner.layers.crf_messages import Scores, messages


class LogLikelihood(torch.autograd.Function):
    """(emissions, start, end, transitions, lengths, tags) -> log-likelihood (sequences,), float32 or wider.

    The gradient is gold counts minus expected counts (Sutton and McCallum 2012, Eq. 5.5), both at hand after one
    forward-backward pass. Differentiating twice raises RuntimeError.
    """

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, start: Tensor, end: Tensor, transitions: Tensor, lengths: Tensor, tags: Tensor
    ) -> Tensor:
        """emissions: (length, sequences, tags); tags: (length, sequences) long; the rest as in `Scores`."""
        scores = Scores(emissions, start, end, transitions, lengths)
        ctx.scores, ctx.tags = scores, tags
        ctx.messages = messages(scores)
        return (scores.path_score(tags) - ctx.messages.log_partition).to(emissions.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        scores, tags = ctx.scores, ctx.tags
        mask = scores.mask
        emissions = -ctx.messages.marginals()
        emissions.scatter_add_(2, tags.unsqueeze(2), mask.unsqueeze(2).to(emissions.dtype))
        emissions *= weight.unsqueeze(1)
        transitions = -ctx.messages.transition_counts(weight)
        gold = (weight * mask[1:]).to(transitions.dtype)
        transitions.index_put_((tags[:-1], tags[1:]), gold, accumulate=True)
        last = emissions.gather(0, (scores.lengths - 1)[None, :, None].expand(1, *emissions.shape[1:]))
        grads = (emissions, emissions[0].sum(0), last.sum((0, 1)), transitions)
        return (*(g.to(x.dtype) for g, x in zip(grads, scores)), None, None)
