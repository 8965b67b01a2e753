"""What a CRF over a short sequence says, by listing every path: slow, and too simple to be wrong."""

from itertools import product
from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.tag_scheme import Constraints


class Paths(NamedTuple):
    """All paths through one sequence that are allowed, and their scores (differentiable, float64)."""

    tags: List[Tuple[int, ...]]
    scores: Tensor

    @property
    def probabilities(self) -> List[float]:
        return self.scores.softmax(0).tolist()


def enumerate_paths(crf: LinearChainCRF, emissions: Tensor, constraints: Optional[Constraints]) -> Paths:
    """emissions: (length, tags)."""
    length, tags = emissions.shape
    paths = list(product(range(tags), repeat=length))
    if constraints is not None:
        start, end, transition = (each.tolist() for each in constraints[:3])
        paths = [
            path
            for path in paths
            if start[path[0]] and end[path[-1]] and all(transition[i][j] for i, j in zip(path, path[1:]))
        ]
    if not paths:
        return Paths([], torch.empty(0))
    each = torch.tensor(paths)  # (paths, length)
    terms = [crf.start_transitions[each[:, :1]], crf.end_transitions[each[:, -1:]]]
    terms += [crf.transitions[each[:, :-1], each[:, 1:]], emissions[torch.arange(length), each]]
    return Paths(paths, torch.cat(terms, dim=1).double().sum(1))


def random_constraints(tags: int, generator: torch.Generator) -> Constraints:
    """Constraints that forbid about a third of everything, but never all paths: tag 0 may go on for ever."""

    def some(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) < 0.65

    start, end, transition = some(tags), some(tags), some(tags, tags)
    start[0] = end[0] = transition[0, 0] = True
    return Constraints(start, end, transition)


def padded_batch(lengths: List[int], tags: int, generator: torch.Generator) -> Tuple[Tensor, Tensor]:
    """Random emissions (sequences, longest, tags) whose padding holds nan, and their mask."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    emissions = 2 * torch.randn(*mask.shape, tags, generator=generator)
    return emissions.masked_fill(~mask.unsqueeze(2), torch.nan), mask
