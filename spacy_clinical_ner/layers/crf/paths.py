"""Best paths: one (Viterbi 1967) and n."""

from __future__ import annotations

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.messages import Scores
from spacy_clinical_ner.layers.crf.recursions import max_plus, trace_back


def best_paths(scores: Scores) -> Tensor:
    """(length, sequences) long, the tags of the best path; -1 beyond the end of a sequence.

    Of paths with the same score the one whose last differing tag is lower is returned, as pytorch-crf does.
    """
    emissions, start, end, transitions, mask, lengths = scores
    # Scores relative to the best tag stay small, and so do rounding errors.
    relative = emissions - emissions.amax(2, keepdim=True)
    best = max_plus(start, transitions, relative)
    return trace_back(best, end, transitions, lengths).masked_fill_(~mask, -1)


def n_best_paths(scores: Scores, n: int) -> tuple[Tensor, Tensor]:
    """The n best paths, best first: tags (length, sequences, n) long and scores (sequences, n) float64.

    Every tag keeps its n best ways to it (Schwartz and Chow 1990, "The N-best algorithm"). Where fewer than n paths
    are possible the rest have score -inf.
    """
    emissions, start, end, transitions, _, lengths = scores.to(torch.float64)
    steps, sequences, tags = emissions.shape
    best = (start + emissions[0]).unsqueeze(1)  # (sequences, ways, tags), grows to n ways
    back: list[Tensor] = []
    for t in range(1, steps):
        ways = best.shape[1]
        candidates = (best.unsqueeze(3) + transitions).view(sequences, ways * tags, tags)
        top, origin = candidates.topk(min(n, ways * tags), dim=1)
        going = (t < lengths)[:, None, None]
        kept = torch.nn.functional.pad(best, (0, 0, 0, top.shape[1] - ways), value=-torch.inf)
        # Ways that were only padded on to a sequence that has ended lead anywhere: their score is -inf.
        stay = torch.arange(top.shape[1] * tags, device=lengths.device).clamp_(max=ways * tags - 1).view(-1, tags)
        best = torch.where(going, top + emissions[t].unsqueeze(1), kept)
        back.append(torch.where(going, origin, stay))
    final = (best + end).flatten(1)
    score, place = final.topk(min(n, final.shape[1]), dim=1)
    paths = torch.empty((steps, sequences, score.shape[1]), dtype=torch.long, device=emissions.device)
    for t in range(steps - 1, -1, -1):
        paths[t] = place % tags
        if t:
            place = back[t - 1].flatten(1).gather(1, place)
    return paths, score
