"""Pooling of any number of ranges or groups of rows at once, without a loop over them."""

from __future__ import annotations

import torch
from torch import Tensor


def range_positions(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Of the positions of all ranges, one range after the other: the number of the range, and the offset in it.

    start, end: (ranges,) long. Both results have as many entries as the ranges have positions.
    """
    lengths = end - start
    number = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return number, torch.arange(len(number), device=lengths.device) - (lengths.cumsum(0) - lengths)[number]


def range_mean(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mean of x[start:end] for each range, 0 for an empty one. x: (length, width); start, end: (ranges,) long.

    Differences of running sums, which are kept in float64: their rounding would otherwise grow with the length.
    """
    sums = torch.cat([x.new_zeros((1, x.shape[1]), dtype=torch.float64), x.double().cumsum(0)])
    totals = (sums[end] - sums[start]).to(x.dtype)
    return totals / (end - start).clamp(min=1).unsqueeze(1).to(x.dtype)


def range_max(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Maximum of x[start:end] for each range, 0 for an empty one. x: (length, width); start, end: (ranges,) long.

    A sparse table (Bender and Farach-Colton 2000): maxima over all stretches of 1, 2, 4, ... positions, of which two
    cover any range.
    """
    lengths = end - start
    longest = int(lengths.max()) if len(lengths) else 0
    if longest < 1:
        return x.new_zeros((len(start), x.shape[1]))
    tables = [x]
    while 2 ** len(tables) <= longest:
        step = 2 ** (len(tables) - 1)
        last = tables[-1]
        tables.append(torch.cat([torch.maximum(last[:-step], last[step:]), last[-step:]]))
    levels = torch.arange(len(tables), device=x.device)
    level = (2**levels <= lengths.unsqueeze(1)).sum(1).clamp(min=1) - 1
    offsets = level * len(x)
    stacked = torch.cat(tables)
    empty = lengths < 1
    first = torch.where(empty, torch.zeros_like(start), offsets + start)
    second = torch.where(empty, torch.zeros_like(start), offsets + end - 2**level)
    return torch.maximum(stacked[first], stacked[second]).masked_fill(empty.unsqueeze(1), 0.0)


def group_log_softmax(x: Tensor, group: Tensor, groups: int) -> Tensor:
    """Log-softmax of each column over the rows of the same group. x: (rows, columns); group: (rows,) below `groups`."""
    index = group.unsqueeze(1).expand_as(x)
    highest = x.new_full((groups, x.shape[1]), -torch.inf).scatter_reduce(0, index, x.detach(), "amax")
    shifted = x - highest[group]
    return shifted - x.new_zeros((groups, x.shape[1])).index_add(0, group, shifted.exp()).log()[group]
