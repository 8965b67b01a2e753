"""Which entity types are related, how often and how far apart: learned from relations, or declared in a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, Optional, Tuple

from spacy_clinical_ner.brat.configuration import RelationType
from spacy_clinical_ner.relations.mentions import MentionKey, Mentions

TypePair = Tuple[str, str]  # labels of head and tail


@dataclass
class TypePairEntry:
    """What is known of relations between a head and a tail of certain types.

    labels: relations seen, by label; 0 for a label that was only declared.
    reach: most tokens seen between tail and a head behind it, and between head and a tail behind it; -1 where this
        order was never seen. None if the pair was declared and not learned.
    """

    labels: Counter = field(default_factory=Counter)
    reach: Optional[Tuple[int, int]] = (-1, -1)

    @property
    def count(self) -> int:
        """Relations seen; at least 1 for a declared pair, which no minimum shuts out."""
        return sum(self.labels.values()) if self.reach is not None else max(1, sum(self.labels.values()))


class TypePairSchema:
    """Entries by type pair, and their JSON."""

    def __init__(self, entries: Optional[Mapping[TypePair, TypePairEntry]] = None) -> None:
        self.entries: Dict[TypePair, TypePairEntry] = dict(entries or {})

    @classmethod
    def declared(cls, types: Iterable[RelationType]) -> TypePairSchema:
        """Pairs that an annotation.conf allows, at any distance and in both orders."""
        schema = cls()
        for relation in types:
            for head in relation.heads:
                for tail in relation.tails:
                    entry = schema.entries.setdefault((head, tail), TypePairEntry(reach=None))
                    entry.labels[relation.label] += 0
        return schema

    def learn(self, mentions: Mentions, relations: Iterable[Tuple[MentionKey, MentionKey, str]]) -> None:
        """Count the relations of one document: head, tail and label."""
        index = mentions.index()
        for head_key, tail_key, label in relations:
            head, tail = index[head_key], index[tail_key]
            entry = self.entries.setdefault((head_key[2], tail_key[2]), TypePairEntry())
            entry.labels[label] += 1
            if entry.reach is not None:
                backward, forward = entry.reach
                gap = max(0, max(head_key[0], tail_key[0]) - min(head_key[1], tail_key[1]))
                entry.reach = (backward, max(forward, gap)) if head < tail else (max(backward, gap), forward)

    def to_json(self) -> Dict[str, Any]:
        """{"HEAD\\tTAIL": {"labels": {label: count}, "reach": [backward, forward] or null}}."""
        return {
            "\t".join(pair): {"labels": dict(entry.labels), "reach": entry.reach and list(entry.reach)}
            for pair, entry in sorted(self.entries.items())
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TypePairSchema:
        schema = cls()
        for key, value in data.items():
            head, tail = key.split("\t")
            reach = None if value["reach"] is None else (int(value["reach"][0]), int(value["reach"][1]))
            schema.entries[head, tail] = TypePairEntry(Counter(value["labels"]), reach)
        return schema
