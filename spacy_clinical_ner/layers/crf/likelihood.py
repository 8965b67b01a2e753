"""The log-likelihood of a linear-chain CRF with its gradient written out, so that no graph grows over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.messages import Scores, compute_messages, edge_counts


def log_likelihood(scores: Scores, tags: Tensor) -> Tensor:
    """Log-likelihood (sequences,), in nats, of tags (length, sequences) long; differentiable once in all scores."""
    return (scores.path_score(tags) - log_partition(scores)).to(scores.emissions.dtype)


def log_partition(scores: Scores, forbidden: bool = False) -> Tensor:
    """Log-partition (sequences,) float64, in nats; differentiable once in all scores.

    forbidden: see `compute_messages`.
    """
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in scores[:4])
    return LogPartition.apply(forbidden, needed, *scores)


class LogPartition(torch.autograd.Function):
    """(forbidden, needed, emissions, start, end, transitions, mask, lengths) -> log-partition (sequences,).

    The gradient is expected counts (Sutton and McCallum 2012, "An introduction to conditional random fields", section
    5.1), at hand after one forward-backward pass. Differentiating twice raises RuntimeError.
    needed: whether a gradient will be asked for; without, half of the work is left out. The rest as in `Scores`.
    """

    @staticmethod
    def forward(ctx: Any, forbidden: bool, needed: bool, *tensors: Tensor) -> Tensor:
        scores = Scores(*tensors)
        found = compute_messages(scores, directions=2 if needed else 1, forbidden=forbidden)
        if needed:
            ctx.kind = type(found)
            ctx.save_for_backward(*scores, *found)
        return found.log_partition.clone()

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple:
        scores, found = Scores(*ctx.saved_tensors[:6]), ctx.kind(*ctx.saved_tensors[6:])
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            at, pairs = found.expectations(scores, weight.to(scores.emissions.dtype))
            gradients = [g.to(x.dtype) for g, x in zip((at, *edge_counts(at, scores.lengths), pairs), scores)]
        if torch.is_grad_enabled():  # create_graph=True
            gradients = [_Once.apply(g, weight, *scores[:4]) for g in gradients]
        return (None, None, *gradients, None, None)


class _Once(torch.autograd.Function):
    """A gradient that depends on tensors in a way that is not worked out: passes it on, and raises when asked."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple:
        raise RuntimeError("LinearChainCRF cannot be differentiated twice: its gradient has no derivative of its own")
