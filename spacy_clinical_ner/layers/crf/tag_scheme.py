"""Tag schemes: labelled spans as one tag a token, and which tag sequences mean something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, NamedTuple, Optional, Sequence, TypeVar, Union

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Index = TypeVar("Index", int, Tensor)

# Stands for a tag that is not known, which is another thing than "O".
UNKNOWN = -1
_PREFIXES = {"BIO": "BI", "BIOES": "BIES"}


class Constraints(NamedTuple):
    """Which tags may start a sequence, end it, and follow each other.

    start, end: (tags,) bool. transition: (tags, tags) bool, [i, j] = tag j may follow tag i.
    scheme: name of the tag scheme that gives the tags a meaning, if one does; posteriors of spans need it.
    """

    start: Tensor
    end: Tensor
    transition: Tensor
    scheme: Optional[str] = None


@dataclass(frozen=True)
class TagScheme:
    """How spans become tags: "BIO" (begin, inside, outside) or "BIOES" (also end and single).

    Tag 0 is "O"; then each label has its tags in turn: B-, I- (and E-, S-). Labels are known here by their index.
    Raises ValueError for another name.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _PREFIXES:
            raise ValueError(f"unknown tag scheme '{self.name}': choose one of {', '.join(_PREFIXES)}")

    @property
    def prefixes(self) -> str:
        """The kinds of tag that each label has, in order."""
        return _PREFIXES[self.name]

    def num_tags(self, labels: int) -> int:
        """Number of tags for a number of labels."""
        return 1 + labels * len(self.prefixes)

    def tags(self, labels: Sequence[str]) -> list[str]:
        """Names of all tags: "O", "B-<label>", "I-<label>", ..."""
        return ["O", *(f"{prefix}-{label}" for label in labels for prefix in self.prefixes)]

    def constraints(self, labels: Union[int, Sequence[str]]) -> Constraints:
        """What may follow what, for these labels or this number of labels."""
        count = labels if isinstance(labels, int) else len(labels)
        kind, label = self._parts(np.arange(self.num_tags(count)))
        opens = np.isin(kind, ["O", "B", "S"])
        # In BIO a mention may stop anywhere; in BIOES one that has begun must go on to its E.
        closes = np.ones_like(opens) if self.name == "BIO" else np.isin(kind, ["O", "E", "S"])
        continues = ~opens
        unfinished = np.isin(kind, ["B", "I"])
        same = label[:, None] == label
        transition = (closes[:, None] & opens) | (unfinished[:, None] & continues & same)
        return Constraints(torch.from_numpy(opens), torch.from_numpy(closes), torch.from_numpy(transition), self.name)

    def encode(self, spans: Iterable[tuple[int, int, int]], length: int) -> NDArray[np.int64]:
        """Tags (length,) of non-overlapping spans (start, end, label index), end exclusive.

        Raises ValueError for a span that is empty, outside the sequence or on top of another.
        """
        tags = np.zeros(length, dtype="int64")
        for start, end, label in spans:
            if not 0 <= start < end <= length or label < 0:
                raise ValueError(f"span ({start}, {end}, {label}) does not fit a sequence of {length} tokens")
            if tags[start:end].any():
                raise ValueError(f"span ({start}, {end}, {label}) overlaps another one")
            tags[start:end] = self.tag("I", label)
            if self.name == "BIOES":
                tags[end - 1] = self.tag("E", label)
            tags[start] = self.tag("S" if self.name == "BIOES" and end - start == 1 else "B", label)
        return tags

    def decode(self, tags: Union[Sequence[int], NDArray[np.int64], Tensor]) -> list[tuple[int, int, int]]:
        """Spans (start, end, label index) of one sequence of tags, by position: the inverse of `encode`."""
        row = torch.as_tensor(tags, dtype=torch.long).reshape(1, -1)
        return [(start, end, label) for _, start, end, label in self.spans(row).tolist()]

    def spans(self, tags: Tensor, mask: Optional[Tensor] = None) -> Tensor:
        """Spans of a batch: rows (sequence, start, end, label index), long, ordered by sequence and position.

        tags: (sequences, length) long; mask: the same shape, True for tokens (also negative tags count as padding).
        Sequences that break the scheme are read leniently: a span starts at B or S or where I or E does not continue
        one of its label, and goes on as long as it is continued.
        """
        here = tags if mask is None else tags.masked_fill(~mask.bool(), 0)
        ids = here.clamp(min=0).cpu().numpy()
        padded = np.zeros((ids.shape[0], ids.shape[1] + 2), dtype=ids.dtype)  # an O before and after
        padded[:, 1:-1] = ids
        kind, label = self._parts(padded)
        inside = padded > 0
        goes_on = np.isin(kind[:, 1:], ["I", "E"]) & np.isin(kind[:, :-1], ["B", "I"])
        goes_on &= label[:, 1:] == label[:, :-1]
        sequence, start = np.nonzero(inside[:, 1:] & ~goes_on)
        _, end = np.nonzero(inside[:, :-1] & ~goes_on)
        found = np.stack([sequence, start, end, label[sequence, start + 1]], axis=1)
        return torch.from_numpy(found.astype("int64")).to(tags.device)

    def allowed(self, tags: Tensor, num_tags: int) -> Tensor:
        """(..., length) long -> (..., length, num_tags) bool: each tag itself, and all of them where it is UNKNOWN.

        A mention that is known ends where it ends: in BIO, what follows it must not go on with it.
        """
        unknown = tags == UNKNOWN
        allowed = torch.nn.functional.one_hot(tags.clamp(min=0), num_tags).bool() | unknown.unsqueeze(-1)
        if self.name == "BIO":
            inside = torch.zeros(num_tags, dtype=torch.bool, device=tags.device)
            inside[self.tag("I", torch.arange((num_tags - 1) // len(self.prefixes)))] = True
            allowed[..., 1:, :] &= ~((unknown[..., 1:] & ~unknown[..., :-1]).unsqueeze(-1) & inside)
        return allowed

    def tag(self, prefix: str, label: Index) -> Index:
        """Index of the tag, as in tag("B", 0), or of that tag of each of many labels (labels,) long.

        Raises ValueError for a prefix that the scheme does not have.
        """
        return 1 + label * len(self.prefixes) + self.prefixes.index(prefix)

    def _parts(self, tags: NDArray) -> tuple[NDArray, NDArray]:
        """Prefix and label index of each tag; "O" and -1 outside."""
        label, position = np.divmod(tags - 1, len(self.prefixes))
        kind = np.array([*self.prefixes, "O"])[np.where(tags == 0, len(self.prefixes), position)]
        return kind, np.where(tags == 0, -1, label)
