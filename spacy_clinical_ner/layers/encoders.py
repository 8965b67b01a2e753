"""Contextual encoders: plain torch modules from (windows, length, width) to (windows, length, output_width).

Every encoder takes a boolean mask (True = a token, padding on the right only), gives zeros at padding, and its result
for a window does not depend on what the window is batched with.
"""

from __future__ import annotations

from typing import Callable, ClassVar, Optional, Sequence, cast

import torch
from torch import Tensor, nn

from spacy_clinical_ner.windows.batches import WindowBatch, over_windows

EncoderBuilder = Callable[[int], nn.Module]


class LockedDropout(nn.Module):
    """Dropout that strikes the same features at every position of a window (Gal and Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: (windows, length, width)."""
        if not self.training or not self.p:
            return x
        keep = x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - self.p).div_(1 - self.p)
        return x * keep


def _reversed_positions(mask: Tensor) -> Tensor:
    """(windows, length) indices that turn the tokens of each window around and leave its padding where it is."""
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    mirrored = mask.sum(1, keepdim=True) - 1 - positions
    return torch.where(mirrored >= 0, mirrored, positions)


class _BiRNN(nn.Module):
    """Stacked bidirectional recurrent layers (Graves and Schmidhuber 2005).

    The two directions are separate networks and the backward one reads each window turned around: exact under padding,
    and on a CPU several times faster than `pack_padded_sequence`, which leaves the fused kernels.

    input_width: width of the vectors it reads.
    hidden_width: width of each direction; `output_width` is twice that.
    depth: number of layers. dropout: locked dropout between them.
    """

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]]
    gates: ClassVar[int]  # blocks of rows in a weight matrix of `cell`

    def __init__(self, input_width: int, hidden_width: int, depth: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        widths = [input_width] + [2 * hidden_width] * (depth - 1)
        self.forwards = nn.ModuleList(self.cell(width, hidden_width, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(self.cell(width, hidden_width, batch_first=True) for width in widths)
        self.dropout = LockedDropout(dropout)
        self.output_width = 2 * hidden_width
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.data.chunk(self.gates):
                    nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (windows, length, input_width), mask: (windows, length) -> (windows, length, output_width)."""
        around = _reversed_positions(mask).unsqueeze(-1)
        for depth, (left, right) in enumerate(zip(self.forwards, self.backwards)):
            if depth:
                x = self.dropout(x)
            from_left, from_right = left(x)[0], right(x.gather(1, around.expand_as(x)))[0]
            x = torch.cat([from_left, from_right.gather(1, around.expand_as(from_right))], dim=-1)
        return x * mask.unsqueeze(-1)


class BiLSTM(_BiRNN):
    """Stacked bidirectional LSTM (Hochreiter and Schmidhuber 1997); its forget gates start open."""

    cell = nn.LSTM
    gates = 4

    def __init__(self, input_width: int, hidden_width: int, depth: int = 1, dropout: float = 0.0) -> None:
        super().__init__(input_width, hidden_width, depth, dropout)
        for name, parameter in self.named_parameters():
            if "bias_ih" in name:
                parameter.data[hidden_width : 2 * hidden_width] = 1.0


class BiGRU(_BiRNN):
    """Stacked bidirectional GRU (Cho et al. 2014)."""

    cell = nn.GRU
    gates = 3


class IDCNN(nn.Module):
    """Iterated dilated convolutions (Strubell et al. 2017, Eq. 4-6): one block, applied again and again.

    The defaults are those of the CCKS-2019 system: 4 blocks that share their parameters, dilations 1, 1, 2, filters of
    width 3, 128 of them, dropout 0.5 before the first. `share=False` gives each block parameters of its own.

    The convolutions start as the identity: what is drawn at random fades away over a dozen of them, and training stands
    still for its first hundreds of steps.
    """

    def __init__(
        self,
        input_width: int,
        filters: int = 128,
        blocks: int = 4,
        dilations: tuple[int, ...] = (1, 1, 2),
        dropout: float = 0.5,
        share: bool = True,
    ) -> None:
        super().__init__()
        self.project = nn.Linear(input_width, filters)
        self.dropout = nn.Dropout(dropout)
        self.blocks = blocks
        self.convolutions = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(filters, filters, 3, padding=d, dilation=d) for d in dilations)
            for _ in range(1 if share else blocks)
        )
        for module in self.convolutions.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.dirac_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.output_width = filters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (windows, length, input_width), mask: (windows, length) -> (windows, length, filters)."""
        keep = mask.unsqueeze(1)
        x = self.project(self.dropout(x)).transpose(1, 2) * keep
        for block in range(self.blocks):
            for convolution in self._block(block):
                x = torch.relu(convolution(x)) * keep  # padding stays zero, as if the window ended there
        return x.transpose(1, 2)

    def _block(self, block: int) -> nn.ModuleList:
        layers = self.convolutions[block % len(self.convolutions)]
        assert isinstance(layers, nn.ModuleList)
        return layers


class Stack(nn.Module):
    """Encoders one after the other, each made by a builder that is told the width of what comes in.

    Raises ValueError if there is none.
    """

    def __init__(self, input_width: int, builders: Sequence[EncoderBuilder]) -> None:
        super().__init__()
        if not builders:
            raise ValueError("a stack needs at least one encoder")
        self.encoders = nn.ModuleList()
        width = input_width
        for build in builders:
            encoder = build(width)
            self.encoders.append(encoder)
            width = cast(int, encoder.output_width)
        self.output_width = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (windows, length, input_width), mask: (windows, length) -> (windows, length, output_width)."""
        for encoder in self.encoders:
            x = encoder(x, mask)
        return x


class ContextEncoder(nn.Module):
    """An encoder over the windows of notes, with dropout before and behind it; without one, dropout alone.

    input_width: width of the token vectors; `output_width` is that of the results.
    """

    def __init__(self, input_width: int, encoder: Optional[EncoderBuilder], dropout: float) -> None:
        super().__init__()
        self.dropout = LockedDropout(dropout)
        self.encoder = encoder(input_width) if encoder is not None else None
        self.output_width = input_width if self.encoder is None else cast(int, self.encoder.output_width)

    def forward(self, vectors: Tensor, batches: Sequence[WindowBatch]) -> Tensor:
        """vectors: (tokens, input_width) -> (tokens, output_width). Each token is core in exactly one window."""
        if not batches:
            return vectors.new_zeros((0, self.output_width))
        return over_windows(vectors, batches, self._encode)

    def _encode(self, x: Tensor, batch: WindowBatch) -> Tensor:
        x = self.dropout(x)
        return (x if self.encoder is None else self.dropout(self.encoder(x, batch.mask)))[batch.core]
