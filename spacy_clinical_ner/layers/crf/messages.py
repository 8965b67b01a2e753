"""Forward-backward messages of a batch of chains (Rabiner 1989, sections III.A and V.A)."""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Union

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.recursions import sum_product

# Smallest number that a scaled message may hold. What underflow can have taken from it, at most `tags` numbers below
# the smallest normal one (1e-38 and 1e-308), is then nothing beside it.
_LOWEST = {torch.float32: 1e-28, torch.float64: 1e-290}


class Scores(NamedTuple):
    """A batch of chains, time first, in one floating dtype of at least 32 bits; forbidden = -inf.

    emissions: (length, sequences, tags). start, end: (tags,). transitions: (tags, tags), from row to column.
    mask: (length, sequences) bool, True for the first positions of each sequence, one at least; what stands in
    `emissions` elsewhere is never read into a result. lengths: (sequences,) long, their number.
    """

    emissions: Tensor
    start: Tensor
    end: Tensor
    transitions: Tensor
    mask: Tensor
    lengths: Tensor

    def to(self, dtype: torch.dtype) -> Scores:
        """The same in another floating dtype."""
        return self._map(lambda x: x.to(dtype))

    def tempered(self, temperature: float) -> Scores:
        """All scores divided by one temperature (Guo et al. 2017). Raises ValueError if that is not above 0."""
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        return self._map(lambda x: x / temperature)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Scores:
        emissions, start, end, transitions = map(function, self[:4])
        return Scores(emissions, start, end, transitions, self.mask, self.lengths)

    def path_score(self, tags: Tensor) -> Tensor:
        """Unnormalised log-weight (sequences,) of one tagging, (length, sequences) long, summed in float64."""
        beyond = ~self.mask
        own = self.emissions.gather(2, tags.unsqueeze(2)).squeeze(2).double().masked_fill_(beyond, 0.0)
        steps = self.transitions[tags[:-1], tags[1:]].double().masked_fill_(beyond[1:], 0.0)
        last = tags.gather(0, (self.lengths - 1).unsqueeze(0)).squeeze(0)
        return own.sum(0) + steps.sum(0) + self.start[tags[0]].double() + self.end[last].double()


class ScaledMessages(NamedTuple):
    """Messages as rescaled probabilities: matrix products instead of log-sum-exps.

    Direction 0 runs forward; direction 1 runs backward over each sequence turned around, so that every sequence starts
    at position 0 in both. A message leaves out the emission at its own position.

    messages: (directions, length, sequences, tags), each right up to a factor.
    scale: (directions, length, sequences) float64, logarithm of what the rescaling took off.
    peaks: (length, sequences) float64, what was taken off the emissions before; 0 beyond the end of a sequence.
    matrix: (tags, tags) exp(transitions - their largest).
    arrived: (length, sequences, tags), forward messages with the emission at their position.
    onward: the same of backward messages, in forward order; empty if there is one direction.
    meeting: (length, sequences, 1), forward times backward, summed over tags; empty if there is one direction.
    log_partition: (sequences,) float64.
    """

    messages: Tensor
    scale: Tensor
    peaks: Tensor
    matrix: Tensor
    arrived: Tensor
    onward: Tensor
    meeting: Tensor
    log_partition: Tensor

    @classmethod
    def compute(cls, scores: Scores, directions: int = 2, forbidden: bool = False) -> Optional[ScaledMessages]:
        """Run the recursion in the dtype of the scores, or return None where that would not be exact.

        directions: 1 if only the partition function is wanted. forbidden: see `compute_messages`.
        """
        emissions, start, end, transitions, mask, lengths = scores
        length, sequences, tags = emissions.shape
        beyond = ~mask
        row = torch.arange(sequences, device=lengths.device)
        # Rows of (length * sequences, tags) that turn each sequence around in place.
        turned = (lengths - 1 - torch.arange(length, device=lengths.device).unsqueeze(1)).clamp_(min=0) * sequences
        turned = (turned + row).view(-1)

        peak = emissions.amax(2, keepdim=True)
        weight = emissions.new_empty((directions, length, sequences, tags))
        torch.sub(emissions, peak, out=weight[0]).exp_().masked_fill_(beyond.unsqueeze(2), 1.0)
        if directions == 2:
            torch.index_select(weight[0].view(-1, tags), 0, turned, out=weight[1].view(-1, tags))
        peaks = [x.amax() for x in (start, end, transitions)]
        entry = torch.stack([(start - peaks[0]).exp_(), (end - peaks[1]).exp_()])
        matrix = (transitions - peaks[2]).exp_()
        found = sum_product(
            entry[:directions].unsqueeze(1).repeat(1, sequences, 1),
            torch.stack([matrix, matrix.t()])[:directions],
            weight,
        )
        if found is None:
            return None
        messages, scale = found
        possible = None
        if forbidden:
            kept = ~torch.isneginf(emissions) | beyond.unsqueeze(2)
            possible = torch.stack([kept, kept.flatten(0, 1)[turned].view(kept.shape)])[:directions]
        arrived = weight.mul_(messages)
        lowest = _LOWEST[emissions.dtype]
        if not _smallest(arrived, scores, possible) >= lowest:
            return None
        onward = meeting = emissions.new_empty(0)
        if directions == 2:
            onward = arrived[1].view(-1, tags)[turned].view_as(arrived[1])
            meeting = (messages[0] * onward).sum(2, keepdim=True).masked_fill_(beyond.unsqueeze(2), 1.0)
            # Each direction is right by itself, but their product may be too small where they meet.
            if not meeting.amin() >= lowest:
                return None

        taken = peak.squeeze(2).double().masked_fill_(beyond, 0.0)
        final = (arrived[0, lengths - 1, row].double() @ entry[1].double()).log_()
        constant = (peaks[0] + peaks[1]).double() + (lengths - 1) * peaks[2].double().nan_to_num(neginf=0.0)
        log_partition = final + scale[0, lengths - 1, row] + taken.sum(0) + constant
        return cls(messages, scale, taken, matrix, arrived[0], onward, meeting, log_partition)

    def expectations(self, scores: Scores, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Expected counts: of each tag at each position, and of each transition summed over the batch.

        weight: (sequences,), a factor for each sequence.
        Returns (length, sequences, tags), 0 beyond the end of a sequence, and (tags, tags).
        """
        tags = len(self.matrix)
        onward = self.onward * ((weight * scores.mask).unsqueeze(2) / self.meeting)
        # From `arrived` at t to the message at t + 1 there may lie a rescaling.
        rescaled = (self.scale[0, :-1] - self.scale[0, 1:]).exp_().to(onward.dtype)
        arrived = self.arrived[:-1] * rescaled.unsqueeze(2)
        pairs = arrived.view(-1, tags).t() @ onward[1:].reshape(-1, tags)
        return onward.mul_(self.messages[0]), pairs.mul_(self.matrix)

    def log_prefix(self, scores: Scores, t: Tensor, sequence: Tensor) -> Tensor:
        """(n, tags) float64 log-weights of all ways to come to position t, its emission left out, for n places."""
        peaks = self.peaks.cumsum(0)[t, sequence] - self.peaks[t, sequence]
        scale = self.scale[0, t, sequence] + peaks + scores.start.amax() + t * scores.transitions.amax().double()
        return self.messages[0, t, sequence].double().log_() + scale.unsqueeze(1)

    def log_suffix(self, scores: Scores, t: Tensor, sequence: Tensor) -> Tensor:
        """(n, tags) float64 log-weights of all ways to go on from position t, its emission left out, for n places."""
        left = scores.lengths[sequence] - 1 - t
        peaks = self.peaks.cumsum(0)
        scale = self.scale[1, left, sequence] + peaks[-1, sequence] - peaks[t, sequence]
        scale = scale + scores.end.amax() + left * scores.transitions.amax().double()
        return self.messages[1, left, sequence].double().log_() + scale.unsqueeze(1)


class LogMessages(NamedTuple):
    """Messages as logarithms: exact whatever the scores are, but each step takes sequences x tags x tags exps.

    prefix, suffix: (length, sequences, tags) float64 log-weights of all ways to come to a position and to go on from
    it, its emission left out. log_partition: (sequences,) float64.
    """

    prefix: Tensor
    suffix: Tensor
    log_partition: Tensor

    @classmethod
    def compute(cls, scores: Scores) -> LogMessages:
        """Raises ValueError if there is a sequence for which no tagging is possible."""
        emissions, start, end, transitions, _, lengths = scores.to(torch.float64)
        prefix, suffix = torch.empty_like(emissions), torch.empty_like(emissions)
        prefix[0] = start
        for t in range(1, len(emissions)):
            arrived = prefix[t - 1] + emissions[t - 1]
            torch.logsumexp(arrived.unsqueeze(2) + transitions, dim=1, out=prefix[t])
        suffix[-1] = end
        for t in range(len(emissions) - 2, -1, -1):
            onward = suffix[t + 1] + emissions[t + 1]
            step = torch.logsumexp(transitions + onward.unsqueeze(1), dim=2)
            suffix[t] = torch.where((lengths == t + 1).unsqueeze(1), end, step)
        log_partition = torch.logsumexp(start + emissions[0] + suffix[0], dim=1)
        impossible = torch.isneginf(log_partition)
        if impossible.any():
            raise ValueError(f"no tagging is possible for sequence {int(impossible.nonzero()[0])} of the batch")
        return cls(prefix, suffix, log_partition)

    def expectations(self, scores: Scores, weight: Tensor) -> tuple[Tensor, Tensor]:
        """As `ScaledMessages.expectations`."""
        emissions, _, _, transitions, _, lengths = scores.to(torch.float64)
        log = self.prefix + emissions + self.suffix - self.log_partition.unsqueeze(1)
        at = log.exp_().masked_fill_(~scores.mask.unsqueeze(2), 0.0) * weight.unsqueeze(1)
        pairs = torch.zeros_like(transitions)
        for t in range(1, len(emissions)):
            arrived = self.prefix[t - 1] + emissions[t - 1] - self.log_partition.unsqueeze(1)
            onward = emissions[t] + self.suffix[t]
            posterior = (arrived.unsqueeze(2) + transitions + onward.unsqueeze(1)).exp_()
            # A row that has ended may hold inf here, which times 0 would be nan.
            factor = (weight.double() * (t < lengths))[:, None, None]
            pairs += torch.where(factor == 0, 0.0, posterior * factor).sum(0)
        return at, pairs

    def log_prefix(self, scores: Scores, t: Tensor, sequence: Tensor) -> Tensor:
        """As `ScaledMessages.log_prefix`."""
        return self.prefix[t, sequence]

    def log_suffix(self, scores: Scores, t: Tensor, sequence: Tensor) -> Tensor:
        """As `ScaledMessages.log_suffix`."""
        return self.suffix[t, sequence]


Messages = Union[ScaledMessages, LogMessages]


def compute_messages(scores: Scores, directions: int = 2, forbidden: bool = False) -> Messages:
    """The cheapest messages that are exact for these scores: scaled, scaled in float64, or logarithms.

    Scaled messages prove themselves: every tag that the constraints let a sequence be in has kept a normal number, so
    nothing was lost to underflow. Scores further apart than that go to the next kind.
    forbidden: an emission of -inf forbids its tag as constraints do. That takes a proof for each sequence, which is a
        recursion more; without it, -inf among the emissions is taken for underflow.
    """
    if not len(scores.lengths):
        return LogMessages.compute(scores)  # nothing to prove
    for dtype in dict.fromkeys((scores.emissions.dtype, torch.float64)):
        found = ScaledMessages.compute(scores.to(dtype), directions, forbidden)
        if found is not None:
            return found
    return LogMessages.compute(scores)


def edge_counts(at: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (tags,) of the first and of the last tags of the sequences, from counts (length, sequences, tags)."""
    return at[0].sum(0), at[lengths - 1, torch.arange(at.shape[1], device=at.device)].sum(0)


def _smallest(arrived: Tensor, scores: Scores, possible: Optional[Tensor]) -> Tensor:
    """Smallest number among the tags that can be reached at all; 0 if there is a position where none can be.

    arrived: (directions, length, sequences, tags). possible: of that shape, bool, the tags that emissions allow if they
    forbid any.
    """
    allowed = ~torch.isneginf(scores.transitions)
    entries = ~torch.isneginf(scores.start), ~torch.isneginf(scores.end)
    if possible is not None:
        steps = torch.stack([allowed, allowed.t()])[: len(arrived)].to(arrived.dtype)
        reach = torch.empty_like(possible)
        reach[:, 0] = torch.stack(entries)[: len(arrived)].unsqueeze(1) & possible[:, 0]
        for t in range(1, possible.shape[1]):
            torch.logical_and(reach[:, t - 1].to(steps.dtype) @ steps, possible[:, t], out=reach[:, t])
        return arrived.masked_fill(~reach, 1.0).amin() * reach.any(3).all()
    if allowed.all() and entries[0].all() and entries[1].all():
        return arrived.amin()
    ways = zip(entries, (allowed, allowed.t()))
    reach = torch.stack([_reachable(entry, way, arrived.shape[1]) for entry, way in ways])[: len(arrived)]
    return arrived.masked_fill(~reach.unsqueeze(2), 1.0).amin()


def _reachable(entry: Tensor, allowed: Tensor, length: int) -> Tensor:
    """(length, tags) bool: which tags the constraints let a sequence be in at each position."""
    reached = [entry]
    while len(reached) < length:
        following = (reached[-1].unsqueeze(1) & allowed).any(0)
        if torch.equal(following, reached[-1]):
            break
        reached.append(following)
    return torch.stack(reached)[torch.arange(length, device=entry.device).clamp_(max=len(reached) - 1)]
