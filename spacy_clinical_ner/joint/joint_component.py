"""The component `joint_extractor`: entities and the relations between them from one encoder."""

from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Model
from thinc.types import Floats2d
from wasabi import msg

from spacy_clinical_ner.bridge.factories import component_factory
from spacy_clinical_ner.bridge.torch_shim import as_floats2d, as_tensor
from spacy_clinical_ner.bridge.trainable import Lesson, check_probability
from spacy_clinical_ner.extensions import Relation, has_relations, set_relations
from spacy_clinical_ner.joint.joint_architectures import (
    JointGradient,
    JointInput,
    JointOutput,
    network,
    sizes,
)
from spacy_clinical_ner.joint.pairs import PairsWithinWindow
from spacy_clinical_ner.layers.joint_network import SCHEME
from spacy_clinical_ner.relations.losses import cross_entropy
from spacy_clinical_ner.relations.mentions import get_spans
from spacy_clinical_ner.relations.pair_decoding import ScoredPairs, decode
from spacy_clinical_ner.relations.pair_groups import PairGroup
from spacy_clinical_ner.relations.pipe import SCORE_WEIGHTS, RelationPipe
from spacy_clinical_ner.tagging.decoding import (
    TokenMention,
    find_mentions,
    make_spans,
    spans_with_confidence,
    tagging_loss,
)
from spacy_clinical_ner.tagging.gold import blocked_tokens, gold_tags, write_entities

ENTITIES = ("predicted", "given")

DEFAULT_CONFIG = """
[candidates]
@misc = "spacy-clinical-ner.TypedPairsWithin.v1"
max_distance = 100

[model]
@architectures = "spacy-clinical-ner.JointExtractor.v1"
task_layers = 2
mask = "eq14"

[model.encoder]
@misc = "spacy-clinical-ner.TinyEncoder.v1"

[scorer]
@scorers = "spacy-clinical-ner.JointScorer.v1"
"""


class JointPrediction(NamedTuple):
    """What is found in a Doc. entities: None where those of the Doc are left as they are. relations: None likewise."""

    entities: Optional[List[TokenMention]]
    relations: Optional[List[Relation]]


class JointTargets(NamedTuple):
    """tags: (1, length) of each Doc's tokens, None where there are none to learn. relations: (pairs, labels)."""

    tags: List[Optional[NDArray[np.int64]]]
    relations: NDArray[np.bool_]


class JointExtractor(RelationPipe):
    """Writes `doc.ents` with `span._.confidence`, the posterior of the CRF, and `doc._.relations` with their score.

    At most one relation a pair, as in the paper; of the candidates those that fit into one window of the encoder.

    model: a `spacy-clinical-ner.JointExtractor.v1` model.
    entities: "predicted" writes `doc.ents`, in place of what stood there, and relations between them. "given" leaves
        them as they are and finds relations between them.
    spans_key: the mentions whose relations are learned, and with "given" those that are looked at, are those of
        `doc.ents` or, with a key, of `doc.spans[spans_key]`, which may overlap. Entities are learned from `doc.ents`.
    entity_threshold: entities whose posterior lies below it are not written (0 to 1).
    entity_weight, relation_weight: of the two losses in their sum. With 0 a task is not trained at all, its output
        layer stays frozen as it was initialised, and its annotations are left alone: entities only, or relations only.
    max_batch_tokens: tokens of the notes that are held in memory at once.
    The other settings are those of `RelationPipe`.
    """

    kind_of_label = "relation label"

    def __init__(
        self,
        vocab: Vocab,
        model: Model[JointInput, JointOutput],
        name: str = "joint_extractor",
        *,
        entities: str = "predicted",
        entity_threshold: float = 0.0,
        entity_weight: float = 1.0,
        relation_weight: float = 1.0,
        max_batch_tokens: int = 5000,
        **settings: Any,
    ) -> None:
        check_probability("entity_threshold", entity_threshold)
        if entities not in ENTITIES:
            raise ValueError(f"entities is one of {', '.join(ENTITIES)}, not '{entities}'")
        if min(entity_weight, relation_weight) < 0 or entity_weight + relation_weight <= 0:
            raise ValueError("entity_weight and relation_weight are 0 or more, and one of them above 0")
        super().__init__(vocab, model, name, max_batch_tokens=max_batch_tokens, **settings)
        self.entities = entities
        self.entity_threshold = entity_threshold
        self.entity_weight = entity_weight
        self.relation_weight = relation_weight
        self.cfg["relation_labels"] = []

    @property
    def relation_labels(self) -> Tuple[str, ...]:
        """Labels of relations, in the order of the model's output; `labels` are those of entities."""
        return tuple(self.cfg["relation_labels"])

    @property
    def label_data(self) -> Dict[str, List[str]]:
        return {"entities": list(self.labels), "relations": list(self.relation_labels)}

    @property
    def mention_types(self) -> Sequence[str]:
        return self.labels

    @property
    def scored_candidates(self) -> PairsWithinWindow:
        """The candidates that fit into a window. Raises ValueError before initialize."""
        windows = sizes(self.model)
        return PairsWithinWindow(self.candidates, network(self.model).pieces, windows.capacity, windows.max_pieces)

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
        examples = list(get_examples())
        data, relations, declared = self.read_gold(examples)
        names = {name for mentions, _ in data for name in mentions.names}
        names.update(span.label_ for example in examples for span in example.reference.ents)
        self.set_labels(labels["entities"] if labels else sorted(names), "a mention in doc.ents")
        self.cfg["relation_labels"] = list(labels["relations"]) if labels else relations
        if not self.relation_labels and self.relation_weight:
            raise ValueError(
                f"[{self.name}] no relation labels: not one training example has a relation between its mentions; "
                "with relation_weight = 0 only entities are learned"
            )
        self.model.attrs.update(labels=len(self.labels), outputs=1 + len(self.relation_labels))
        self.model.initialize(X=JointInput([example.predicted for example in examples], lambda emissions: []))
        ceiling = self.learn_candidates(data, declared)
        if self.relation_weight:
            msg.info(ceiling)

    def predict(self, docs: Iterable[Doc]) -> List[JointPrediction]:
        """Entities and relations of each Doc, by position."""
        docs = list(docs)
        finds_entities = self.entities == "predicted" and self.entity_weight > 0
        found: List[List[TokenMention]] = []

        def mentions(emissions: Sequence[Floats2d]) -> List[Sequence[Span]]:
            if not finds_entities:
                return [self.mentions_between(doc) for doc in docs]
            found.extend(self._find_entities(docs, emissions))
            return [make_spans(doc, entities, self.labels) for doc, entities in zip(docs, found)]

        scored = self._score(docs, mentions)
        relations: List[Optional[List[Relation]]] = [None] * len(docs)
        if self.relation_weight:
            relations = [decode(each, self.relation_labels, self.threshold, self.multi_label) for each in scored]
        return [JointPrediction(found[i] if finds_entities else None, relations[i]) for i in range(len(docs))]

    def score_pairs(self, docs: Sequence[Doc]) -> List[ScoredPairs]:
        return self._score(docs, lambda emissions: [self.mentions_between(doc) for doc in docs])

    def mentions_between(self, doc: Doc) -> Sequence[Span]:
        return get_spans(doc, self.spans_key if self.entities == "given" else None)

    def _find_entities(self, docs: Sequence[Doc], emissions: Sequence[Floats2d]) -> List[List[TokenMention]]:
        blocked = blocked_tokens(docs)
        return find_mentions(
            network(self.model).decoder,
            SCHEME,
            [as_tensor(self.model, array) for array in emissions],
            max_tokens=self.max_batch_tokens,
            threshold=self.entity_threshold,
            blocked=blocked if any(map(len, blocked)) else None,
        )

    def _score(
        self, docs: Sequence[Doc], mentions: Callable[[Sequence[Floats2d]], List[Sequence[Span]]]
    ) -> List[ScoredPairs]:
        groups: List[PairGroup] = []

        def choose(emissions: List[Floats2d]) -> List[PairGroup]:
            found = zip(docs, mentions(emissions))
            sets = [(i, doc, spans if self.relation_weight else []) for i, (doc, spans) in enumerate(found)]
            groups.extend(self.make_groups(sets))
            return groups

        output = self.model.predict(JointInput(list(docs), choose))
        return self.scored_pairs(groups, output.scores)

    def set_annotations(self, docs: Iterable[Doc], scores: List[JointPrediction]) -> None:
        """Write entities with their confidence, and relations."""
        for doc, (entities, relations) in zip(docs, scores):
            if entities is not None:
                write_entities(doc, spans_with_confidence(doc, entities, self.labels))
            if relations is not None:
                set_relations(doc, relations)

    def teaches(self, example: Example) -> bool:
        return self._teaches_entities(example) or bool(self.relation_weight and has_relations(example.reference))

    def _teaches_entities(self, example: Example) -> bool:
        annotated = example.reference.has_annotation("ENT_IOB")
        return bool(self.entity_weight and len(example.predicted) and annotated)

    def lesson(self, examples: Sequence[Example]) -> Lesson:
        """Docs with their candidates, of the negatives among them those that are kept, and what both tasks learn."""
        groups, gold = self.kept_pairs(examples)
        tags = [self._gold_tags(example) if self._teaches_entities(example) else None for example in examples]
        X = JointInput([example.predicted for example in examples], lambda emissions: groups)
        return Lesson(X, JointTargets(tags, gold), len(gold) > 0 or any(each is not None for each in tags))

    def loss(self, output: JointOutput, targets: JointTargets) -> Tuple[float, JointGradient]:
        """The weighted sum of both: negative log-likelihood of the tags in nats a token, cross-entropy of the pairs.

        The gradient of the CRF's own parameters is left in the torch module, for `finish_update`.
        """
        tags, gold = targets
        loss = 0.0
        d_emissions: Optional[List[Floats2d]] = None
        d_scores: Optional[Floats2d] = None
        tokens = sum(each.shape[1] for each in tags if each is not None)
        if tokens:
            loss, gradients = tagging_loss(
                network(self.model).decoder,
                [as_tensor(self.model, array) for array in output.emissions],
                tags,
                max_tokens=self.max_batch_tokens,
                scale=self.entity_weight / tokens,
            )
            d_emissions = [as_floats2d(self.model, gradient) for gradient in gradients]
        if len(gold):
            value, of_scores = cross_entropy(self.model.ops.to_numpy(output.scores), gold, False)
            loss += self.relation_weight * value
            d_scores = self.model.ops.asarray2f(np.float32(self.relation_weight) * of_scores)
        return loss, JointGradient(d_emissions, d_scores)

    def _gold_tags(self, example: Example) -> NDArray[np.int64]:
        """(1, length) tags of the reference's entities on the tokens of the predicted Doc."""
        self.check_labels({span.label_ for span in example.reference.ents})
        index = {label: i for i, label in enumerate(self.labels)}
        return gold_tags(example, example.reference.ents, SCHEME, lambda label: (0, index[label]))

    def kept_pairs(self, examples: Sequence[Example]) -> Tuple[List[PairGroup], NDArray[np.bool_]]:
        """Candidates among gold mentions, without the negatives that are left out, and (pairs, labels) what is true."""
        groups, gold, kept = self.training_pairs(examples if self.relation_weight else [])
        edges = np.cumsum([len(group.pairs.head) for group in groups])[:-1]
        return [group.kept(rows) for group, rows in zip(groups, np.split(kept, edges))], gold[kept]


make_joint_extractor = component_factory(
    "joint_extractor",
    JointExtractor,
    config=DEFAULT_CONFIG,
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc._.relations"],
    score_weights={
        "ents_f": 0.5,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        **SCORE_WEIGHTS,
        "rel_micro_f": 0.5,
    },
)
