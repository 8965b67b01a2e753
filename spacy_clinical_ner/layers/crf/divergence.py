"""How far one linear-chain CRF is from another over the same sequences, as a loss for the first.

Structural knowledge distillation (Wang et al. 2021, "Structural knowledge distillation: tractably distilling
information for structured predictor"), where both factor into tags and pairs of neighbouring tags.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.likelihood import log_partition
from spacy_clinical_ner.layers.crf.messages import compute_messages, edge_counts


def crf_divergence(
    student: LinearChainCRF,
    student_emissions: Tensor,
    teacher: LinearChainCRF,
    teacher_emissions: Tensor,
    mask: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student) of the distributions over whole taggings: a scalar in nats.

    Both are softened: all scores are divided by `temperature` (Hinton et al. 2015). The sum runs over the sequences; it
    is exact, by forward-backward passes, and differentiable with respect to the student's emissions and transitions.
    emissions: (sequences, length, tags) of CRFs with batch_first and the same constraints. mask: (sequences, length)
    bool, True for tokens, the first positions of each sequence.
    Raises ValueError for CRFs with different numbers of tags, and for a temperature that is not above 0.
    """
    if student.num_tags != teacher.num_tags:
        raise ValueError(f"the student has {student.num_tags} tags, the teacher {teacher.num_tags}")
    with torch.no_grad():
        # In float64: the entropy is a small difference of sums as large as the note is long.
        target = teacher.scores(teacher_emissions, mask).to(torch.float64).tempered(temperature)
        messages = compute_messages(target)
        at, pairs = messages.expectations(target, torch.ones_like(target.emissions[0, :, 0]))
        counts = (at, *edge_counts(at, target.lengths), pairs)
        negative_entropy = _expected(counts, target[:4]) - messages.log_partition.sum()
    scores = student.scores(student_emissions, mask).to(torch.float64).tempered(temperature)
    return negative_entropy - _expected(counts, scores[:4]) + log_partition(scores).sum()


def _expected(counts: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
    """Expected score of a tagging: what is never expected counts nothing, whatever its score."""
    terms = [(count * score.double().masked_fill(count == 0, 0.0)).sum() for count, score in zip(counts, scores)]
    return torch.stack(terms).sum()
