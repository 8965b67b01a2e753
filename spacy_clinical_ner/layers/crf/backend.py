"""The few array operations of a recursion's step, by the library whose calls cost least for the tensors at hand."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor

# From this many numbers on, torch adds broadcast arrays faster than NumPy does, calling included; up to this many it
# does so on one thread.
_LARGE = 8192
_SERIAL = 32767


class Backend:
    """NumPy on the memory of tensors of a CPU, where a call costs a third of the same torch call; else torch.

    `matmul`, `multiply` and `divide` are those of the library; axes and `out` are spelled as NumPy has them.
    """

    def __init__(self, numpy: bool) -> None:
        self.numpy = numpy
        library: Any = np if numpy else torch
        self.matmul, self.multiply, self.divide, self.add = (
            getattr(library, name) for name in ("matmul", "multiply", "divide", "add")
        )
        # (array, axis=, keepdims=, out=) -> the maximum over an axis
        self.max: Callable[..., Any] = np.maximum.reduce if numpy else torch.amax

    @classmethod
    def of(cls, x: Tensor) -> Backend:
        """The cheapest one for tensors on the device of x."""
        return cls(numpy=x.device.type == "cpu")

    def arrays(self, *tensors: Tensor) -> list[Any]:
        """The memory of tensors as arrays of the library: what is written there is in the tensor."""
        return [x.detach().numpy() if self.numpy else x.detach() for x in tensors]

    def quiet(self) -> AbstractContextManager:
        """Overflow and 0/0 are looked for in the results, where they are cheaper to find."""
        return np.errstate(all="ignore") if self.numpy else nullcontext()

    def take_rows(self, table: Any, rows: Any, out: Any) -> None:
        """out[...] = table[rows]."""
        if self.numpy:
            np.take(table, rows, axis=0, out=out, mode="clip")  # the mode that needs no copy of out
        else:
            out.copy_(table[rows])

    def adder(self, x: Tensor, y: Tensor, out: Tensor) -> Callable[[], Any]:
        """A call without arguments that writes x + y, broadcast, into out. All of them have the same number of axes."""
        if not self.numpy or out.numel() <= _LARGE:
            x, y, out = self.arrays(x, y, out)
            return partial(self.add, x, y, out=out)
        # In parts too small for torch to spread over threads, whose meeting would cost more than the sum.
        size = max(1, _SERIAL // out[0].numel())
        parts = list(zip(x.split(size), y.split(size), out.split(size)))

        def add_parts() -> None:
            for left, right, total in parts:
                torch.add(left, right, out=total)

        return add_parts
