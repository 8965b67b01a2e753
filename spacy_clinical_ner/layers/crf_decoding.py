"""Best paths: Viterbi for one and for n."""

from __future__ import annotations

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf_messages import Scores


def best_paths(scores: Scores) -> Tensor:
    """(length, sequences) long, the tags of the best path (Viterbi 1967); -1 beyond the end of a sequence."""
    emissions, start, end, transitions, lengths = scores
    best = torch.empty_like(emissions)
    best[0] = start + emissions[0]
    onto = transitions.t().contiguous()  # [to, from]: the maximum runs over adjacent numbers
    for t in range(1, len(emissions)):
        torch.add((best[t - 1].unsqueeze(1) + onto).amax(2), emissions[t], out=best[t])
    paths = torch.full(emissions.shape[:2], -1, dtype=torch.long, device=emissions.device)
    step: Tensor = lengths
    for t in range(len(emissions) - 1, -1, -1):
        leave = end if t == len(emissions) - 1 else torch.where((lengths == t + 1).unsqueeze(1), end, onto[step])
        step = (best[t] + leave).argmax(1)
        paths[t] = step
    return paths.masked_fill_(~scores.mask, -1)


def n_best_paths(scores: Scores, n: int) -> tuple[Tensor, Tensor]:
    """The n best paths, best first: tags (length, sequences, n) long and scores (sequences, n) float64.

    Where fewer than n paths are possible the rest have score -inf.
    """
    emissions, start, end, transitions, lengths = scores
    steps, sequences, tags = emissions.shape
    best = torch.full((sequences, n, tags), -torch.inf, dtype=torch.float64, device=emissions.device)
    best[:, 0] = (start + emissions[0]).double()
    origin = torch.empty((steps, sequences, n, tags), dtype=torch.long, device=emissions.device)
    rows = torch.arange(n * tags, device=emissions.device).expand(sequences, -1)
    for t in range(1, steps):
        candidates = (best.unsqueeze(3) + transitions).reshape(sequences, n * tags, tags)
        top, origin[t] = candidates.topk(n, dim=1)
        going = (t < lengths)[:, None, None]
        best = torch.where(going, top + emissions[t].unsqueeze(1), best)
        origin[t] = torch.where(going, origin[t], rows.view(sequences, n, tags))
    final, where = (best + end).reshape(sequences, n * tags).topk(n, dim=1)
    paths = torch.empty((steps, sequences, n), dtype=torch.long, device=emissions.device)
    for t in range(steps - 1, -1, -1):
        paths[t] = where % tags
        if t:
            where = origin[t].reshape(sequences, n * tags).gather(1, where)
    return paths, final
