"""Two habits of libraries that let memory grow with the number of shapes an encoder has seen, and how to end them."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import lru_cache
from typing import Any, Callable, Iterator, Optional

import torch


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """For predicting on a CPU with batches of ever new shapes: torch's own kernels instead of oneDNN's.

    oneDNN makes code for each shape it meets and keeps it, some 10 MiB for 5,000 notes through an encoder of two
    layers, which is not faster for that.
    """
    flags: Any = torch.backends.mkldnn
    enabled = flags.enabled
    flags.enabled = False
    try:
        yield
    finally:
        flags.enabled = enabled


def give_back_memory() -> None:
    """Return to the system what was freed: glibc keeps it, and in pieces that no longer fit. Nothing happens elsewhere.

    torch asks for aligned blocks, and glibc places an aligned one only where there is room for more than its size: what
    a tensor leaves behind does not even fit the next one of its shape. So the heap grows by some 10 MiB an update and
    layer while no more of it is in use (`mallinfo2`): address space alone, if free pages are given back often enough.
    Every 5 updates takes no measurable time; with every 20, resident memory swings by half of what is needed.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Optional[Callable[[int], int]]:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
