"""What the components that find relations share: candidates, symmetric labels, the threshold and the recall ceiling."""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_clinical_ner.brat.configuration import RelationType
from spacy_clinical_ner.bridge.labelled_pipe import LabelledPipe
from spacy_clinical_ner.relations.candidate_ceiling import Ceiling, held_out_ceiling
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.gold import Gold, gold_on_predicted
from spacy_clinical_ner.relations.mentions import Mentions, get_spans
from spacy_clinical_ner.relations.schema import TypePairSchema


class RelationPipe(LabelledPipe):
    """A component that writes relations between candidate pairs of mentions.

    What it learns before its model is kept in `cfg`: "schema", "symmetric", "threshold" and "ceiling".
    """

    def set_up_relations(
        self,
        *,
        candidates: CandidatePairs,
        spans_key: Optional[str],
        symmetric: Sequence[str],
        threshold: Optional[float],
        keep_negatives: float,
        seed: int,
    ) -> Dict[str, Any]:
        """Keep these settings; return what `cfg` begins with. Raises ValueError for a setting that cannot be."""
        if threshold is not None and not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is a probability: choose a number from 0 to 1, not {threshold}")
        if not 0.0 < keep_negatives <= 1.0:
            raise ValueError(f"keep_negatives is a share above 0 and at most 1, not {keep_negatives}")
        self.candidates = candidates
        self.spans_key = spans_key
        self._symmetric = frozenset(symmetric)
        self._threshold = threshold
        self.keep_negatives = keep_negatives
        self._random = np.random.default_rng(seed)
        return {"labels": [], "schema": {}, "symmetric": [], "threshold": None, "ceiling": None}

    @property
    def threshold(self) -> float:
        """The least probability of a relation that is written: as set, else as tuned, else 0.5."""
        for value in (self._threshold, self.cfg["threshold"]):
            if value is not None:
                return float(value)
        return 0.5

    @property
    def symmetric(self) -> FrozenSet[str]:
        """Labels without direction: as set, and as an annotation.conf declared them at initialize."""
        return self._symmetric | frozenset(self.cfg["symmetric"])

    @property
    def schema(self) -> TypePairSchema:
        """Type pairs of relations, as learned or declared at initialize."""
        return TypePairSchema.from_json(self.cfg["schema"])

    def declare_symmetric(self) -> Optional[List[RelationType]]:
        """What an annotation.conf declares of relations, if there is one; its symmetric labels are noted."""
        declared = self.candidates.declared_types()
        self.cfg["symmetric"] = sorted({relation.label for relation in declared or () if relation.symmetric})
        return declared

    def learn_schema(self, data: List[Tuple[Mentions, Gold]], declared: Optional[List[RelationType]]) -> None:
        """Keep the type pairs of `data`, or those that are declared, in `cfg`."""
        schema = TypePairSchema.declared(declared or ())
        if declared is None:
            for mentions, gold in data:
                schema.learn(mentions, gold.relations)
        self.cfg["schema"] = schema.to_json()

    def measure_ceiling(
        self, candidates: CandidatePairs, data: List[Tuple[Mentions, Gold]], declared: Optional[List[RelationType]]
    ) -> str:
        """A sentence on the share of gold relations that candidates cover, which is kept in `cfg` as figures: once for
        the training data and once for documents whose relations the type pairs were not learned from."""
        ceiling = Ceiling.of(candidates, self.schema, data)
        held_out = ceiling if declared is not None else held_out_ceiling(candidates, data)
        self.cfg["ceiling"] = {"train": ceiling.to_json(), "held_out": held_out.to_json()}
        return f"{self.name}: {ceiling}; {held_out.recall:.1%} of those in documents held out"

    @property
    def looked_at(self) -> CandidatePairs:
        """The choice of pairs that the model is asked about."""
        return self.candidates

    def mentions_between(self, doc: Doc) -> Sequence[Span]:
        """The mentions that a Doc has, between which relations are found."""
        return get_spans(doc, self.spans_key)

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """The scorer's figures and "rel_candidate_recall": the share of gold relations that a candidate covers."""
        examples = list(examples)
        scores = super().score(examples, **{"symmetric": self.symmetric, **kwargs})
        if self.cfg["schema"]:
            scores["rel_candidate_recall"] = self.ceiling(examples).recall
        return scores

    def ceiling(self, examples: Iterable[Example]) -> Ceiling:
        """How many gold relations the candidates among the mentions of the predicted Docs cover."""
        found = []
        for example in examples:
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            found.append((Mentions.of(example.predicted, self.mentions_between(example.predicted)), gold))
        return Ceiling.of(self.looked_at, self.schema, found)
