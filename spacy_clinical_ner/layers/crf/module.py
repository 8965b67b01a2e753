"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001) for any torch model."""

from __future__ import annotations

from typing import Optional

import torch
import torchcrf
from torch import Tensor

from spacy_clinical_ner.layers.crf.likelihood import log_likelihood
from spacy_clinical_ner.layers.crf.messages import Scores, compute_messages
from spacy_clinical_ner.layers.crf.partial import partial_log_likelihood
from spacy_clinical_ner.layers.crf.paths import best_paths, n_best_paths
from spacy_clinical_ner.layers.crf.spans import span_log_probability
from spacy_clinical_ner.layers.crf.tag_scheme import Constraints, TagScheme


class LinearChainCRF(torchcrf.CRF):
    """A drop-in `torchcrf.CRF`: same parameters, state dict, calls and results, and what that one does not have.

    num_tags: number of tags. batch_first: whether sequences or positions come first in every tensor.
    constraints: which tags may start, end and follow each other, as `TagScheme.constraints` gives; what they forbid has
    probability 0 in training, decoding, marginals and spans alike. They are no part of the state dict.

    Works inside a module given to `torch.compile` (but for torch 2.1, whose compiler fails on it), but outside of its
    graph: each call breaks the graph, and `fullgraph=True` refuses it. The likelihood cannot be differentiated twice
    (RuntimeError).

    Shapes below are for batch_first=True; (length, sequences, ...) otherwise. `mask` is True for tokens: the first
    positions of each sequence, one at least. Emissions in half precision are computed in float32.
    """

    def __init__(self, num_tags: int, batch_first: bool = False, *, constraints: Optional[Constraints] = None) -> None:
        super().__init__(num_tags, batch_first)
        self.scheme = TagScheme(constraints.scheme) if constraints is not None and constraints.scheme else None
        shapes = {"start": (num_tags,), "end": (num_tags,), "transition": (num_tags, num_tags)}
        for name, shape in shapes.items():
            allowed = None if constraints is None else getattr(constraints, name)
            if allowed is not None and allowed.shape != shape:
                raise ValueError(f"constraints.{name} must have shape {shape}, got {tuple(allowed.shape)}")
            self.register_buffer(f"allowed_{name}", allowed, persistent=False)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Optional[Tensor] = None, reduction: str = "sum") -> Tensor:
        """Log-likelihood, in nats, of tags (sequences, length) under emissions (sequences, length, tags).

        reduction: "none" (one value a sequence), "sum", "mean" (over sequences) or "token_mean".
        Raises ValueError for shapes that do not fit, for masks with holes, and for gold tags that the constraints
        forbid.
        """
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ValueError(f"invalid reduction: {reduction}")
        scores = self.scores(emissions, mask, tags)
        gold = self._layout(tags).masked_fill(~scores.mask, 0)  # whatever number the padding has
        value = log_likelihood(scores, gold)
        if self.allowed_start is not None and torch.isneginf(value).any():
            raise ValueError("the gold tags break the constraints: no such sequence is possible")
        if reduction == "none":
            return value
        if reduction == "sum":
            return value.sum()
        if reduction == "mean":
            return value.mean()
        return value.sum() / scores.lengths.sum()

    def partial_log_likelihood(self, emissions: Tensor, allowed: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Log-probability (sequences,), in nats, that all tags are allowed ones; allowed: as emissions, bool.

        With one allowed tag at each position it is `forward` with reduction="none"; where all are allowed, it says
        nothing of the position. Raises ValueError for a sequence of which no legal tagging is allowed.
        """
        if allowed.shape != emissions.shape or allowed.dtype != torch.bool:
            raise ValueError(f"allowed must be bool and have the shape of emissions, {tuple(emissions.shape)}")
        return partial_log_likelihood(self.scores(emissions, mask), self._layout(allowed))

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Optional[Tensor] = None) -> list[list[int]]:
        """The best tags of each sequence, without padding."""
        scores = self.scores(emissions, mask)
        paths = best_paths(scores).t().tolist()
        return [path[:length] for path, length in zip(paths, scores.lengths.tolist())]

    @torch.no_grad()
    def decode_tensor(self, emissions: Tensor, mask: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
        """The best tags (sequences, length) long, -1 at padding, and their scores (sequences,), not normalised."""
        scores = self.scores(emissions, mask)
        paths = best_paths(scores)
        value = scores.path_score(paths.clamp(min=0)).to(scores.emissions.dtype)
        return self._layout(paths), value

    @torch.no_grad()
    def decode_nbest(
        self, emissions: Tensor, mask: Optional[Tensor] = None, n: int = 1
    ) -> list[list[tuple[list[int], float]]]:
        """For each sequence up to n pairs (tags, log-probability), best first; fewer where fewer are possible."""
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        scores = self.scores(emissions, mask)
        paths, values = n_best_paths(scores, n)
        logs = values - compute_messages(scores).log_partition.unsqueeze(1)
        rows = zip(paths.permute(1, 2, 0).tolist(), logs.tolist(), scores.lengths.tolist())
        return [
            [(tags[:length], log) for tags, log in zip(found, probabilities) if log > -torch.inf]
            for found, probabilities, length in rows
        ]

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Posterior probability of each tag at each position, in the layout of `emissions`; 0 at padding."""
        scores = self.scores(emissions, mask)
        at, _ = compute_messages(scores).expectations(scores, torch.ones_like(scores.emissions[0, :, 0]))
        return self._layout(at.to(scores.emissions.dtype))

    @torch.no_grad()
    def span_log_probability(
        self, emissions: Tensor, mask: Optional[Tensor], spans: Tensor, *, temperature: float = 1.0
    ) -> Tensor:
        """Exact posterior log-probability (n,) that each span is in the tagging, with these very edges.

        spans: (n, 4) long, rows (sequence, start, end, label index), end exclusive.
        temperature: divides all scores, transitions too (Guo et al. 2017), which leaves the best path as it is.
        Raises ValueError without constraints (the tags then have no scheme) and for spans outside their sequence.
        """
        if self.scheme is None:
            raise ValueError("span_log_probability needs a CRF made with the constraints of a tag scheme")
        scores = self.scores(emissions, mask)
        # In float64, so that what a note is batched with shows in no digit.
        exact = scores.to(torch.float64).tempered(temperature)
        if not len(spans):
            return scores.emissions.new_zeros(0)
        sequence, start, end, label = spans.unbind(1)
        known = (sequence >= 0) & (sequence < len(scores.lengths))
        inside = known & (start >= 0) & (start < end) & (end <= scores.lengths[sequence * known])
        inside &= (label >= 0) & (self.scheme.num_tags(1) + label * len(self.scheme.prefixes) <= self.num_tags)
        if not inside.all():
            raise ValueError(f"span {spans[~inside][0].tolist()} does not fit its sequence or the labels")
        return span_log_probability(exact, compute_messages(exact), spans, self.scheme).to(scores.emissions.dtype)

    def _layout(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1) if self.batch_first else x

    def scores(self, emissions: Tensor, mask: Optional[Tensor], tags: Optional[Tensor] = None) -> Scores:
        """The arguments, checked as pytorch-crf does, in the form that the algorithms take; forbidden = -inf."""
        if emissions.dim() == 3 and emissions.shape[1 if self.batch_first else 0] == 0:
            raise ValueError("emissions must have at least one position")
        self._validate(emissions, tags=tags, mask=mask)
        emissions = self._layout(emissions)
        length, sequences, _ = emissions.shape
        if mask is None:
            mask = torch.ones((length, sequences), dtype=torch.bool, device=emissions.device)
            lengths = torch.full((sequences,), length, device=emissions.device)
        else:
            mask = self._layout(mask).bool()
            if (mask[1:] & ~mask[:-1]).any():
                raise ValueError("mask must be on for the first positions of each sequence and off for the rest")
            lengths = mask.sum(0)
        dtype = torch.promote_types(torch.promote_types(emissions.dtype, self.transitions.dtype), torch.float32)
        start, end, transitions = self.start_transitions, self.end_transitions, self.transitions
        if self.allowed_start is not None:
            start = start.masked_fill(~self.allowed_start, -torch.inf)
            end = end.masked_fill(~self.allowed_end, -torch.inf)
            transitions = transitions.masked_fill(~self.allowed_transition, -torch.inf)
        return Scores(emissions.to(dtype), start.to(dtype), end.to(dtype), transitions.to(dtype), mask, lengths)
