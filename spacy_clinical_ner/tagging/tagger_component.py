"""`crf_ner`: a named entity recogniser that decodes whole notes, with a linear-chain CRF unless told otherwise."""

from itertools import islice
from typing import Callable, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_get_examples
from spacy.vocab import Vocab
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.factories import component_factory
from spacy_clinical_ner.bridge.torch_shim import DocModel, as_floats2d, as_tensor
from spacy_clinical_ner.bridge.trainable import Lesson, TrainableComponent, check_probability, listens
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.tagging.decoding import TokenMention, find_mentions, spans_with_confidence, tagging_loss
from spacy_clinical_ner.tagging.gold import blocked_tokens, gold_tags, write_entities
from spacy_clinical_ner.tagging.pool import decoder
from spacy_clinical_ner.tagging.views import View, as_doc, to_tokens

# What `crf_ner` and `label_attention_ner` have in common, behind the [model] of each.
SHARED_CONFIG = """
scheme = "BIOES"
window = 128
context = 16
dropout = 0.3

[model.tok2vec]
@architectures = "spacy.MultiHashEmbed.v2"
width = 128
attrs = ["NORM", "PREFIX", "SUFFIX", "SHAPE"]
rows = [10000, 1000, 5000, 2500]
include_static_vectors = false

[scorer]
@scorers = "spacy-clinical-ner.EntityScorer.v1"
"""
SCORE_WEIGHTS = {"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None}

DEFAULT_CONFIG = f"""
[model]
@architectures = "spacy-clinical-ner.CrfTagger.v1"
{SHARED_CONFIG}
[model.encoder]
@architectures = "spacy-clinical-ner.BiLSTM.v1"
hidden_width = 128
depth = 1
"""


class CrfEntityRecognizer(TrainableComponent):
    """Entity recogniser over the tags of whole notes, read by the decoder of its model.

    With the CRF (Lafferty et al. 2001), illegal tag sequences have probability zero in training and decoding, and
    `span._.confidence` is the exact posterior probability of each written mention. With the softmax decoder it is the
    product of the probabilities of the mention's tags, each token by itself, and illegal sequences are read leniently
    (see `layers.decoders.SoftmaxDecoder`).

    model: a `spacy-clinical-ner.CrfTagger.v1` model, or a `CrfPool.v1` of several.
    spans_key: None writes `doc.ents` from one chain of tags over all labels. A name writes `doc.spans[name]` from one
        chain for each label, so that mentions with different labels may overlap.
    overwrite: whether entities that are already in `doc.ents` give way to predicted ones.
    threshold: mentions whose confidence lies below it are not written (0 to 1).
    recall_bias: taken from the score of "no mention" at every token before decoding, in nats; above 0 finds more, and
        confidence is then that under the biased scores.
    max_batch_tokens: tokens of the notes that are held in memory at once; a longer note goes alone.
    view: what the model reads of a note (`spacy-clinical-ner.View.v1`), if that is not all of it as it stands. The
        model then needs a tok2vec of its own.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: DocModel,
        name: str = "crf_ner",
        *,
        spans_key: Optional[str] = None,
        overwrite: bool = False,
        threshold: float = 0.0,
        recall_bias: float = 0.0,
        max_batch_tokens: int = 20000,
        view: Optional[Callable[[Doc], View]] = None,
        scorer: Optional[Callable] = None,
    ) -> None:
        check_probability("threshold", threshold)
        super().__init__(vocab, model, name, max_batch_tokens=max_batch_tokens, scorer=scorer)
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.threshold = threshold
        self.recall_bias = recall_bias
        self.view = view
        self.scheme = TagScheme(model.attrs["scheme"])
        self.cfg["temperature"] = 1.0

    @property
    def temperature(self) -> float:
        """Confidence is computed from scores divided by this; fitted by calibration, 1.0 before."""
        return float(self.cfg["temperature"])

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not value > 0:
            raise ValueError(f"a temperature must be above 0, not {value}")
        self.cfg["temperature"] = float(value)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        labels: Optional[List[str]] = None,
    ) -> None:
        """Collect the labels (unless given) and build the model.

        Raises ValueError if there is not one label, and if there is a view and a tok2vec that listens to another
        component, which sees the note itself.
        """
        validate_get_examples(get_examples, "CrfEntityRecognizer.initialize")
        if self.view is not None and listens(self.model):
            raise ValueError(f"[{self.name}] a view needs a tok2vec of its own: a listener hears of the note itself")
        if labels is None:
            labels = sorted({span.label_ for example in get_examples() for span in self.gold_spans(example.reference)})
        self.set_labels(labels, "a mention in " + (f"doc.spans['{self.spans_key}']" if self.spans_key else "doc.ents"))
        labels_and_chains = (len(self.labels), 1) if self.spans_key is None else (1, len(self.labels))
        self.model.attrs.update(zip(("labels", "chains"), labels_and_chains))
        sample = self.model_input(example.predicted for example in islice(get_examples(), 10))
        self.model.initialize(X=[doc for doc in sample if len(doc)] or sample)

    def model_input(self, docs: Iterable[Doc]) -> List[Doc]:
        """What the model reads of each Doc: the Doc itself, or its view as a Doc of its own."""
        return [doc if self.view is None else as_doc(doc.vocab, self.view(doc)) for doc in docs]

    def predict(self, docs: Iterable[Doc]) -> List[List[TokenMention]]:
        """The most probable mentions of each Doc, with their confidence, by position."""
        docs = list(docs)
        views = [None if self.view is None else self.view(doc) for doc in docs]
        inputs = [doc if view is None else as_doc(self.vocab, view) for doc, view in zip(docs, views)]
        if not any(map(len, inputs)):
            return [[] for _ in docs]
        found = self.decode(self.model.predict(inputs), self._blocked(docs, views))
        return [[_on_tokens(view, each) for each in mentions] for view, mentions in zip(views, found)]

    def decode(
        self, emissions: Sequence[Floats2d], blocked: Optional[Sequence[NDArray[np.int64]]] = None
    ) -> List[List[TokenMention]]:
        """Mentions from the emissions for Docs' `model_input`, (length, chains * tags) each, by position.

        blocked: of each, the tokens that no mention may hold.
        """
        return find_mentions(
            decoder(self.model),
            self.scheme,
            [as_tensor(self.model, array) for array in emissions],
            max_tokens=self.max_batch_tokens,
            chains=self.model.attrs["chains"],
            threshold=self.threshold,
            recall_bias=self.recall_bias,
            temperature=self.temperature,
            blocked=blocked,
        )

    def _blocked(self, docs: Sequence[Doc], views: Sequence[Optional[View]]) -> Optional[List[NDArray[np.int64]]]:
        """The blocked tokens of each Doc among what the model reads of it; None if there are none."""
        blocked = blocked_tokens(docs)
        if self.spans_key is not None or not any(map(len, blocked)):
            return None
        return [
            tokens if view is None else np.flatnonzero(np.isin(view.tokens, tokens))
            for tokens, view in zip(blocked, views)
        ]

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[TokenMention]]) -> None:
        """Write predicted mentions to `doc.ents` or `doc.spans[spans_key]`, and their confidence."""
        for doc, mentions in zip(docs, scores):
            spans = spans_with_confidence(doc, mentions, self.labels)
            if self.spans_key is not None:
                doc.spans[self.spans_key] = SpanGroup(doc, name=self.spans_key, spans=spans)
            else:
                write_entities(doc, spans, kept=[] if self.overwrite else list(doc.ents))

    def teaches(self, example: Example) -> bool:
        if self.spans_key is None:
            return len(example.predicted) > 0 and example.reference.has_annotation("ENT_IOB")
        return len(example.predicted) > 0 and self.spans_key in example.reference.spans

    def lesson(self, examples: Sequence[Example]) -> Lesson:
        """Docs, and their (chains, length) tags, None where there are none to learn; UNKNOWN where one is not known."""
        docs = self.model_input(example.predicted for example in examples)
        tags = [self._gold_tags(eg) if len(doc) and self.teaches(eg) else None for eg, doc in zip(examples, docs)]
        return Lesson(docs, tags, any(each is not None for each in tags))

    def loss(
        self, output: Sequence[Floats2d], targets: Sequence[Optional[NDArray[np.int64]]]
    ) -> Tuple[float, List[Floats2d]]:
        """Negative log-likelihood per note in nats, and its gradient with respect to the emissions.

        The gradient of the decoder's own parameters is left in the torch module, for `finish_update`.
        """
        return self.scaled_loss(output, targets, 1.0 / max(1, sum(tags is not None for tags in targets)))

    def scaled_loss(
        self, output: Sequence[Floats2d], targets: Sequence[Optional[NDArray[np.int64]]], scale: float
    ) -> Tuple[float, List[Floats2d]]:
        """`scale` times the negative log-likelihood of all notes in nats; gradients as those of `loss`."""
        loss, gradients = tagging_loss(
            decoder(self.model),
            [as_tensor(self.model, array) for array in output],
            targets,
            max_tokens=self.max_batch_tokens,
            chains=self.model.attrs["chains"],
            scale=scale,
        )
        return loss, [as_floats2d(self.model, gradient) for gradient in gradients]

    def gold_spans(self, doc: Doc) -> Sequence[Span]:
        """The mentions of a reference Doc that this component learns: `doc.ents` or `doc.spans[spans_key]`."""
        if self.spans_key is None:
            return doc.ents
        return list(doc.spans.get(self.spans_key, ()))

    def _gold_tags(self, example: Example) -> NDArray[np.int64]:
        """(chains, length) tags of the reference, on the tokens of the predicted Doc as the model reads them."""
        index = {label: i for i, label in enumerate(self.labels)}
        chains = self.model.attrs["chains"]
        gold = self.gold_spans(example.reference)
        self.check_labels({span.label_ for span in gold})
        return gold_tags(
            example,
            gold,
            self.scheme,
            lambda label: (0, index[label]) if chains == 1 else (index[label], 0),
            chains=chains,
            flat=self.spans_key is None,
            view=None if self.view is None else self.view(example.predicted),
        )


def _on_tokens(view: Optional[View], mention: TokenMention) -> TokenMention:
    if view is None:
        return mention
    start, end = to_tokens(view, mention.start, mention.end)
    return mention._replace(start=start, end=end)


make_crf_ner = component_factory(
    "crf_ner",
    CrfEntityRecognizer,
    config=DEFAULT_CONFIG,
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    score_weights=SCORE_WEIGHTS,
)
