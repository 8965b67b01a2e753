from __future__ import annotations

from typing import Optional

import pytest
import torch

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.divergence import crf_divergence
from spacy_clinical_ner.layers.crf.tag_scheme import Constraints
from tests.layers.crf.enumeration import enumerate_paths, padded_batch, random_constraints


def random_crf(tags: int, constraints: Optional[Constraints], seed: int) -> LinearChainCRF:
    torch.manual_seed(seed)
    crf = LinearChainCRF(tags, batch_first=True, constraints=constraints)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def by_hand(student, student_emissions, teacher, teacher_emissions, mask, temperature, constraints) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(mask.sum(1).tolist()):
        ours = enumerate_paths(student, student_emissions[row, :length], constraints).scores / temperature
        theirs = enumerate_paths(teacher, teacher_emissions[row, :length], constraints).scores / temperature
        target = theirs.softmax(0).detach()
        total = total + (target * (target.log() - ours.log_softmax(0))).sum()
    return total


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("seed", range(8))
def test_divergence_and_gradients_are_those_of_listing_all_taggings(
    seed: int, temperature: float, constrained: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tags = 3
    constraints = random_constraints(tags, generator) if constrained else None
    student, teacher = random_crf(tags, constraints, seed), random_crf(tags, constraints, seed + 100)
    lengths = torch.randint(1, 6, (3,), generator=generator).tolist()
    ours, mask = padded_batch(lengths, tags, generator)
    theirs, _ = padded_batch(lengths, tags, generator)
    found_leaf, expected_leaf = ours.clone().requires_grad_(), ours.clone().requires_grad_()
    found = crf_divergence(student, found_leaf, teacher, theirs, mask, temperature)
    found.backward()
    gradients = [parameter.grad.clone() for parameter in student.parameters()]
    student.zero_grad()
    expected = by_hand(student, expected_leaf, teacher, theirs, mask, temperature, constraints)
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(found_leaf.grad[mask], expected_leaf.grad[mask], atol=1e-5)
    for gradient, parameter in zip(gradients, student.parameters()):
        assert torch.allclose(gradient, parameter.grad, atol=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_nothing_divides_a_crf_from_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    crf = random_crf(4, None, 0)
    emissions, mask = padded_batch([300, 5], 4, generator)
    assert crf_divergence(crf, emissions, crf, emissions, mask, 2.0).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("tags", "temperature", "reason"), [(3, 1.0, "tags"), (2, 0.0, "temperature")])
def test_what_cannot_be_compared(tags: int, temperature: float, reason: str) -> None:
    one, other = random_crf(2, None, 0), random_crf(tags, None, 0)
    with pytest.raises(ValueError, match=reason):
        crf_divergence(
            one, torch.zeros(1, 2, 2), other, torch.zeros(1, 2, tags), torch.ones(1, 2, dtype=torch.bool), temperature
        )
