"""What no classifier can make up for: gold relations that are not among the candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Sequence, Tuple

from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.gold import Gold, targets
from spacy_clinical_ner.relations.mentions import Mentions
from spacy_clinical_ner.relations.schema import TypePairSchema

_FOLDS = 5


@dataclass
class CandidateCeiling:
    """gold: relations; covered: those of them that a candidate covers; candidates: pairs looked at; by_label: recall.

    Relations whose mentions have no tokens of their own count as gold and are not covered.
    """

    gold: int = 0
    covered: int = 0
    candidates: int = 0
    labels: Dict[str, Tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, candidates: CandidatePairs, schema: TypePairSchema, data: Sequence[Tuple[Mentions, Gold]]
    ) -> CandidateCeiling:
        result = cls()
        for mentions, gold in data:
            result.add(candidates, schema, mentions, gold)
        return result

    def add(self, candidates: CandidatePairs, schema: TypePairSchema, mentions: Mentions, gold: Gold) -> None:
        """Count one more document."""
        names = sorted({label for _, _, label in gold.relations})
        pairs = candidates(mentions, schema)
        hits, missed = targets(mentions, pairs, gold.relations, names)
        self.gold += len(gold.relations) + gold.lost
        self.covered += len(gold.relations) - missed
        self.candidates += len(pairs.head)
        for label, covered in zip(names, hits.sum(axis=0).tolist()):
            before = self.labels.get(label, (0, 0))
            total = sum(relation[2] == label for relation in gold.relations)
            self.labels[label] = (before[0] + covered, before[1] + total)

    @property
    def recall(self) -> float:
        """The highest recall that a classifier of these candidates can reach; 1 if there is nothing to find."""
        return self.covered / self.gold if self.gold else 1.0

    def __str__(self) -> str:
        each = f", {self.candidates / self.gold:.1f} for each" if self.gold else ""
        return f"{self.candidates:,} candidates{each} cover {self.recall:.1%} of {self.gold:,} gold relations"

    def to_json(self) -> Dict[str, Any]:
        return {
            "gold": self.gold,
            "covered": self.covered,
            "recall": self.recall,
            "candidates": self.candidates,
            "by_label": {label: covered / total for label, (covered, total) in sorted(self.labels.items())},
        }


def held_out_ceiling(candidates: CandidatePairs, data: Sequence[Tuple[Mentions, Gold]]) -> CandidateCeiling:
    """The ceiling of documents from which the type pairs were not learned, each a fifth in turn.

    A schema covers what it was learned from; how much it covers of new documents is the figure that counts.
    """
    result = CandidateCeiling()
    folds = min(_FOLDS, len(data))
    for fold in range(folds):
        schema = TypePairSchema()
        for number, (mentions, gold) in enumerate(data):
            if number % folds != fold:
                schema.learn(mentions, gold.relations)
        for mentions, gold in data[fold::folds]:
            result.add(candidates, schema, mentions, gold)
    return result
