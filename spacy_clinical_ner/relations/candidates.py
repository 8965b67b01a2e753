"""Which ordered pairs of mentions are looked at: filters that can be combined, registered under `@misc`.

Without filters all ordered pairs of two different mentions are candidates. Pairs farther apart than the nearest of the
filters' limits are not even enumerated, so with a limit the cost grows with the length of a note and not its square.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import numpy as np
from numpy.typing import NDArray
from spacy.util import registry

from spacy_clinical_ner.brat.configuration import RelationType, read_relation_types
from spacy_clinical_ner.relations.mentions import Mentions, Pairs
from spacy_clinical_ner.relations.schema import TypePairSchema

ORDERS = ("forward", "backward", "both")


class PairFilter:
    """Says of pairs whether they are candidates."""

    def limit(self, schema: TypePairSchema) -> Optional[int]:
        """Tokens between two mentions beyond which no pair is a candidate; None if there is no such number."""
        return None

    def keep(self, mentions: Mentions, pairs: Pairs, schema: TypePairSchema) -> NDArray[np.bool_]:
        """(pairs,) True for candidates."""
        raise NotImplementedError


@registry.misc("spacy-clinical-ner.CandidatePairs.v1")
class CandidatePairs:
    """The pairs that every filter keeps; all ordered pairs if there is none."""

    def __init__(self, *filters: PairFilter) -> None:
        self.filters = list(filters)

    def __call__(self, mentions: Mentions, schema: TypePairSchema) -> Pairs:
        """Candidates sorted by head and tail. schema: what was learned from the training data."""
        limits = [limit for limit in (each.limit(schema) for each in self.filters) if limit is not None]
        pairs = within(mentions, min(limits, default=None))
        for each in self.filters:
            kept = each.keep(mentions, pairs, schema)
            pairs = Pairs(pairs.head[kept], pairs.tail[kept])
        order = np.lexsort((pairs.tail, pairs.head))
        return Pairs(pairs.head[order], pairs.tail[order])

    def declared_types(self) -> Optional[List[RelationType]]:
        """The relations that a file declares, if a filter names one; else type pairs are learned."""
        for each in self.filters:
            if isinstance(each, TypePairs) and each.path is not None:
                return read_relation_types(each.path)
        return None


def within(mentions: Mentions, limit: Optional[int]) -> Pairs:
    """All ordered pairs of different mentions with at most `limit` tokens between them."""
    numbers = np.arange(len(mentions))
    if limit is None:
        stop = np.full(len(mentions), len(mentions))
    else:
        stop = np.searchsorted(mentions.start, mentions.end + limit, side="right")
    counts = np.maximum(stop - numbers - 1, 0)  # a mention's later partners stand side by side
    first = np.repeat(numbers, counts)
    offsets = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    second = first + 1 + offsets
    return Pairs(np.concatenate([first, second]), np.concatenate([second, first]))


@registry.misc("spacy-clinical-ner.TokenDistance.v1")
@dataclass(frozen=True)
class TokenDistance(PairFilter):
    """At most `max_distance` tokens lie between the two mentions."""

    max_distance: int = 100

    def __post_init__(self) -> None:
        _check_distance(self.max_distance)

    def limit(self, schema: TypePairSchema) -> Optional[int]:
        return self.max_distance

    def keep(self, mentions: Mentions, pairs: Pairs, schema: TypePairSchema) -> NDArray[np.bool_]:
        return mentions.gaps(pairs) <= self.max_distance


@registry.misc("spacy-clinical-ner.SentenceDistance.v1")
@dataclass(frozen=True)
class SentenceDistance(PairFilter):
    """The mentions start in the same sentence (0), in neighbouring ones (1), and so on.

    Sentences are the Doc's own or, where it has none, end at terminal signs and line breaks.
    """

    max_distance: int = 0

    def __post_init__(self) -> None:
        _check_distance(self.max_distance)

    def keep(self, mentions: Mentions, pairs: Pairs, schema: TypePairSchema) -> NDArray[np.bool_]:
        return np.abs(mentions.sentences[pairs.head] - mentions.sentences[pairs.tail]) <= self.max_distance


def _check_distance(value: int) -> None:
    if value < 0:
        raise ValueError(f"max_distance is 0 or more, not {value}")


@registry.misc("spacy-clinical-ner.Direction.v1")
@dataclass(frozen=True)
class Direction(PairFilter):
    """The head stands before the tail ("forward"), behind it ("backward"), or either ("both")."""

    order: str = "both"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order is one of {', '.join(ORDERS)}, not '{self.order}'")

    def keep(self, mentions: Mentions, pairs: Pairs, schema: TypePairSchema) -> NDArray[np.bool_]:
        forward = pairs.head < pairs.tail
        return {"forward": forward, "backward": ~forward, "both": np.ones_like(forward)}[self.order]


@registry.misc("spacy-clinical-ner.TypePairs.v1")
@dataclass(frozen=True)
class TypePairs(PairFilter):
    """Head and tail have types between which a relation is known.

    path: an `annotation.conf` of BRAT, whose section [relations] says which types go together; it is read at
        initialize and stored with the component. By default the pairs of the training data.
    min_count: leave out pairs that have fewer relations in the training data.
    reach: of learned pairs, tokens between the mentions are at most this many times the most that was seen for the
        two types in that order, plus `slack`; an order that was never seen is left out. None sets no such limit.
    near: pairs of any types with at most this many tokens between them are candidates too; -1 for none.
    """

    path: Optional[str] = None
    min_count: int = 1
    reach: Optional[float] = 2.0
    slack: int = 10
    near: int = -1

    def __post_init__(self) -> None:
        if self.min_count < 1 or self.slack < 0 or (self.reach is not None and self.reach < 0):
            raise ValueError("min_count is at least 1, reach and slack at least 0")

    def limit(self, schema: TypePairSchema) -> Optional[int]:
        reaches = [entry.reach for entry in self._allowed(schema).values()]
        if self.reach is None or None in reaches:
            return None
        return max([self.near, 0, *(self._far(max(reach)) for reach in reaches if reach is not None)])

    def keep(self, mentions: Mentions, pairs: Pairs, schema: TypePairSchema) -> NDArray[np.bool_]:
        # One table over the labels of this note: tokens allowed between head and tail in either order, -1 for none.
        size = len(mentions.names)
        far = np.full((size, size, 2), -1, dtype="int64")
        allowed = self._allowed(schema)
        for head, head_name in enumerate(mentions.names):
            for tail, tail_name in enumerate(mentions.names):
                entry = allowed.get((head_name, tail_name))
                if entry is None:
                    continue
                if entry.reach is None or self.reach is None:
                    far[head, tail] = np.iinfo("int64").max
                else:
                    far[head, tail] = [self._far(reach) for reach in entry.reach]
        forward = (pairs.head < pairs.tail).astype("int64")
        allowed_gaps = far[mentions.labels[pairs.head], mentions.labels[pairs.tail], forward]
        return mentions.gaps(pairs) <= np.maximum(allowed_gaps, self.near)

    def _allowed(self, schema: TypePairSchema) -> Dict[Any, Any]:
        return {pair: entry for pair, entry in schema.entries.items() if entry.count >= self.min_count}

    def _far(self, reach: int) -> int:
        assert self.reach is not None
        return -1 if reach < 0 else int(reach * self.reach) + self.slack


@registry.misc("spacy-clinical-ner.TypedPairsWithin.v1")
def make_typed_pairs_within(max_distance: int = 100) -> CandidatePairs:
    """What a component takes that is not told: the default `TypePairs.v1` and `TokenDistance.v1` together.

    A name of its own, since spaCy adds the filters of a default `CandidatePairs.v1` to those that a config chose.
    """
    return CandidatePairs(TypePairs(), TokenDistance(max_distance))
