"""The two recursions of a linear-chain CRF, sum-product and max-plus, each run step by step or in parallel blocks.

A step is a handful of operations on a small array, so what it costs is mostly the calling. On a CPU the steps are
therefore NumPy calls on the memory of the tensors; elsewhere they are torch calls (`Backend`).

Long sequences with few tags are cut into blocks. What a block does to any message is a (tags, tags) matrix; the
matrices of all blocks are computed side by side, chained from block to block, and the messages inside all blocks are
then filled in side by side: about 3 sqrt(length) steps in place of `length` (Särkkä and García-Fernández 2021,
"Temporal parallelization of Bayesian smoothers", with one level of blocks in place of a tree).
"""

from __future__ import annotations

import math
from typing import Optional

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.backend import Backend

# Steps between two rescalings of a sum-product message, and between two recentrings of a max-plus message.
_RESCALE = 4
_RECENTRE = 8


def block_length(length: int, rows: int, tags: int) -> int:
    """Length of the blocks that make a recursion cheapest; `length` itself where blocks do not pay."""
    # Blocks multiply the arithmetic by tags + 2 and divide the number of calls by sqrt(length) / 3; measured bounds.
    if length < 512 or rows * tags**2 > 256:
        return length
    return math.ceil(math.sqrt(length / 2))


def _to_blocks(x: Tensor, size: int, fill: float) -> Tensor:
    """(..., length, rows, tags) -> (..., size, blocks * rows, tags): all blocks side by side, padded with `fill`."""
    blocks = -(-x.shape[-3] // size)
    x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, blocks * size - x.shape[-3]), value=fill)
    return x.unflatten(-3, (blocks, size)).transpose(-4, -3).flatten(-3, -2).contiguous()


def _from_blocks(x: Tensor, rows: int, length: int) -> Tensor:
    """The inverse of `_to_blocks`."""
    return x.unflatten(-2, (-1, rows)).transpose(-4, -3).flatten(-4, -3).narrow(-3, 0, length)


def sum_product(
    entry: Tensor, matrix: Tensor, weight: Tensor, size: Optional[int] = None
) -> Optional[tuple[Tensor, Tensor]]:
    """Messages m[0] = entry, m[t] = (m[t-1] * weight[t-1]) @ matrix, rescaled on the way.

    entry: (directions, rows, tags). matrix: (directions, tags, tags). weight: (directions, length, rows, tags).
    size: length of the blocks, chosen by `block_length` unless given.

    Returns the messages (directions, length, rows, tags) and their scales (directions, length, rows) float64: the true
    message is message * exp(scale). Returns None if the blocks disagree at their joints, which happens only where
    numbers left the range of the dtype.
    """
    directions, length, rows, tags = weight.shape
    size = block_length(length, rows, tags) if size is None else size
    if size >= length:
        messages, scale = _steps(entry.unsqueeze(2), matrix, weight.unsqueeze(3), keep=True)
        return messages[:, :length].squeeze(3), scale[:, :length].squeeze(3)

    inside = _to_blocks(weight, size, 1.0).unsqueeze(3)
    blocks = inside.shape[2] // rows
    units = torch.eye(tags, dtype=entry.dtype, device=entry.device).expand(directions, blocks * rows, -1, -1)
    product, log = (x.double() for x in _steps(units, matrix, inside, keep=False))
    # A tag that leads nowhere has a row of 0/0.
    product = product.nan_to_num_(0.0).view(directions, blocks, rows, tags, tags)
    log = log.nan_to_num_(-torch.inf).view(directions, blocks, rows, tags, 1)
    peak = log.amax(3, keepdim=True)
    product *= (log - peak).exp_()

    entries = entry.new_empty((directions, blocks, rows, 1, tags), dtype=torch.float64)
    totals = entry.new_ones((directions, blocks, rows, 1, 1), dtype=torch.float64)
    entries[:, 0] = entry.unsqueeze(2)
    ops = Backend.of(entry)
    e, z, p = ops.arrays(*(x.transpose(0, 1) for x in (entries, totals, product)))
    with ops.quiet():
        for block in range(1, blocks):
            arrived = ops.matmul(e[block - 1], p[block - 1])
            z[block] = arrived.sum(axis=-1, keepdims=True)
            ops.divide(arrived, z[block], out=e[block])
    scales = totals.log_()
    scales[:, 1:] += peak[:, :-1]
    scales = scales.cumsum(1)

    messages, scale = _steps(entries.to(entry.dtype).view(directions, -1, 1, tags), matrix, inside, keep=True)
    left = messages[:, -1].view(directions, blocks, rows, tags)[:, :-1].double()
    left /= left.sum(-1, keepdim=True)
    if not torch.allclose(left, entries[:, 1:].squeeze(3), rtol=1e-3, atol=0.0):
        return None
    scale = scale[:, :-1] + scales.view(directions, 1, -1, 1)
    return _from_blocks(messages[:, :-1].squeeze(3), rows, length), _from_blocks(scale, rows, length).squeeze(3)


def _steps(entry: Tensor, matrix: Tensor, weight: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """One step after the other, for several copies of each row that share its weights.

    entry: (directions, rows, copies, tags). weight: (directions, length, rows, 1, tags).
    Returns length + 1 messages (directions, length + 1, rows, copies, tags) and their scales, as `sum_product` does;
    unless `keep` only the last of each, without the axis of length.
    """
    directions, rows, copies, tags = entry.shape
    length = weight.shape[1]
    slots = length + 1 if keep else 2
    messages = entry.new_empty((directions, slots, rows, copies, tags))
    messages[:, 0] = entry
    state = entry.new_empty(entry.shape)
    totals = entry.new_empty((directions, -(-length // _RESCALE), rows, copies, 1))
    ones = entry.new_ones((directions, tags, 1))  # for short rows a product with it is the quickest sum
    # The same memory with time first and without the axis of copies, for the matrix products.
    flat = [x.flatten(-3, -2).transpose(0, 1) for x in (messages, totals)]
    ops = Backend.of(entry)
    m, w, z, s, one, step, flat_m, flat_z, flat_s = ops.arrays(
        *(x.transpose(0, 1) for x in (messages, weight, totals)), state, ones, matrix, *flat, state.flatten(1, 2)
    )
    multiply, divide, matmul = ops.multiply, ops.divide, ops.matmul
    with ops.quiet():
        for t in range(length):
            multiply(m[t % slots], w[t], out=s)
            if t % _RESCALE == 0:
                matmul(flat_s, one, out=flat_z[t // _RESCALE])
                divide(s, z[t // _RESCALE], out=s)
            matmul(flat_s, step, out=flat_m[(t + 1) % slots])
    taken = totals.squeeze(-1).double().log_().cumsum(1)
    if not keep:
        return messages[:, length % slots], taken[:, -1]
    scale = torch.nn.functional.pad(taken, (0, 0, 0, 0, 1, 0))
    return messages, scale[:, (torch.arange(length + 1, device=entry.device) + _RESCALE - 1) // _RESCALE]


def max_plus(entry: Tensor, transitions: Tensor, emissions: Tensor, size: Optional[int] = None) -> Tensor:
    """Scores b[0] = entry + e[0], b[t, j] = max_i (b[t-1, i] + transitions[i, j]) + e[t, j], up to a constant each.

    entry: (tags,). emissions: (length, rows, tags). size: length of the blocks, as in `sum_product`.
    Returns (length, rows, tags) scores; only differences within a row mean something.
    """
    length, rows, tags = emissions.shape
    size = block_length(length, rows, tags) if size is None else size
    if size >= length:
        first = entry + emissions[:1]
        return _max_steps(first.unsqueeze(2), transitions, emissions.unsqueeze(2), keep=True, recentre=True).squeeze(2)

    # Without recentring, which would lose how the tags that a block is entered by compare; hence in float64.
    dtype, entry, transitions, emissions = emissions.dtype, entry.double(), transitions.double(), emissions.double()
    inside = _to_blocks(emissions, size, 0.0).unsqueeze(2)
    blocks = inside.shape[1] // rows
    units = torch.full((tags, tags), -torch.inf, dtype=entry.dtype, device=entry.device).fill_diagonal_(0.0)
    product = _max_steps(units + inside[:1], transitions, inside, keep=False, recentre=False)
    product = product.view(blocks, rows, tags, tags)
    onward = (product.unsqueeze(4) + transitions).amax(3)  # through a block and into the next
    entries = entry.new_empty((blocks, rows, tags))
    entries[0] = entry
    ops = Backend.of(entry)
    x, through = ops.arrays(entries, onward)
    for block in range(1, blocks):
        arrived = ops.max(x[block - 1][:, :, None] + through[block - 1], axis=1)
        x[block] = arrived - ops.max(arrived, axis=1, keepdims=True)
    first = entries.view(1, -1, 1, tags) + inside[:1]
    best = _max_steps(first, transitions, inside, keep=True, recentre=True)
    return _from_blocks(best.squeeze(2), rows, length).to(dtype)


def _max_steps(first: Tensor, transitions: Tensor, emissions: Tensor, keep: bool, recentre: bool) -> Tensor:
    """Step by step. first: (1, rows, copies, tags), the scores at position 0. emissions: (length, rows, 1, tags)."""
    length, (rows, copies, tags) = len(emissions), first.shape[1:]
    slots = length if keep else 1
    best = first.new_empty((slots, rows, copies, tags))
    best[0] = first[0]
    state = first[0].clone()
    # Laid out [from, row, to], so that the maximum is taken over whole slabs.
    candidates = first.new_empty((tags, rows * copies, tags))
    column, step = state.view(-1, tags).t().unsqueeze(2), transitions.unsqueeze(1).contiguous()
    ops = Backend.of(first)
    b, e, s, c, flat_s = ops.arrays(best, emissions, state, candidates, state.view(-1, tags))
    add = ops.adder(column, step, out=candidates)
    with ops.quiet():
        for t in range(1, length):
            add()
            ops.max(c, axis=0, out=flat_s)
            s += e[t]
            if recentre and t % _RECENTRE == 0:
                s -= ops.max(s, axis=-1, keepdims=True)
            b[t % slots] = s
    return best


def trace_back(best: Tensor, end: Tensor, transitions: Tensor, lengths: Tensor, size: Optional[int] = None) -> Tensor:
    """Tags (length, rows) long of the best paths through the scores that `max_plus` returns.

    Back pointers are not kept but recomputed along the path. lengths: (rows,) long; tags beyond them mean nothing.
    Ties go to the lower tag, as in pytorch-crf.
    """
    length, rows, tags = best.shape
    size = block_length(length, rows, tags) if size is None else size
    onto = transitions.t().contiguous()  # [to, from]
    last = (lengths - 1).tolist()
    stops: dict[int, list[int]] = {}
    if size >= length:
        for sequence, t in enumerate(last):
            stops.setdefault(t, []).append(sequence)
        return _trace_steps(best.unsqueeze(2), end, onto, stops, end.new_zeros(1, tags)).squeeze(2)

    # The path to each tag that a block may be left by, for all blocks side by side; then choose from the last on.
    blocks = -(-length // size)
    inside = _to_blocks(best, size, 0.0).unsqueeze(2)
    for sequence, t in enumerate(last):
        stops.setdefault(t % size, []).append(t // size * rows + sequence)
    units = torch.full((tags, tags), -torch.inf, dtype=best.dtype, device=best.device).fill_diagonal_(0.0)
    paths = _trace_steps(inside, end, onto, stops, units)
    paths = paths.view(size, blocks, rows, tags)
    # By which tag the block before is left, for each tag that a block may be left by.
    before = (best[size - 1 : -1 : size].unsqueeze(2) + onto[paths[0, 1:]]).argmax(3)
    leave = torch.zeros((blocks, rows), dtype=torch.long, device=best.device)
    chosen, b, row = Backend.of(best).arrays(leave, before, torch.arange(rows, device=best.device))
    for block in range(blocks - 1, 0, -1):
        chosen[block - 1] = b[block - 1][row, chosen[block]]
    taken = paths.gather(3, leave.expand(size, -1, -1).unsqueeze(3)).squeeze(3)
    return taken.movedim(1, 0).reshape(-1, rows)[:length]


def _trace_steps(best: Tensor, end: Tensor, onto: Tensor, stops: dict[int, list[int]], leave: Tensor) -> Tensor:
    """Step by step. best: (length, rows, 1, tags); stops: the rows whose sequence ends at a position.

    leave: (copies, tags), what is added to the scores at the last position for each copy of a row.
    Returns (length, rows, copies).
    """
    length, rows, _, tags = best.shape
    leave = leave.expand(rows, -1, -1)
    paths = torch.empty((length, rows, leave.shape[1]), dtype=torch.long, device=best.device)
    onward = best.new_empty((rows, leave.shape[1], tags))
    onward.copy_(leave)
    ops = Backend.of(best)
    b, stop, o, p, table = ops.arrays(best, end, onward, paths, onto)
    for t in range(length - 1, -1, -1):
        if t in stops:
            o[stops[t]] = stop
        tag = (b[t] + o).argmax(-1)
        p[t] = tag
        ops.take_rows(table, tag, out=o)
    return paths
