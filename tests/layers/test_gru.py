"""The GRU of a CPU against that of torch: states, all gradients, and what it refuses."""

import pytest
import torch
from torch import nn

from spacy_clinical_ner.layers.encoders import BiGRU
from spacy_clinical_ner.layers.gru import paired_gru


def random_units(input_width, width, seed):
    torch.manual_seed(seed)
    return [nn.GRU(input_width, width, batch_first=True).double() for _ in range(2)]


def gradients(units, x):
    return [x.grad, *(parameter.grad for unit in units for parameter in unit.parameters())]


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("time", [1, 2, 3, 4, 5, 23])
@pytest.mark.parametrize(("input_width", "width"), [(1, 1), (2, 5), (7, 3)])
def test_equals_torch(windows, time, input_width, width):
    units = random_units(input_width, width, seed=time)
    x = torch.randn(2, time, windows, input_width, dtype=torch.float64)
    weight = torch.randn(2, time, windows, width, dtype=torch.float64)

    def run(function):
        for unit in units:
            unit.zero_grad()
        leaf = x.clone().requires_grad_()
        states = function(leaf)
        (states * weight).sum().backward()
        return [states.detach(), *(each.clone() for each in gradients(units, leaf))]

    def of_torch(leaf):
        return torch.stack([unit(part.transpose(0, 1))[0].transpose(0, 1) for unit, part in zip(units, leaf)])

    torch.testing.assert_close(run(lambda leaf: paired_gru(leaf, units)), run(of_torch), rtol=1e-9, atol=1e-9)


def test_gradcheck():
    units = random_units(2, 3, seed=1)
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda leaf: paired_gru(leaf, units), (x,))


def test_second_derivatives_are_refused():
    units = random_units(2, 3, seed=1)
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(paired_gru(x, units).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_a_cpu_runs_both_directions_as_torch_does_elsewhere(monkeypatch):
    torch.manual_seed(2)
    encoder = BiGRU(6, 5, depth=2).eval()
    x = torch.randn(3, 9, 6)
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])
    found = encoder(x, mask)
    monkeypatch.setattr(BiGRU, "_run", BiGRU.__mro__[1]._run)
    torch.testing.assert_close(found, encoder(x, mask), rtol=1e-5, atol=1e-6)
