"""What the components that find relations share: candidates, symmetric labels, the threshold and the recall ceiling."""

from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d

from spacy_clinical_ner.brat.configuration import RelationType
from spacy_clinical_ner.bridge.trainable import TrainableComponent, check_probability
from spacy_clinical_ner.extensions import has_relations
from spacy_clinical_ner.relations.candidate_ceiling import CandidateCeiling, held_out_ceiling
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.gold import Gold, gold_on_predicted, targets
from spacy_clinical_ner.relations.losses import probabilities
from spacy_clinical_ner.relations.mentions import Mentions, get_spans
from spacy_clinical_ner.relations.pair_decoding import ScoredPairs, one_way
from spacy_clinical_ner.relations.pair_groups import PairGroup, make_group
from spacy_clinical_ner.relations.schema import TypePairSchema

# What spacy train shows and weighs.
SCORE_WEIGHTS: Dict[str, Optional[float]] = {
    "rel_micro_f": 1.0,
    "rel_micro_p": 0.0,
    "rel_micro_r": 0.0,
    "rel_candidate_recall": None,
    "rel_per_type": None,
    "rel_by_distance": None,
    "rel_by_sentence": None,
}


class RelationPipe(TrainableComponent):
    """A component that writes relations between candidate pairs of mentions.

    candidates: which pairs are looked at, a `spacy-clinical-ner.CandidatePairs.v1` of filters.
    spans_key: the mentions are those of `doc.ents` or, with a key, of `doc.spans[spans_key]`, which may overlap.
    symmetric: labels of relations without direction. They are learned and written with the earlier mention as head.
    threshold: relations that are less probable are not written (0 to 1). None: the threshold that was tuned (see
        `spacy-clinical-ner.TuneRelationThreshold.v1`), or 0.5.
    keep_negatives: share of the pairs without a relation that a step of training learns from, drawn anew each time.
    seed: of that draw.

    What it learns before its model is kept in `cfg`: "schema", "symmetric", "threshold" and "ceiling".
    """

    multi_label = False
    kind_of_label = "label"  # in error messages

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        candidates: CandidatePairs,
        spans_key: Optional[str] = None,
        symmetric: Sequence[str] = (),
        threshold: Optional[float] = None,
        keep_negatives: float = 1.0,
        seed: int = 0,
        max_batch_tokens: int = 10000,
        scorer: Optional[Callable] = None,
    ) -> None:
        if threshold is not None:
            check_probability("threshold", threshold)
        if not 0.0 < keep_negatives <= 1.0:
            raise ValueError(f"keep_negatives is a share above 0 and at most 1, not {keep_negatives}")
        super().__init__(vocab, model, name, max_batch_tokens=max_batch_tokens, scorer=scorer)
        self.candidates = candidates
        self.spans_key = spans_key
        self._symmetric = frozenset(symmetric)
        self._threshold = threshold
        self.keep_negatives = keep_negatives
        self._random = np.random.default_rng(seed)
        self.cfg.update({"schema": {}, "symmetric": [], "threshold": None, "ceiling": None})

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

    @property
    def relation_labels(self) -> Tuple[str, ...]:
        """Labels of relations, in the order of the model's output."""
        return self.labels

    @property
    def mention_types(self) -> Sequence[str]:
        """Labels of mentions that the model knows."""
        raise NotImplementedError

    @property
    def scored_candidates(self) -> CandidatePairs:
        """The choice of pairs that the model is asked about."""
        return self.candidates

    def mentions_between(self, doc: Doc) -> Sequence[Span]:
        """The mentions that a Doc has, between which relations are found."""
        return get_spans(doc, self.spans_key)

    def mentions_to_learn(self, predicted: Doc, gold: Gold) -> List[Sequence[Span]]:
        """The sets of mentions of a Doc between which relations are learned."""
        return [gold.spans]

    def read_gold(
        self, examples: Iterable[Example]
    ) -> Tuple[List[Tuple[Mentions, Gold]], List[str], Optional[List[RelationType]]]:
        """Gold of the training data and its relation labels; and what an annotation.conf declares, if there is one,
        whose symmetric labels are noted."""
        declared = self.candidates.declared_types()
        self.cfg["symmetric"] = sorted({relation.label for relation in declared or () if relation.symmetric})
        data = []
        for example in examples:
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            data.append((Mentions.of(example.predicted, gold.spans), gold))
        return data, sorted({label for _, gold in data for _, _, label in gold.relations}), declared

    def learn_candidates(self, data: List[Tuple[Mentions, Gold]], declared: Optional[List[RelationType]]) -> str:
        """Keep in `cfg` the type pairs of `data`, or those that are declared, and the recall ceiling as figures.

        The ceiling, the share of gold relations that candidates cover, is that of the training data and that of
        documents whose relations the type pairs were not learned from; a sentence on both is returned.
        """
        schema = TypePairSchema.declared(declared or ())
        if declared is None:
            for mentions, gold in data:
                schema.learn(mentions, gold.relations)
        self.cfg["schema"] = schema.to_json()
        ceiling = CandidateCeiling.of(self.scored_candidates, self.schema, data)
        held_out = ceiling if declared is not None else held_out_ceiling(self.scored_candidates, data)
        self.cfg["ceiling"] = {"train": ceiling.to_json(), "held_out": held_out.to_json()}
        return f"{self.name}: {ceiling}; {held_out.recall:.1%} of those in documents held out"

    def make_groups(self, chosen: Iterable[Tuple[int, Doc, Iterable[Span]]]) -> List[PairGroup]:
        """Candidates among mentions: for each set of them the place of its Doc in the batch, the Doc and the set."""
        schema, candidates = self.schema, self.scored_candidates
        return [make_group(*each, self.mention_types, candidates, schema) for each in chosen]

    def training_pairs(
        self, examples: Sequence[Example]
    ) -> Tuple[List[PairGroup], NDArray[np.bool_], NDArray[np.bool_]]:
        """Groups of candidates; (pairs, labels) what is true of them; and (pairs,) those to learn from."""
        sets: List[Tuple[int, Doc, Sequence[Span]]] = []
        gold_of: List[Gold] = []
        for number, example in enumerate(examples):
            if not has_relations(example.reference):
                continue
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            self.check_labels({label for _, _, label in gold.relations}, self.relation_labels, self.kind_of_label)
            for spans in self.mentions_to_learn(example.predicted, gold):
                sets.append((number, example.predicted, spans))
                gold_of.append(gold)
        groups = self.make_groups(sets)
        rows = [np.zeros((0, len(self.relation_labels)), dtype=bool)]
        for group, gold in zip(groups, gold_of):
            rows.append(targets(group.mentions, group.pairs, gold.relations, self.relation_labels)[0])
        true = np.concatenate(rows)
        kept = np.ones(len(true), dtype=bool)
        if self.keep_negatives < 1.0:
            kept = true.any(axis=1) | (self._random.random(len(true)) < self.keep_negatives)
        return groups, true, kept

    def scored_pairs(self, groups: Sequence[PairGroup], scores: Floats2d, members: int = 1) -> List[ScoredPairs]:
        """The model's scores of all pairs of some groups as probabilities of each group's pairs."""
        labels = self.relation_labels
        found = probabilities(self.model.ops.to_numpy(scores), self.multi_label, members)
        found = found[:, found.shape[1] - len(labels) :]  # of a softmax, "no relation" stands before them
        result = []
        first = 0
        for group in groups:
            rows = found[first : first + len(group.pairs.head)]
            first += len(rows)
            result.append(ScoredPairs(group.mentions, group.pairs, one_way(group.pairs, rows, labels, self.symmetric)))
        return result

    def score_pairs(self, docs: Sequence[Doc]) -> List[ScoredPairs]:
        """The candidates among the mentions that each Doc has, and the probabilities of their labels."""
        raise NotImplementedError

    def score(self, examples: Iterable[Example], **kwargs: Any) -> Dict[str, Any]:
        """The scorer's figures and "rel_candidate_recall": the share of gold relations that a candidate covers."""
        examples = list(examples)
        scores = super().score(examples, **{"symmetric": self.symmetric, **kwargs})
        if self.cfg["schema"]:
            scores["rel_candidate_recall"] = self.ceiling(examples).recall
        return scores

    def ceiling(self, examples: Iterable[Example]) -> CandidateCeiling:
        """How many gold relations the candidates among the mentions of the predicted Docs cover."""
        found = []
        for example in examples:
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            found.append((Mentions.of(example.predicted, self.mentions_between(example.predicted)), gold))
        return CandidateCeiling.of(self.scored_candidates, self.schema, found)
