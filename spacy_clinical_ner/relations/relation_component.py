"""`relation_classifier`: directed, labelled relations between the mentions of a Doc."""

from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate
from thinc.types import Floats2d
from wasabi import msg

from spacy_clinical_ner.bridge.labelled_pipe import listens
from spacy_clinical_ner.extensions import Relation, set_relations
from spacy_clinical_ner.relations.candidates import CandidatePairs
from spacy_clinical_ner.relations.features import pair_features
from spacy_clinical_ner.relations.gold import Gold, gold_on_predicted, is_annotated, targets
from spacy_clinical_ner.relations.losses import cross_entropy, probabilities
from spacy_clinical_ner.relations.mentions import Mentions
from spacy_clinical_ner.relations.pair_decoding import ScoredPairs, decode, one_way
from spacy_clinical_ner.relations.pipe import RelationPipe
from spacy_clinical_ner.relations.relation_architectures import PairGroup, RelationInput, set_sizes
from spacy_clinical_ner.relations.schema import TypePairSchema
from spacy_clinical_ner.windows.batches import group_by_length

TRAIN_ON = ("gold", "predicted", "both")

DEFAULT_CONFIG = """
[candidates]
@misc = "spacy-clinical-ner.TypedPairsWithin.v1"
max_distance = 100

[model]
@architectures = "spacy-clinical-ner.RelationClassifier.v1"

[model.tok2vec]
@architectures = "spacy-clinical-ner.DistinctWords.v1"

[model.tok2vec.embed]
@architectures = "spacy.MultiHashEmbed.v2"
width = 96
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [5000, 1000, 2500, 2500]
include_static_vectors = false

[model.encoder]
@architectures = "spacy-clinical-ner.BiLSTM.v1"
hidden_width = 100
depth = 1
"""


@Language.factory(
    "relation_classifier",
    assigns=["doc._.relations"],
    default_config={
        **Config().from_str(DEFAULT_CONFIG),
        "spans_key": None,
        "symmetric": [],
        "multi_label": False,
        "threshold": None,
        "train_on": "gold",
        "keep_negatives": 1.0,
        "seed": 0,
        "max_batch_tokens": 10000,
        "scorer": {"@scorers": "spacy-clinical-ner.RelationScorer.v1"},
    },
    default_score_weights={
        "rel_micro_f": 1.0,
        "rel_micro_p": 0.0,
        "rel_micro_r": 0.0,
        "rel_candidate_recall": None,
        "rel_per_type": None,
        "rel_by_distance": None,
        "rel_by_sentence": None,
    },
)
def make_relation_classifier(
    nlp: Language,
    name: str,
    model: Model[RelationInput, Floats2d],
    candidates: CandidatePairs,
    spans_key: Optional[str],
    symmetric: List[str],
    multi_label: bool,
    threshold: Optional[float],
    train_on: str,
    keep_negatives: float,
    seed: int,
    max_batch_tokens: int,
    scorer: Optional[Callable],
) -> "RelationClassifier":
    """Make a `relation_classifier` component.

    model: a `spacy-clinical-ner.RelationClassifier.v1` model, or another from `RelationInput` to scores of its pairs.
    candidates: which pairs are looked at, a `spacy-clinical-ner.CandidatePairs.v1` of filters.
    spans_key: the mentions are those of `doc.ents` or, with a key, of `doc.spans[spans_key]`, which may overlap.
    symmetric: labels of relations without direction. They are learned and written with the earlier mention as head.
    multi_label: whether a pair may have several labels at once (a sigmoid each) instead of one at most (a softmax).
    threshold: relations that are less probable are not written (0 to 1). None: the threshold that was tuned (see
        `spacy-clinical-ner.TuneRelationThreshold.v1`), or 0.5.
    train_on: "gold" mentions of the reference, those "predicted" by components in `training.annotating_components`
        (or put on the predicted Doc by the reader), or "both".
    keep_negatives: share of the pairs without a relation that a step of training looks at, drawn anew each time.
    seed: of that draw. max_batch_tokens: tokens of the notes whose pairs are scored at once.
    """
    return RelationClassifier(
        nlp.vocab,
        model,
        name,
        candidates=candidates,
        spans_key=spans_key,
        symmetric=symmetric,
        multi_label=multi_label,
        threshold=threshold,
        train_on=train_on,
        keep_negatives=keep_negatives,
        seed=seed,
        max_batch_tokens=max_batch_tokens,
        scorer=scorer,
    )


class RelationClassifier(RelationPipe):
    """Scores candidate pairs of mentions and writes `doc._.relations`; what stood there before is replaced."""

    def __init__(
        self,
        vocab: Vocab,
        model: Model[RelationInput, Floats2d],
        name: str = "relation_classifier",
        *,
        candidates: CandidatePairs,
        spans_key: Optional[str] = None,
        symmetric: Sequence[str] = (),
        multi_label: bool = False,
        threshold: Optional[float] = None,
        train_on: str = "gold",
        keep_negatives: float = 1.0,
        seed: int = 0,
        max_batch_tokens: int = 10000,
        scorer: Optional[Callable] = None,
    ) -> None:
        if train_on not in TRAIN_ON:
            raise ValueError(f"train_on is one of {', '.join(TRAIN_ON)}, not '{train_on}'")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.multi_label = multi_label
        self.train_on = train_on
        self.max_batch_tokens = max_batch_tokens
        learned = self.set_up_relations(
            candidates=candidates,
            spans_key=spans_key,
            symmetric=symmetric,
            threshold=threshold,
            keep_negatives=keep_negatives,
            seed=seed,
        )
        self.cfg: Dict[str, Any] = {**learned, "types": []}

    @property
    def relation_labels(self) -> Tuple[str, ...]:
        """The same as `labels`; a joint extractor has labels of entities besides."""
        return self.labels

    @property
    def _members(self) -> int:
        """Networks in the model whose scores stand beside each other; one in a model that does not say."""
        return int(self.model.attrs["members"])

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[List[str]] = None,
    ) -> None:
        """Collect labels (unless given), entity types and type pairs, tell the recall ceiling and build the model.

        The ceiling, the share of gold relations that any candidate covers, is printed and stored in
        `cfg["ceiling"]`, once for the training data and once for documents whose relations the type pairs were not
        learned from. Raises ValueError if there is not one label.
        """
        validate_get_examples(get_examples, "RelationClassifier.initialize")
        declared = self.declare_symmetric()
        data: List[Tuple[Mentions, Gold]] = []
        for example in get_examples():
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            data.append((Mentions.of(example.predicted, gold.spans), gold))
        found = labels if labels is not None else sorted({label for _, gold in data for _, _, label in gold.relations})
        where = f"doc.spans['{self.spans_key}']" if self.spans_key else "doc.ents"
        self.set_labels(found, f"a relation between {where}")
        self.cfg["types"] = sorted({name for mentions, _ in data for name in mentions.names})
        for name in self.cfg["types"]:
            self.vocab.strings.add(name)
        self.learn_schema(data, declared)
        msg.info(self.measure_ceiling(self.candidates, data, declared))
        set_sizes(self.model, len(self.cfg["types"]), len(self.labels) + (0 if self.multi_label else 1))
        sample = [example.predicted for example in islice(get_examples(), 10)]
        self.model.initialize(X=RelationInput([doc for doc in sample if len(doc)] or sample, []))

    def predict(self, docs: Iterable[Doc]) -> List[List[Relation]]:
        """The relations of each Doc that reach the threshold, by position."""
        scored = self.score_pairs(list(docs))
        return [decode(each, self.labels, self.threshold, self.multi_label) for each in scored]

    def score_pairs(self, docs: Sequence[Doc]) -> List[ScoredPairs]:
        """The candidates of each Doc and the probabilities of their labels."""
        schema = self.schema
        groups = [self._group(0, Mentions.of(doc, self.mentions_between(doc)), schema) for doc in docs]
        scored = [ScoredPairs(g.mentions, g.pairs, np.zeros((0, len(self.labels)), "float32")) for g in groups]
        filled = [i for i, group in enumerate(groups) if len(group.pairs.head)]
        for batch in group_by_length([len(docs[i]) for i in filled], self.max_batch_tokens):
            chosen = [filled[i] for i in batch]
            X = RelationInput([docs[i] for i in chosen], [groups[i]._replace(doc=n) for n, i in enumerate(chosen)])
            scores = self.model.ops.to_numpy(self.model.predict(X))
            found = probabilities(scores, self.multi_label, self._members)
            edges = np.cumsum([len(groups[i].pairs.head) for i in chosen])[:-1]
            for i, rows in zip(chosen, np.split(found, edges)):
                rows = one_way(groups[i].pairs, rows[:, -len(self.labels) :], self.labels, self.symmetric)
                scored[i] = scored[i]._replace(probabilities=rows)
        return scored

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[Relation]]) -> None:
        """Write predicted relations to `doc._.relations`."""
        for doc, relations in zip(docs, scores):
            set_relations(doc, relations)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """One step of training on a batch. Examples whose reference says nothing of relations teach nothing."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "RelationClassifier.update")
        groups, gold, kept = self._training_pairs(examples)
        X = RelationInput([example.predicted for example in examples], groups)
        # What a listener listens to waits for its gradient, even if that is zero.
        if not kept.any() and not (listens(self.model) and any(map(len, X.docs))):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update(X)
        loss, gradient = self._loss(scores, gold, kept)
        backprop(gradient)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> Tuple[float, Floats2d]:
        """Mean cross-entropy of the candidates of `examples`, all of them, and its gradient. scores: theirs."""
        _, gold, _ = self._training_pairs(list(examples))
        return self._loss(scores, gold, np.ones(len(gold), dtype=bool))

    def _loss(self, scores: Floats2d, gold: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Tuple[float, Floats2d]:
        array = self.model.ops.to_numpy(scores)
        gradient = np.zeros_like(array)
        loss = 0.0
        if kept.any():
            loss, gradient[kept] = cross_entropy(array[kept], gold[kept], self.multi_label, self._members)
        return loss, self.model.ops.asarray2f(gradient)

    def _group(self, number: int, mentions: Mentions, schema: TypePairSchema) -> PairGroup:
        pairs = self.candidates(mentions, schema)
        known = {name: i for i, name in enumerate(self.cfg["types"], 1)}
        types = np.array([known.get(name, 0) for name in mentions.names], dtype="int64")
        types = types[mentions.labels] if len(mentions) else types
        return PairGroup(number, mentions, types, pairs, pair_features(mentions, pairs))

    def _training_pairs(self, examples: List[Example]) -> Tuple[List[PairGroup], NDArray[np.bool_], NDArray[np.bool_]]:
        """Groups of candidates; (pairs, labels) what is true of them; and (pairs,) those to learn from.

        Negatives that are left out are scored all the same: they compete with those that are not.
        """
        groups: List[PairGroup] = []
        gold_rows = [np.zeros((0, len(self.labels)), dtype=bool)]
        schema = self.schema
        for number, example in enumerate(examples):
            if not is_annotated(example.reference):
                continue
            gold = gold_on_predicted(example, self.spans_key, self.symmetric)
            self.check_labels({label for _, _, label in gold.relations})
            for spans in self._mentions_to_learn(example.predicted, gold):
                groups.append(self._group(number, Mentions.of(example.predicted, spans), schema))
                gold_rows.append(targets(groups[-1].mentions, groups[-1].pairs, gold.relations, self.labels)[0])
        rows = np.concatenate(gold_rows)
        kept = rows.any(axis=1)
        if self.keep_negatives < 1.0:
            return groups, rows, kept | (self._random.random(len(rows)) < self.keep_negatives)
        return groups, rows, np.ones_like(kept)

    def _mentions_to_learn(self, predicted: Doc, gold: Gold) -> List[Sequence[Span]]:
        found = self.mentions_between(predicted)
        chosen: Dict[str, List[Sequence[Span]]] = {
            "gold": [gold.spans],
            "predicted": [found],
            "both": [gold.spans, found],
        }
        return chosen[self.train_on]
