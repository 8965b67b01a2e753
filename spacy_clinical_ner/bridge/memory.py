"""Habits of libraries that let memory grow with the number of shapes a model has seen, and how to end them."""

from __future__ import annotations

import contextlib
import ctypes
import os
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


def keep_few_shapes() -> None:
    """Before a model first runs in a process that reads many notes: oneDNN is to keep code for few shapes.

    It keeps code for 1,024, some 40 KiB each for a BiLSTM, and as batches of notes hardly ever have the same shape, it
    finds none of them again. It asks the environment when it is first used; what is set there already stays.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")


def give_back_memory() -> None:
    """Return to the system what was freed: glibc keeps it, and in pieces that no longer fit. Nothing happens elsewhere.

    torch asks for aligned blocks, and glibc places an aligned one only where there is room for more than its size: what
    a tensor leaves behind does not even fit the next one of its shape. So the heap grows by some 10 MiB an update and
    layer while no more of it is in use (as `mallinfo2` tells). Given back now and then, that is address space alone;
    in between, resident memory still rises. `MALLOC_MMAP_THRESHOLD_=1048576` in the environment keeps tensors out of
    the heap and memory flat, for some 30 % more time.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Optional[Callable[[int], int]]:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
