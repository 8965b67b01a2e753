"""The pieces that a tokenizer puts around a text: [CLS] and [SEP], <s> and </s>, ..."""

from __future__ import annotations

from typing import Any, List, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SpecialPieces(NamedTuple):
    """What a tokenizer puts around a text, and the place among them whose vector stands for pieceless tokens."""

    prefix: List[int]
    suffix: List[int]

    @property
    def size(self) -> int:
        return len(self.prefix) + len(self.suffix)

    def frame(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ids of a window with the special ones around them."""
        return np.concatenate([self.prefix, ids, self.suffix]).astype("int64")

    def anchor(self, pieces: int) -> int:
        """Place of the first special piece in a framed window of this many other pieces."""
        return 0 if self.prefix else pieces


def special_pieces(tokenizer: Any) -> SpecialPieces:
    """Find out what a tokenizer puts around a text.

    Raises ValueError for a tokenizer that has no special piece at all.
    """
    encoded = tokenizer("a", add_special_tokens=True, truncation=False, padding=False, return_special_tokens_mask=True)
    ids, mask = encoded["input_ids"], np.array(encoded["special_tokens_mask"], dtype=bool)
    content = np.flatnonzero(~mask)
    first, last = (int(content[0]), int(content[-1]) + 1) if len(content) else (len(ids), len(ids))
    found = SpecialPieces(list(ids[:first]), list(ids[last:]))
    if found.size:
        return found
    # Tokens of white space must be represented by something.
    for name in ("cls", "bos", "eos", "unk", "pad"):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            return SpecialPieces([number], [])
    raise ValueError("a tokenizer needs a special piece that can stand for white space, such as [CLS] or <s>")
