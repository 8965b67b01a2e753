"""The log-likelihood of a partial tagging: where a tag is not known, the sum over all that it may be.

Tsuboi et al. 2008, "Training conditional random fields using incomplete annotations", Eq. 4: log Z of the lattice that
holds only the taggings which agree with what is known, minus log Z of the whole one. What is known fixes its part of
the first; only runs of open positions need messages, between the fixed tags at both of their edges.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.likelihood import log_partition
from spacy_clinical_ner.layers.crf.messages import Scores


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

    def fixed_score(self, scores: Scores) -> Tensor:
        """Log-weight (sequences,) float64 of all that is fixed: tags, steps between two of them, start and end."""
        emissions, start, end, transitions, _, lengths = scores.to(torch.float64)
        own = emissions.gather(2, self.tags.unsqueeze(2)).squeeze(2).where(self.fixed, 0.0)
        steps = transitions[self.tags[:-1], self.tags[1:]].where(self.fixed[:-1] & self.fixed[1:], 0.0)
        last = (lengths - 1).unsqueeze(0)
        entry = start[self.tags[0]].where(self.fixed[0], 0.0)
        leave = end[self.tags.gather(0, last)].where(self.fixed.gather(0, last), 0.0).squeeze(0)
        return own.sum(0) + steps.sum(0) + entry + leave


def partial_log_likelihood(scores: Scores, allowed: Tensor) -> Tensor:
    """Log-probability (sequences,), in nats, that all tags are allowed ones; differentiable once in all scores.

    allowed: (length, sequences, tags) bool; what it says beyond the end of a sequence is not read.
    Raises ValueError for a sequence of which no legal tagging is allowed.
    """
    impossible = scores.mask & ~allowed.any(2)
    if impossible.any():
        raise ValueError(f"no tag is allowed at a position of sequence {int(impossible.any(0).nonzero()[0])}")
    lattice = Lattice.of(allowed, scores.mask, scores.lengths)
    value = lattice.fixed_score(scores) - log_partition(scores)
    if len(lattice.sequence):
        value = value.index_add(0, lattice.sequence, log_partition(lattice.runs(scores, allowed), forbidden=True))
    if torch.isneginf(value).any():
        raise ValueError("what is known of the tags breaks the constraints: no such sequence is possible")
    return value.to(scores.emissions.dtype)
