"""The log-likelihood of a partial tagging: where a tag is not known, the sum over all that it may be.

Tsuboi et al. 2008, "Training conditional random fields using incomplete annotations", Eq. 4: log Z of the lattice that
holds only the taggings which agree with what is known, minus log Z of the whole one. What is known fixes its part of
the first; only runs of open positions need messages, between the fixed tags at both of their edges.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.messages import LogMessages, Scores, compute_messages, edge_counts


class Lattice(NamedTuple):
    """The taggings that are allowed, as fixed tags and runs of open positions.

    fixed: (length, sequences) bool, where one tag alone is allowed. tags: (length, sequences) long, that tag there.
    sequence: (runs,) long, the sequence of each run. position: (longest, runs) long, the positions of its sequence that
    a run holds: the open ones, and the fixed ones on both sides if there are any. inside: (longest, runs) bool, False
    at padding.
    """

    fixed: Tensor
    tags: Tensor
    sequence: Tensor
    position: Tensor
    inside: Tensor

    @classmethod
    def of(cls, allowed: Tensor, mask: Tensor, lengths: Tensor) -> Lattice:
        """allowed: (length, sequences, tags) bool."""
        fixed = mask & (allowed.sum(2) == 1)
        tags = allowed.to(torch.uint8).argmax(2)
        opened = (mask & ~fixed).t()
        edge = torch.nn.functional.pad(opened, (1, 1)).to(torch.int8).diff(dim=1)
        sequence, first = (edge == 1).nonzero().unbind(1)
        behind = (edge == -1).nonzero()[:, 1]
        start, stop = (first - 1).clamp_(min=0), torch.minimum(behind + 1, lengths[sequence])
        longest = int((stop - start).amax()) if len(sequence) else 0
        position = start + torch.arange(longest, device=mask.device).unsqueeze(1)
        return cls(fixed, tags, sequence, position.clamp(max=len(mask) - 1), position < stop)

    def runs(self, scores: Scores, allowed: Tensor) -> Scores:
        """The open runs as chains of their own, in float64. What `fixed_score` counts counts nothing here."""
        emissions, start, end, transitions, _, lengths = scores.to(torch.float64)
        emissions = emissions[self.position, self.sequence].masked_fill(~self.opened.unsqueeze(2), 0.0)
        emissions = emissions.masked_fill(~allowed[self.position, self.sequence], -torch.inf)
        begins = self.opened & (self.position == 0)
        ends = self.opened & (self.position == lengths[self.sequence] - 1)
        emissions = emissions + torch.where(begins.unsqueeze(2), start, 0.0) + torch.where(ends.unsqueeze(2), end, 0.0)
        free = torch.zeros_like(start)
        return Scores(emissions, free, free, transitions, self.inside, self.inside.sum(0))

    @property
    def opened(self) -> Tensor:
        """(longest, runs) bool: the open positions of the runs."""
        return self.inside & ~self.fixed[self.position, self.sequence]

    @property
    def fixed_steps(self) -> Tensor:
        """(length - 1, sequences) bool: whether the step from a position to the next is between fixed tags."""
        return self.fixed[:-1] & self.fixed[1:]

    def fixed_score(self, scores: Scores) -> Tensor:
        """Log-weight (sequences,) float64 of all that is fixed: tags, steps between two of them, start and end."""
        emissions, start, end, transitions, _, lengths = scores.to(torch.float64)
        own = emissions.gather(2, self.tags.unsqueeze(2)).squeeze(2).where(self.fixed, 0.0)
        steps = transitions[self.tags[:-1], self.tags[1:]].where(self.fixed_steps, 0.0)
        last = (lengths - 1).unsqueeze(0)
        entry = start[self.tags[0]].where(self.fixed[0], 0.0)
        leave = end[self.tags.gather(0, last)].where(self.fixed.gather(0, last), 0.0).squeeze(0)
        return own.sum(0) + steps.sum(0) + entry + leave

    def add_counts(self, at: Tensor, pairs: Tensor, runs: Scores, found: Optional[LogMessages], weight: Tensor) -> None:
        """Add weight (sequences,) times the expected counts of this lattice to `at` and `pairs`, in place."""
        weight = weight.to(at.dtype)
        at.scatter_add_(2, self.tags.unsqueeze(2), (weight * self.fixed).unsqueeze(2))
        place = self.tags[:-1] * len(pairs) + self.tags[1:]
        pairs.view(-1).scatter_add_(0, place.reshape(-1), (weight * self.fixed_steps).reshape(-1))
        if found is not None:
            within, steps = found.expectations(runs, weight[self.sequence])
            opened = self.opened
            places = self.position[opened], self.sequence.expand_as(opened)[opened]
            at.index_put_(places, within[opened].to(at.dtype), accumulate=True)
            pairs += steps.to(pairs.dtype)


def partial_log_likelihood(scores: Scores, allowed: Tensor) -> Tensor:
    """Log-probability (sequences,), in nats, that all tags are allowed ones; differentiable once in all scores.

    allowed: (length, sequences, tags) bool; what it says beyond the end of a sequence is not read.
    Raises ValueError for a sequence of which no legal tagging is allowed.
    """
    impossible = scores.mask & ~allowed.any(2)
    if impossible.any():
        raise ValueError(f"no tag is allowed at a position of sequence {int(impossible.any(0).nonzero()[0])}")
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in scores[:4])
    value = PartialLogLikelihood.apply(needed, *scores, allowed)
    if torch.isneginf(value).any():
        raise ValueError("what is known of the tags breaks the constraints: no such sequence is possible")
    return value


class PartialLogLikelihood(torch.autograd.Function):
    """(needed, emissions, start, end, transitions, mask, lengths, allowed) -> log-likelihood (sequences,).

    The gradient is expected counts of the lattice that is allowed minus those of the whole one. It is no function that
    autograd could differentiate again.
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
        allowed: Tensor,
    ) -> Tensor:
        """needed: whether a gradient will be asked for; the rest as in `Scores` and `partial_log_likelihood`."""
        scores = Scores(emissions, start, end, transitions, mask, lengths)
        whole = compute_messages(scores, directions=2 if needed else 1)
        lattice = Lattice.of(allowed, mask, lengths)
        value = lattice.fixed_score(scores) - whole.log_partition
        within: tuple = ()
        if len(lattice.sequence):
            within = LogMessages.compute(lattice.runs(scores, allowed))
            value.index_add_(0, lattice.sequence, within.log_partition)
        if needed:
            ctx.kind = type(whole)
            ctx.save_for_backward(*scores, allowed, *lattice, *whole, *within)
        return value.to(emissions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple:
        saved = iter(ctx.saved_tensors)

        def take(kind: Any) -> Any:
            return kind(*(next(saved) for _ in kind._fields))

        scores, allowed, lattice, whole = take(Scores), next(saved), take(Lattice), take(ctx.kind)
        within = take(LogMessages) if len(lattice.sequence) else None
        with torch.autocast(weight.device.type, enabled=False):
            at, pairs = whole.expectations(scores, -weight)
            lattice.add_counts(at, pairs, lattice.runs(scores, allowed), within, weight)
            counts = (at, *edge_counts(at, scores.lengths), pairs)
            return (None, *(count.to(x.dtype) for count, x in zip(counts, scores)), None, None, None)
