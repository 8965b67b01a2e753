"""The log-likelihood of a linear-chain CRF with its gradient written out, so that no graph grows over time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.messages import Scores, compute_messages, edge_counts


def log_likelihood(scores: Scores, tags: Tensor) -> Tensor:
    """Log-likelihood (sequences,), in nats, of tags (length, sequences) long; differentiable once in all scores."""
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in scores[:4])
    return LogLikelihood.apply(needed, *scores, tags)


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
    def backward(ctx: Any, weight: Tensor) -> tuple:
        tags, *saved = ctx.saved_tensors
        scores, found = Scores(*saved[:6]), ctx.kind(*saved[6:])
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            at, pairs = found.expectations(scores, -weight)
            gold = weight * scores.mask
            at.scatter_add_(2, tags.unsqueeze(2), gold.unsqueeze(2).to(at.dtype))
            place = tags[:-1] * len(pairs) + tags[1:]
            pairs.view(-1).scatter_add_(0, place.reshape(-1), gold[1:].reshape(-1).to(pairs.dtype))
            gradients = [g.to(x.dtype) for g, x in zip((at, *edge_counts(at, scores.lengths), pairs), scores)]
        if torch.is_grad_enabled():  # create_graph=True
            gradients = [_Once.apply(g, weight, *scores[:4]) for g in gradients]
        return (None, *gradients, None, None, None)


class _Once(torch.autograd.Function):
    """A gradient that depends on tensors in a way that is not worked out: passes it on, and raises when asked."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple:
        raise RuntimeError("LinearChainCRF cannot be differentiated twice: its gradient has no derivative of its own")
