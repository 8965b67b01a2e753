"""Forward-backward messages of a batch of chains (Rabiner 1989, section III)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Scores(NamedTuple):
    """A batch of chains, time first, in one floating dtype of at least 32 bits; forbidden = -inf.

    emissions: (length, sequences, tags). start, end: (tags,). transitions: (tags, tags), from row to column.
    lengths: (sequences,) long, 1 at least; what stands in `emissions` beyond is never read into a result.
    """

    emissions: Tensor
    start: Tensor
    end: Tensor
    transitions: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(length, sequences) bool, True within a sequence."""
        return torch.arange(self.emissions.shape[0], device=self.lengths.device)[:, None] < self.lengths

    def path_score(self, tags: Tensor) -> Tensor:
        """Unnormalised log-weight (sequences,) of one tagging, (length, sequences) long, summed in float64."""
        mask = self.mask
        own = self.emissions.gather(2, tags.unsqueeze(2)).squeeze(2).double().masked_fill(~mask, 0.0)
        steps = self.transitions[tags[:-1], tags[1:]].double().masked_fill(~mask[1:], 0.0)
        last = tags.gather(0, (self.lengths - 1).unsqueeze(0)).squeeze(0)
        return own.sum(0) + steps.sum(0) + self.start[tags[0]].double() + self.end[last].double()


class LogMessages:
    """Messages kept as logarithms: exact whatever the scores are, but every step costs sequences x tags x tags exps.

    prefix: (length, sequences, tags), log-weight of all ways to arrive in a tag, its own emission left out.
    suffix: the same for all ways to go on from it. log_partition: (sequences,) float64.
    """

    def __init__(self, scores: Scores) -> None:
        self.scores = Scores(*(x.double() if x.is_floating_point() else x for x in scores))
        emissions, start, end, transitions, lengths = self.scores
        steps = len(emissions)
        self.prefix, self.suffix = torch.empty_like(emissions), torch.empty_like(emissions)
        self.prefix[0] = start
        for t in range(1, steps):
            arrived = self.prefix[t - 1] + emissions[t - 1]
            self.prefix[t] = torch.logsumexp(arrived.unsqueeze(2) + transitions, dim=1)
        self.suffix[-1] = end
        for t in range(steps - 2, -1, -1):
            onward = self.suffix[t + 1] + emissions[t + 1]
            step = torch.logsumexp(transitions + onward.unsqueeze(1), dim=2)
            self.suffix[t] = torch.where((lengths == t + 1).unsqueeze(1), end, step)
        self.log_partition = torch.logsumexp(start + emissions[0] + self.suffix[0], dim=1)

    def marginals(self) -> Tensor:
        """(length, sequences, tags) probabilities, 0 beyond the end of a sequence."""
        log = self.prefix + self.scores.emissions + self.suffix - self.log_partition.unsqueeze(1)
        return log.exp().masked_fill(~self.scores.mask.unsqueeze(2), 0.0)

    def transition_counts(self, weight: Tensor) -> Tensor:
        """(tags, tags) expected number of each transition, sequences weighted by `weight` (sequences,)."""
        emissions, _, _, transitions, lengths = self.scores
        counts = torch.zeros_like(transitions)
        for t in range(1, len(emissions)):
            arrived = self.prefix[t - 1] + emissions[t - 1] - self.log_partition.unsqueeze(1)
            onward = emissions[t] + self.suffix[t]
            # Beyond the end of a sequence the messages mean nothing and may overflow: 0 * inf would be nan.
            log = arrived.unsqueeze(2) + transitions + onward.unsqueeze(1)
            pairs = log.masked_fill((t >= lengths)[:, None, None], -torch.inf).exp()
            counts += torch.einsum("b,bij->ij", weight.double(), pairs)
        return counts

    def log_prefix(self, t: Tensor, sequence: Tensor) -> Tensor:
        """(n, tags) float64 rows of `prefix` for n pairs of position and sequence."""
        return self.prefix[t, sequence]

    def log_suffix(self, t: Tensor, sequence: Tensor) -> Tensor:
        """(n, tags) float64 rows of `suffix` for n pairs of position and sequence."""
        return self.suffix[t, sequence]


def messages(scores: Scores) -> LogMessages:
    """Forward-backward over a batch."""
    return LogMessages(scores)
