"""Pooling without loops against pooling with them."""

import pytest
import torch

from spacy_clinical_ner.layers.pooling import group_log_softmax, range_max, range_mean


def ranges(generator, length, count):
    edges = torch.randint(0, length + 1, (count, 2), generator=generator).sort(dim=1).values
    return edges[:, 0], edges[:, 1]


@pytest.mark.parametrize("seed", range(25))
def test_ranges_against_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    length = int(torch.randint(1, 40, (), generator=generator))
    x = torch.randn(length, 3, generator=generator)
    start, end = ranges(generator, length, 30)
    for pool, one in ((range_mean, lambda rows: rows.mean(0)), (range_max, lambda rows: rows.max(0).values)):
        expected = torch.stack([one(x[a:b]) if a < b else torch.zeros(3) for a, b in zip(start, end)])
        torch.testing.assert_close(pool(x, start, end), expected)
        assert pool(x, start[:0], end[:0]).shape == (0, 3)
        assert not pool(x, start, start).any()


@pytest.mark.parametrize("pool", [range_mean, range_max])
def test_gradients(pool):
    x = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    start, end = torch.tensor([0, 3, 4, 8]), torch.tensor([9, 3, 7, 9])
    assert torch.autograd.gradcheck(lambda x: pool(x, start, end), (x,))


def test_means_of_long_sequences_do_not_drift():
    x = torch.full((200_000, 1), 0.1)
    mean = range_mean(x, torch.tensor([199_990]), torch.tensor([200_000]))
    assert abs(float(mean) - float(x[0, 0])) < 1e-7


@pytest.mark.parametrize("seed", range(10))
def test_groups_against_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 3, generator=generator) * 100
    group = torch.randint(0, 6, (20,), generator=generator)
    result = group_log_softmax(x, group, 7)
    for number in range(7):
        torch.testing.assert_close(result[group == number], x[group == number].log_softmax(0))
    x = x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: group_log_softmax(x, group, 7), (x,))
