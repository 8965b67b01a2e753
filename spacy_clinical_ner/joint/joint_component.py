"""The component `joint_extractor`: entities and the relations between them from one encoder."""

from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    cast,
)

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d
from wasabi import msg

from spacy_clinical_ner import extensions
from spacy_clinical_ner.extensions import Relation, set_relations
from spacy_clinical_ner.joint.entities import entity_loss, find_entities, gold_tags, make_spans
from spacy_clinical_ner.joint.joint_architectures import (
    JointGradient,
    JointInput,
    JointOutput,
    network,
    set_sizes,
    sizes,
)
from spacy_clinical_ner.joint.pairs import FittingPairs, PairGroup, make_group
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.gold import Gold, gold_on_predicted, is_annotated, targets
from spacy_clinical_ner.relations.losses import cross_entropy, probabilities
from spacy_clinical_ner.relations.mentions import Mentions, get_spans
from spacy_clinical_ner.relations.pair_decoding import ScoredPairs, decode, one_way
from spacy_clinical_ner.relations.pipe import RelationPipe
from spacy_clinical_ner.tagging.decoding import Mention

ENTITIES = ("predicted", "given")


class Found(NamedTuple):
    """What is found in a Doc. entities: None where those of the Doc are left as they are. relations: None likewise."""

    entities: Optional[List[Mention]]
    relations: Optional[List[Relation]]


class JointExtractor(RelationPipe):
    """Writes `doc.ents` with `span._.confidence`, the posterior of the CRF, and `doc._.relations` with their score."""

    multi_label = False  # at most one relation a pair, as in the paper

    def __init__(
        self,
        vocab: Vocab,
        model: Model[JointInput, JointOutput],
        name: str = "joint_extractor",
        *,
        candidates: CandidatePairs,
        entities: str = "predicted",
        spans_key: Optional[str] = None,
        symmetric: Sequence[str] = (),
        threshold: Optional[float] = None,
        entity_threshold: float = 0.0,
        keep_negatives: float = 1.0,
        entity_weight: float = 1.0,
        relation_weight: float = 1.0,
        seed: int = 0,
        max_batch_tokens: int = 5000,
        scorer: Optional[Callable] = None,
    ) -> None:
        if not 0.0 <= entity_threshold <= 1.0:
            raise ValueError(f"entity_threshold is a probability: choose a number from 0 to 1, not {entity_threshold}")
        if entities not in ENTITIES:
            raise ValueError(f"entities is one of {', '.join(ENTITIES)}, not '{entities}'")
        if min(entity_weight, relation_weight) < 0 or entity_weight + relation_weight <= 0:
            raise ValueError("entity_weight and relation_weight are 0 or more, and one of them above 0")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.entities = entities
        self.entity_threshold = entity_threshold
        self.entity_weight = entity_weight
        self.relation_weight = relation_weight
        self.max_batch_tokens = max_batch_tokens
        learned = self.set_up_relations(
            candidates=candidates,
            spans_key=spans_key,
            symmetric=symmetric,
            threshold=threshold,
            keep_negatives=keep_negatives,
            seed=seed,
        )
        self.cfg: Dict[str, Any] = {**learned, "relation_labels": []}

    @property
    def relation_labels(self) -> Tuple[str, ...]:
        """Labels of relations, in the order of the model's output; `labels` are those of entities."""
        return tuple(self.cfg["relation_labels"])

    @property
    def label_data(self) -> Dict[str, List[str]]:  # type: ignore[override]
        return {"entities": list(self.labels), "relations": list(self.relation_labels)}

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[Dict[str, List[str]]] = None,
    ) -> None:
        """Collect labels (unless given) and type pairs, build the model and its word pieces, tell the recall ceiling.

        labels: {"entities": [...], "relations": [...]}. The ceiling is stored in `cfg["ceiling"]`, as that of a
        `relation_classifier`. Raises ValueError if there is no label for a task that is trained.
        """
        validate_get_examples(get_examples, "JointExtractor.initialize")
        declared = self.declare_symmetric()
        data: List[Tuple[Mentions, Gold]] = []
        docs: List[Doc] = []
        names: Set[str] = set()
        for example in get_examples():
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            data.append((Mentions.of(example.predicted, gold.spans), gold))
            docs.append(example.predicted)
            names.update(span.label_ for span in example.reference.ents)
            names.update(data[-1][0].names)
        relations = sorted({label for _, gold in data for _, _, label in gold.relations})
        self.set_labels(labels["entities"] if labels else sorted(names), "a mention in doc.ents")
        self.cfg["relation_labels"] = list(labels["relations"]) if labels else relations
        if not self.relation_labels and self.relation_weight:
            raise ValueError(
                f"[{self.name}] no relation labels: not one training example has a relation between its mentions; "
                "with relation_weight = 0 only entities are learned"
            )
        set_sizes(self.model, len(self.labels), 1 + len(self.relation_labels))
        self.model.initialize(X=JointInput(docs, lambda emissions: []))
        self.learn_schema(data, declared)
        ceiling = self.measure_ceiling(self.fitting, data, declared)
        if self.relation_weight:
            msg.info(ceiling)

    @property
    def looked_at(self) -> CandidatePairs:
        return self.fitting

    @property
    def fitting(self) -> FittingPairs:
        """The candidates that fit into a window. Raises ValueError before initialize."""
        windows = sizes(self.model)
        return FittingPairs(self.candidates, network(self.model).pieces, windows.capacity, windows.most)

    def predict(self, docs: Iterable[Doc]) -> List[Found]:
        """Entities and relations of each Doc, by position."""
        docs = list(docs)
        finds_entities = self.entities == "predicted" and self.entity_weight > 0
        found: List[List[Mention]] = []

        def mentions(emissions: Sequence[Floats2d]) -> List[Sequence[Span]]:
            if not finds_entities:
                return [self.mentions_between(doc) for doc in docs]
            found.extend(find_entities(self.model, emissions, self.max_batch_tokens, self.entity_threshold))
            return [make_spans(doc, entities, self.labels) for doc, entities in zip(docs, found)]

        scored = self._score(docs, mentions)
        relations: List[Optional[List[Relation]]] = [None] * len(docs)
        if self.relation_weight:
            relations = [decode(each, self.relation_labels, self.threshold, self.multi_label) for each in scored]
        return [Found(found[i] if finds_entities else None, relations[i]) for i in range(len(docs))]

    def score_pairs(self, docs: Sequence[Doc]) -> List[ScoredPairs]:
        """The candidates among the mentions that each Doc has, and the probabilities of their labels."""
        return self._score(docs, lambda emissions: [self.mentions_between(doc) for doc in docs])

    def mentions_between(self, doc: Doc) -> Sequence[Span]:
        return get_spans(doc, self.spans_key if self.entities == "given" else None)

    def _score(
        self, docs: Sequence[Doc], mentions: Callable[[Sequence[Floats2d]], List[Sequence[Span]]]
    ) -> List[ScoredPairs]:
        schema, fitting = self.schema, self.fitting
        groups: List[PairGroup] = []

        def choose(emissions: List[Floats2d]) -> List[PairGroup]:
            for number, (doc, spans) in enumerate(zip(docs, mentions(emissions))):
                if not self.relation_weight:
                    spans = []
                groups.append(make_group(number, Mentions.of(doc, spans), self.labels, fitting, schema))
            return groups

        output = self.model.predict(JointInput(list(docs), choose))
        found = probabilities(self.model.ops.to_numpy(output.scores), False)[:, 1:] if len(output.scores) else None
        scored = []
        first = 0
        for group in groups:
            rows = np.zeros((0, len(self.relation_labels)), dtype="float32")
            if found is not None:
                rows = found[first : first + len(group.pairs.head)]
            first += len(group.pairs.head)
            rows = one_way(group.pairs, rows, self.relation_labels, self.symmetric)
            scored.append(ScoredPairs(group.mentions, group.pairs, rows))
        return scored

    def set_annotations(self, docs: Iterable[Doc], scores: List[Found]) -> None:
        """Write entities with their confidence, and relations."""
        for doc, (entities, relations) in zip(docs, scores):
            if entities is not None:
                spans = make_spans(doc, entities, self.labels)
                for span, entity in zip(spans, entities):
                    extensions.set_confidence(span, entity.confidence)
                doc.set_ents(spans)
            if relations is not None:
                set_relations(doc, relations)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """One step of training on a batch; the loss is the weighted sum of both.

        References that say nothing of entities teach none, and those that say nothing of relations likewise.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "JointExtractor.update")
        groups, gold = self._training_pairs(examples)
        tagged = self._tagged(examples)
        if not tagged and not len(gold):
            return losses
        X = JointInput([example.predicted for example in examples], lambda emissions: groups)
        set_dropout_rate(self.model, drop)
        output, backprop = self.model.begin_update(X)
        loss = 0.0
        d_emissions: Optional[List[Floats2d]] = None
        d_scores: Optional[Floats2d] = None
        if tagged:
            tags = [gold_tags(examples[i], self.labels) for i in tagged]
            of_tagged = [output.emissions[i] for i in tagged]
            value, gradients = entity_loss(self.model, of_tagged, tags, self.max_batch_tokens, self.entity_weight)
            loss += value
            d_emissions = [self.model.ops.alloc2f(*array.shape) for array in output.emissions]
            for i, gradient in zip(tagged, gradients):
                d_emissions[i] = gradient
        if len(gold):
            value, of_scores = cross_entropy(self.model.ops.to_numpy(output.scores), gold, False)
            loss += self.relation_weight * value
            d_scores = self.model.ops.asarray2f(np.float32(self.relation_weight) * of_scores)
        # Thinc's types say that gradients look like outputs.
        backprop(cast(Any, JointGradient(d_emissions, d_scores)))
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def _tagged(self, examples: Sequence[Example]) -> List[int]:
        """Which examples teach entities. Raises ValueError for a label that the model was not built for."""
        if not self.entity_weight:
            return []
        references = [example.reference for example in examples]
        self.check_labels({span.label_ for doc in references for span in doc.ents})
        return [i for i, doc in enumerate(references) if len(examples[i].predicted) and doc.has_annotation("ENT_IOB")]

    def _training_pairs(self, examples: Sequence[Example]) -> Tuple[List[PairGroup], NDArray[np.bool_]]:
        """Candidates among gold mentions, without the negatives that are left out, and (pairs, labels) what is true."""
        groups: List[PairGroup] = []
        rows = [np.zeros((0, len(self.relation_labels)), dtype=bool)]
        schema, fitting = self.schema, self.fitting
        for number, example in enumerate(examples):
            if not self.relation_weight or not is_annotated(example.reference):
                continue
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            self.check_labels({label for _, _, label in gold.relations}, self.relation_labels, "relation label")
            mentions = Mentions.of(example.predicted, gold.spans)
            group = make_group(number, mentions, self.labels, fitting, schema)
            hits, _ = targets(mentions, group.pairs, gold.relations, self.relation_labels)
            kept = hits.any(axis=1) | (self._random.random(len(hits)) < self.keep_negatives)
            groups.append(group.kept(kept))
            rows.append(hits[kept])
        return groups, np.concatenate(rows)
