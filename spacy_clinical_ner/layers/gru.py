"""Two gated recurrent units side by side, for the two directions of a BiGRU on a CPU.

torch has fused kernels for an LSTM on a CPU, but none for a GRU: there every time step is a node of the autograd graph
with weight gradients of its own. Here the steps run without a graph, both directions in one matrix product a step, and
the gradients of the weights are one product over all steps.
"""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def paired_gru(x: Tensor, units: Sequence[nn.GRU]) -> Tensor:
    """x: (units, time, windows, input_width) -> states (units, time, windows, hidden_width), the first step from zero.

    units: one-layer GRUs of the same shape, with biases; each reads its own part of x, as it would by itself.
    Second derivatives are not available: asking for them raises RuntimeError.
    """
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return _PairedGRU.apply(x, *(torch.stack([getattr(unit, name) for unit in units]) for name in names))


class _PairedGRU(torch.autograd.Function):
    """Cho et al. 2014, Eq. 5-8, with the reset gate behind the recurrent product, as torch and cuDNN have it.

    In the rows of the weights come reset gate r, update gate z and candidate n:
    h[t] = (1 - z) * n + z * h[t-1], n = tanh(W x + b + r * (U h[t-1] + c)).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        units, time, windows, _ = x.shape
        width = w_hh.shape[2]
        given = torch.baddbmm(b_ih.unsqueeze(1), x.flatten(1, 2), w_ih.transpose(1, 2))
        given = given.view(units, time, windows, 3 * width).transpose(0, 1).contiguous()
        onto = w_hh.transpose(1, 2).contiguous()
        bias = b_hh.unsqueeze(1).expand(-1, windows, -1).contiguous()
        states = x.new_zeros((time + 1, units, windows, width))
        recurrent = x.new_empty((time, units, windows, width))  # what r is multiplied with
        gates, candidate = given[..., : 2 * width], given[..., 2 * width :]
        product = torch.empty_like(bias)
        for t in range(time):
            torch.baddbmm(bias, states[t], onto, out=product)
            both = gates[t].add_(product[..., : 2 * width]).sigmoid_()
            recurrent[t] = product[..., 2 * width :]
            n = candidate[t].addcmul_(both[..., :width], recurrent[t]).tanh_()
            torch.lerp(n, states[t], both[..., width:], out=states[t + 1])
        ctx.save_for_backward(x, w_ih, w_hh, given, recurrent, states)
        return states[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states: Tensor) -> tuple[Tensor, ...]:
        x, w_ih, w_hh, given, recurrent, states = ctx.saved_tensors
        units, time, windows, _ = x.shape
        width = w_hh.shape[2]
        r, z, n = given.split(width, dim=3)
        # Factors of the chain rule that do not depend on what comes from later steps.
        d_n = (1 - z) * (1 - n * n)
        d_r = recurrent * r * (1 - r)
        d_z = (states[:-1] - n) * z * (1 - z)
        d_given = torch.empty_like(given)
        d_gates, d_candidate = d_given[..., : 2 * width], d_given[..., 2 * width :]
        d_product = torch.empty_like(given[0])
        d_h = x.new_zeros((units, windows, width))
        d_outer = d_states.transpose(0, 1)
        d_recurrent = torch.empty_like(states[1:])
        for t in range(time - 1, -1, -1):
            d_h = d_h + d_outer[t]
            torch.mul(d_h, d_n[t], out=d_candidate[t])
            torch.mul(d_candidate[t], d_r[t], out=d_gates[t, ..., :width])
            torch.mul(d_h, d_z[t], out=d_gates[t, ..., width:])
            d_product[..., : 2 * width] = d_gates[t]
            torch.mul(d_candidate[t], r[t], out=d_recurrent[t])
            d_product[..., 2 * width :] = d_recurrent[t]
            d_h = torch.baddbmm(d_h * z[t], d_product, w_hh)
        d_given = d_given.transpose(0, 1).flatten(1, 2)
        before = states[:-1].transpose(0, 1).flatten(1, 2)
        d_products = torch.cat([d_given[..., : 2 * width], d_recurrent.transpose(0, 1).flatten(1, 2)], dim=2)
        d_x = torch.bmm(d_given, w_ih).view_as(x)
        d_w_ih = torch.bmm(d_given.transpose(1, 2), x.flatten(1, 2))
        d_w_hh = torch.bmm(d_products.transpose(1, 2), before)
        return d_x, d_w_ih, d_w_hh, d_given.sum(1), d_products.sum(1)
