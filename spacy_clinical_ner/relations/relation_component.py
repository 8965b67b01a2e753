"""`relation_classifier`: directed, labelled relations between the mentions of a Doc."""

from itertools import islice
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

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
from spacy_clinical_ner.bridge.trainable import Lesson
from spacy_clinical_ner.extensions import Relation, has_relations, set_relations
from spacy_clinical_ner.relations.gold import Gold
from spacy_clinical_ner.relations.losses import cross_entropy
from spacy_clinical_ner.relations.pair_decoding import ScoredPairs, decode
from spacy_clinical_ner.relations.pipe import SCORE_WEIGHTS, RelationPipe
from spacy_clinical_ner.relations.relation_architectures import RelationInput
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

[scorer]
@scorers = "spacy-clinical-ner.RelationScorer.v1"
"""


class RelationClassifier(RelationPipe):
    """Scores candidate pairs of mentions and writes `doc._.relations`; what stood there before is replaced.

    model: a `spacy-clinical-ner.RelationClassifier.v1` model, or another from `RelationInput` to scores of its pairs.
    multi_label: whether a pair may have several labels at once (a sigmoid each) instead of one at most (a softmax).
    train_on: "gold" mentions of the reference, those "predicted" by components in `training.annotating_components`
        (or put on the predicted Doc by the reader), or "both".
    max_batch_tokens: tokens of the notes whose pairs are scored at once.
    The other settings are those of `RelationPipe`.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[RelationInput, Floats2d],
        name: str = "relation_classifier",
        *,
        multi_label: bool = False,
        train_on: str = "gold",
        **settings: Any,
    ) -> None:
        if train_on not in TRAIN_ON:
            raise ValueError(f"train_on is one of {', '.join(TRAIN_ON)}, not '{train_on}'")
        super().__init__(vocab, model, name, **settings)
        self.multi_label = multi_label
        self.train_on = train_on
        self.cfg["types"] = []

    @property
    def mention_types(self) -> List[str]:
        """Entity types of the training data."""
        return self.cfg["types"]

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
        data, found, declared = self.read_gold(get_examples())
        where = f"doc.spans['{self.spans_key}']" if self.spans_key else "doc.ents"
        self.set_labels(found if labels is None else labels, f"a relation between {where}")
        self.cfg["types"] = sorted({name for mentions, _ in data for name in mentions.names})
        for name in self.mention_types:
            self.vocab.strings.add(name)
        msg.info(self.learn_candidates(data, declared))
        outputs = len(self.labels) + (0 if self.multi_label else 1)
        self.model.attrs.update(types=len(self.mention_types), outputs=outputs)
        sample = [example.predicted for example in islice(get_examples(), 10)]
        self.model.initialize(X=RelationInput([doc for doc in sample if len(doc)] or sample, []))

    def predict(self, docs: Iterable[Doc]) -> List[List[Relation]]:
        """The relations of each Doc that reach the threshold, by position."""
        scored = self.score_pairs(list(docs))
        return [decode(each, self.labels, self.threshold, self.multi_label) for each in scored]

    def score_pairs(self, docs: Sequence[Doc]) -> List[ScoredPairs]:
        groups = self.make_groups((0, doc, self.mentions_between(doc)) for doc in docs)
        scored = [ScoredPairs(g.mentions, g.pairs, np.zeros((0, len(self.labels)), "float32")) for g in groups]
        filled = [i for i, group in enumerate(groups) if len(group.pairs.head)]
        for batch in group_by_length([len(docs[i]) for i in filled], self.max_batch_tokens):
            chosen = [filled[i] for i in batch]
            X = RelationInput([docs[i] for i in chosen], [groups[i]._replace(doc=n) for n, i in enumerate(chosen)])
            for i, result in zip(chosen, self.scored_pairs(X.groups, self.model.predict(X), self._members)):
                scored[i] = result
        return scored

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[Relation]]) -> None:
        """Write predicted relations to `doc._.relations`."""
        for doc, relations in zip(docs, scores):
            set_relations(doc, relations)

    def teaches(self, example: Example) -> bool:
        return has_relations(example.reference)

    def lesson(self, examples: Sequence[Example]) -> Lesson:
        """Docs with their candidates, and of these (pairs, labels) what is true and (pairs,) which are learned from.

        Negatives that are left out are scored all the same: they compete with those that are not.
        """
        groups, gold, kept = self.training_pairs(examples)
        X = RelationInput([example.predicted for example in examples], groups)
        return Lesson(X, (gold, kept), bool(kept.any()))

    def loss(self, output: Floats2d, targets: Tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> Tuple[float, Floats2d]:
        """Mean cross-entropy of the pairs that are learned from, in nats, and its gradient."""
        gold, kept = targets
        scores = self.model.ops.to_numpy(output)
        gradient = np.zeros_like(scores)
        loss = 0.0
        if kept.any():
            loss, gradient[kept] = cross_entropy(scores[kept], gold[kept], self.multi_label, self._members)
        return loss, self.model.ops.asarray2f(gradient)

    def get_loss(self, examples: Iterable[Example], scores: Floats2d) -> Tuple[float, Floats2d]:
        """Mean cross-entropy of the candidates of `examples`, all of them, and its gradient. scores: theirs."""
        _, gold, kept = self.training_pairs(list(examples))
        return self.loss(scores, (gold, np.ones_like(kept)))

    def mentions_to_learn(self, predicted: Doc, gold: Gold) -> List[Sequence[Span]]:
        if self.train_on == "gold":
            return [gold.spans]
        found = self.mentions_between(predicted)
        return [found] if self.train_on == "predicted" else [gold.spans, found]


make_relation_classifier = component_factory(
    "relation_classifier",
    RelationClassifier,
    config=DEFAULT_CONFIG,
    assigns=["doc._.relations"],
    score_weights=SCORE_WEIGHTS,
)
