"""Everything that a CRF computes equals enumeration of all paths: 30 * 20 + 10 * 12 = 720 random sequences."""

import math
from typing import List, Optional

import pytest
import torch

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.tag_scheme import Constraints, TagScheme
from tests.layers.crf.enumeration import Paths, enumerate_paths, padded_batch, random_constraints


class Case:
    """A batch of ragged sequences, a CRF, and all the paths of each sequence."""

    def __init__(self, lengths: List[int], tags: int, seed: int, constraints: Optional[Constraints]) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        if constraints is None and seed % 2:
            constraints = random_constraints(tags, self.generator)
        self.crf = LinearChainCRF(tags, batch_first=True, constraints=constraints)
        for parameter in self.crf.parameters():
            parameter.data.normal_(std=1.5, generator=self.generator)
        self.emissions, self.mask = padded_batch(lengths, tags, self.generator)
        self.emissions.requires_grad_()
        self.rows: List[Paths] = [
            enumerate_paths(self.crf, row[:length], constraints) for row, length in zip(self.emissions, lengths)
        ]

    def gold(self) -> List[int]:
        """Which path is the gold one, for each sequence."""
        return [int(torch.randint(len(row.tags), (1,), generator=self.generator)) for row in self.rows]


def check_likelihood(case: Case) -> None:
    gold = case.gold()
    tags = torch.zeros(case.mask.shape, dtype=torch.long)
    for i, (row, choice) in enumerate(zip(case.rows, gold)):
        tags[i, : len(row.tags[choice])] = torch.tensor(row.tags[choice])
    weight = torch.rand(len(gold), generator=case.generator)
    wanted = torch.stack([row.scores[choice] - row.scores.logsumexp(0) for row, choice in zip(case.rows, gold)])
    found = case.crf(case.emissions, tags, mask=case.mask, reduction="none")
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)

    leaves = [case.emissions, *case.crf.parameters()]
    analytic = torch.autograd.grad(found @ weight, leaves)
    # Sequences of one token have no transitions, and enumeration no gradient for them.
    reference = torch.autograd.grad(wanted @ weight.double(), leaves, retain_graph=True, allow_unused=True)
    for a, b in zip(analytic, reference):
        wanted_gradient = torch.zeros_like(a) if b is None else b
        torch.testing.assert_close(a, wanted_gradient, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the cheaper pass without gradients
        again = case.crf(case.emissions, tags, mask=case.mask, reduction="none")
    torch.testing.assert_close(again, found.detach())


def check_best_paths(case: Case) -> None:
    best = [list(row.tags[int(row.scores.argmax())]) for row in case.rows]
    assert case.crf.decode(case.emissions, case.mask) == best
    paths, scores = case.crf.decode_tensor(case.emissions, case.mask)
    assert [row[: len(wanted)] for row, wanted in zip(paths.tolist(), best)] == best
    assert (paths == -1).equal(~case.mask)
    wanted_scores = torch.stack([row.scores.max() for row in case.rows]).detach()
    torch.testing.assert_close(scores.double(), wanted_scores, rtol=1e-5, atol=1e-5)


def check_nbest(case: Case) -> None:
    for n in (1, 3, 10**5 if len(case.rows[0].tags) < 300 else 40):
        for row, found in zip(case.rows, case.crf.decode_nbest(case.emissions, case.mask, n)):
            order = row.scores.argsort(descending=True)[:n].tolist()
            assert [tuple(path) for path, _ in found] == [row.tags[i] for i in order]
            log = row.scores.detach().log_softmax(0)
            assert [p for _, p in found] == pytest.approx([float(log[i]) for i in order], abs=1e-5)


def check_marginals(case: Case) -> None:
    found = case.crf.marginals(case.emissions, case.mask)
    wanted = torch.zeros_like(found)
    for i, row in enumerate(case.rows):
        paths = torch.nn.functional.one_hot(torch.tensor(row.tags), wanted.shape[2])
        wanted[i, : paths.shape[1]] = torch.einsum("p,plt->lt", torch.tensor(row.probabilities), paths.float())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert not found[wanted == 0].any()  # the impossible, and padding, have probability 0 and not about 0


def check_spans(case: Case, scheme: TagScheme) -> None:
    labels = (case.crf.num_tags - 1) // len(scheme.prefixes)
    spans, wanted = [], []
    for i, row in enumerate(case.rows):
        decoded = [set(scheme.decode(path)) for path in row.tags]
        length = len(row.tags[0])
        for start in range(length):
            for end in range(start + 1, length + 1):
                for label in range(labels):
                    spans.append([i, start, end, label])
                    mass = [p for p, found in zip(row.probabilities, decoded) if (start, end, label) in found]
                    wanted.append(math.fsum(mass))
    found = case.crf.span_log_probability(case.emissions, case.mask, torch.tensor(spans)).exp()
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("tags", [2, 3, 4])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("constrained", [False, True])
def test_equals_enumeration(length: int, tags: int, constrained: bool) -> None:
    for batch in range(4):
        lengths = [length, length, *(1 + (batch + i) % length for i in range(3))]
        case = Case(lengths, tags, seed=1000 * length + 100 * tags + 2 * batch + constrained, constraints=None)
        assert (case.crf.allowed_start is not None) == constrained
        check_likelihood(case)
        check_best_paths(case)
        check_nbest(case)
        check_marginals(case)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("name", "labels"), [("BIO", 1), ("BIOES", 1)])
def test_equals_enumeration_with_a_tag_scheme(length: int, name: str, labels: int) -> None:
    scheme = TagScheme(name)
    for seed in range(3):
        lengths = [length, length, 1 + seed % length, max(1, length - 1)]
        case = Case(lengths, scheme.num_tags(labels), 7 * length + seed, scheme.constraints(labels))
        check_likelihood(case)
        check_best_paths(case)
        check_nbest(case)
        check_marginals(case)
        check_spans(case, scheme)


@pytest.mark.parametrize("name", ["BIO", "BIOES"])
def test_span_posteriors_with_two_labels(name: str) -> None:
    scheme = TagScheme(name)
    case = Case([4, 3, 2, 1], scheme.num_tags(2), 5, scheme.constraints(2))
    check_spans(case, scheme)


def test_span_posteriors_with_a_temperature() -> None:
    scheme = TagScheme("BIO")
    case = Case([4, 2], 3, 3, scheme.constraints(1))
    spans = torch.tensor([[0, 1, 3, 0], [1, 0, 1, 0]])
    found = case.crf.span_log_probability(case.emissions, case.mask, spans, temperature=2.5)
    with torch.no_grad():
        for parameter in case.crf.parameters():
            parameter /= 2.5
    torch.testing.assert_close(found, case.crf.span_log_probability(case.emissions / 2.5, case.mask, spans))
