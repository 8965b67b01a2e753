"""Numbers beyond which a command only fails late or fills the memory: refused as usage."""

from __future__ import annotations

import math
import re
from typing import List, Optional, Union

import typer

# NumPy's generators take no more than 32 bits.
MAX_SEED = 2**32 - 1
MAX_THREADS = 256
MAX_COUNT = 10**9
MAX_MINUTES = 60.0 * 24 * 366


def not_nan(value: Optional[Union[float, List[float]]]) -> Optional[Union[float, List[float]]]:
    """For options that are real numbers: NaN lies neither below a minimum nor above a maximum."""
    if any(math.isnan(number) for number in (value if isinstance(value, list) else [value or 0.0])):
        raise typer.BadParameter("nan is not a number to compute with")
    return value


def plain_name(value: str) -> str:
    """For names that become a part of a path: one that leads elsewhere is refused."""
    if re.fullmatch(r"\w[\w.+-]*", value) is None:
        raise typer.BadParameter("a name of letters, digits and the signs . _ + - is expected")
    return value
