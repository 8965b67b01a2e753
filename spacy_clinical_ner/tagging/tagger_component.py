"""`crf_ner`: a named entity recogniser that decodes whole notes, with a linear-chain CRF unless told otherwise."""

from itertools import islice
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.util import filter_spans
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer, set_dropout_rate, xp2torch
from thinc.types import Floats2d

from spacy_clinical_ner import extensions
from spacy_clinical_ner.bridge.labelled_pipe import LabelledPipe, listens
from spacy_clinical_ner.bridge.torch_shim import as_floats2d, torch_shim
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.tagging.decoding import Mention, find_mentions, tagging_loss
from spacy_clinical_ner.tagging.pool import decoder
from spacy_clinical_ner.tagging.tagger_architectures import set_labels
from spacy_clinical_ner.tagging.views import View, as_doc, to_tokens, to_words

DEFAULT_MODEL = """
[model]
@architectures = "spacy-clinical-ner.CrfTagger.v1"
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

[model.encoder]
@architectures = "spacy-clinical-ner.BiLSTM.v1"
hidden_width = 128
depth = 1
"""


@Language.factory(
    "crf_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": Config().from_str(DEFAULT_MODEL)["model"],
        "spans_key": None,
        "overwrite": False,
        "threshold": 0.0,
        "recall_bias": 0.0,
        "max_batch_tokens": 20000,
        "view": None,
        "scorer": {"@scorers": "spacy-clinical-ner.EntityScorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_crf_ner(
    nlp: Language,
    name: str,
    model: Model[List[Doc], List[Floats2d]],
    spans_key: Optional[str],
    overwrite: bool,
    threshold: float,
    recall_bias: float,
    max_batch_tokens: int,
    view: Optional[Callable[[Doc], View]],
    scorer: Optional[Callable],
) -> "CrfEntityRecognizer":
    """Make a `crf_ner` component.

    model: a `spacy-clinical-ner.CrfTagger.v1` model, or a `CrfPool.v1` of several.
    spans_key: None writes `doc.ents` from one chain of tags over all labels. A name writes `doc.spans[name]` from one
        chain for each label, so that mentions with different labels may overlap.
    overwrite: whether entities that are already in `doc.ents` give way to predicted ones.
    threshold: mentions whose confidence lies below it are not written (0 to 1).
    recall_bias: taken from the score of "no mention" at every token before decoding, in nats; above 0 finds more, and
        confidence is then that under the biased scores.
    max_batch_tokens: tokens of the notes that are held in memory at once; a longer note goes alone.
    view: what the model sees of a note (`spacy-clinical-ner.View.v1`), if that is not all of it as it stands. The model
        then needs a tok2vec of its own.
    """
    return CrfEntityRecognizer(
        nlp.vocab,
        model,
        name,
        spans_key=spans_key,
        overwrite=overwrite,
        threshold=threshold,
        recall_bias=recall_bias,
        max_batch_tokens=max_batch_tokens,
        view=view,
        scorer=scorer,
    )


class CrfEntityRecognizer(LabelledPipe):
    """Entity recogniser over the tags of whole notes, read by the decoder of its model.

    With the CRF (Lafferty et al. 2001), illegal tag sequences have probability zero in training and decoding, and
    `span._.confidence` is the exact posterior probability of each written mention. With the softmax decoder it is the
    product of the probabilities of the mention's tags, each token by itself, and illegal sequences are read leniently
    (see `layers.decoders.SoftmaxDecoder`).
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], List[Floats2d]],
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
        if not 0.0 <= threshold <= 1.0:
            raise ValueError(f"threshold is a probability: choose a number from 0 to 1, not {threshold}")
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.spans_key = spans_key
        self.overwrite = overwrite
        self.threshold = threshold
        self.recall_bias = recall_bias
        self.max_batch_tokens = max_batch_tokens
        self.view = view
        self.scheme = TagScheme(model.attrs["scheme"])
        self.cfg: Dict[str, Any] = {"labels": [], "temperature": 1.0}

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
        if labels is not None:
            found = list(labels)
        else:
            found = sorted({span.label_ for example in get_examples() for span in self.gold_spans(example.reference)})
        self.set_labels(found, "a mention in " + (f"doc.spans['{self.spans_key}']" if self.spans_key else "doc.ents"))
        per_label = self.spans_key is not None
        set_labels(self.model, 1 if per_label else len(self.labels), len(self.labels) if per_label else 1)
        sample = self.seen(example.predicted for example in islice(get_examples(), 10))
        self.model.initialize(X=[doc for doc in sample if len(doc)] or sample)

    def predict(self, docs: Iterable[Doc]) -> List[List[Mention]]:
        """The most probable mentions of each Doc, with their confidence, by position."""
        if self.view is None:
            return self._predict(list(docs))
        views = [self.view(doc) for doc in docs]
        found = self._predict([as_doc(self.vocab, view) for view in views])
        return [[_on_tokens(view, mention) for mention in mentions] for view, mentions in zip(views, found)]

    def _predict(self, docs: List[Doc]) -> List[List[Mention]]:
        if not any(len(doc) for doc in docs):
            return [[] for _ in docs]
        return self.decode(self.model.predict(docs))

    def seen(self, docs: Iterable[Doc]) -> List[Doc]:
        """What the model reads of each Doc: the Doc itself, or its view as a Doc of its own."""
        return [doc if self.view is None else as_doc(doc.vocab, self.view(doc)) for doc in docs]

    def decode(self, emissions: Sequence[Floats2d]) -> List[List[Mention]]:
        """Mentions from the emissions of Docs as they are `seen`, (length, chains * tags) each, by position."""
        return find_mentions(
            decoder(self.model),
            self.scheme,
            [self._tensor(array) for array in emissions],
            max_tokens=self.max_batch_tokens,
            chains=self.model.attrs["chains"],
            threshold=self.threshold,
            recall_bias=self.recall_bias,
            temperature=self.temperature,
        )

    def set_annotations(self, docs: Iterable[Doc], scores: List[List[Mention]]) -> None:
        """Write predicted mentions to `doc.ents` or `doc.spans[spans_key]`, and their confidence."""
        for doc, mentions in zip(docs, scores):
            spans = []
            for start, end, label, confidence in mentions:
                span = Span(doc, start, end, label=self.labels[label])
                extensions.set_confidence(span, confidence)
                spans.append(span)
            if self.spans_key is not None:
                doc.spans[self.spans_key] = SpanGroup(doc, name=self.spans_key, spans=spans)
            elif self.overwrite or not doc.ents:
                doc.set_ents(spans)
            else:
                taken = {i for entity in doc.ents for i in range(entity.start, entity.end)}
                doc.set_ents([*doc.ents, *(s for s in spans if taken.isdisjoint(range(s.start, s.end)))])

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """One step of training on a batch. Examples whose reference has no entity annotation at all teach nothing."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "CrfEntityRecognizer.update")
        docs = self.seen(eg.predicted for eg in examples)
        taught = [bool(len(doc)) and self._is_annotated(eg.reference) for eg, doc in zip(examples, docs)]
        # A listener hands out what it holds for the whole batch, and what it listens to waits for the gradient of that.
        read = [any(map(len, docs))] * len(docs) if listens(self.model) else taught
        if not any(read):
            return losses
        set_dropout_rate(self.model, drop)
        emissions, backprop = self.model.begin_update([doc for doc, wanted in zip(docs, read) if wanted])
        gradient = [self.model.ops.alloc2f(*array.shape) for array in emissions]
        loss = 0.0
        rows = [row for row, number in enumerate(np.flatnonzero(read)) if taught[number]]
        if rows:
            chosen = [eg for eg, wanted in zip(examples, taught) if wanted]
            loss, found = self.get_loss(chosen, [emissions[row] for row in rows])
            for row, array in zip(rows, found):
                gradient[row] = array
        backprop(gradient)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Sequence[Floats2d]) -> Tuple[float, List[Floats2d]]:
        """Negative log-likelihood per note in nats, and its gradient with respect to the emissions.

        The gradient of the decoder's own parameters is left in the torch module, for `finish_update`.
        """
        examples = list(examples)
        loss, gradients = tagging_loss(
            decoder(self.model),
            [self._tensor(array) for array in scores],
            [self._gold_tags(example) for example in examples],
            max_tokens=self.max_batch_tokens,
            chains=self.model.attrs["chains"],
            scale=1.0 / len(examples),
        )
        return loss, [as_floats2d(self.model, gradient) for gradient in gradients]

    def _tensor(self, array: Floats2d) -> torch.Tensor:
        return xp2torch(array, device=torch_shim(self.model).device)

    def _gold_tags(self, example: Example) -> NDArray[np.int64]:
        """(chains, length) tags of the reference, on the tokens of the predicted Doc as they are seen."""
        index = {label: i for i, label in enumerate(self.labels)}
        chains = self.model.attrs["chains"]
        view = None if self.view is None else self.view(example.predicted)
        spans = self._gold_on_predicted(example)
        self.check_labels({span.label_ for span in spans})
        length = len(example.predicted) if view is None else len(view.words)
        tags = np.zeros((chains, length), dtype="int64")
        for chain in range(chains):
            mine = [s for s in spans if chains == 1 or index[s.label_] == chain]
            rows = [(s.start, s.end, 0 if chains > 1 else index[s.label_]) for s in filter_spans(mine)]
            if view is not None:
                seen = [(*to_words(view, start, end), label) for start, end, label in rows]
                rows = [row for row in seen if row[0] < row[1]]
            tags[chain] = self.scheme.encode(rows, length)
        return tags

    def gold_spans(self, doc: Doc) -> Sequence[Span]:
        """The mentions of a reference Doc that this component learns: `doc.ents` or `doc.spans[spans_key]`."""
        if self.spans_key is None:
            return doc.ents
        return list(doc.spans.get(self.spans_key, ()))

    def _gold_on_predicted(self, example: Example) -> List[Span]:
        spans = self.gold_spans(example.reference)
        return example.get_aligned_spans_y2x(spans, allow_overlap=self.spans_key is not None)

    def _is_annotated(self, doc: Doc) -> bool:
        if self.spans_key is None:
            return doc.has_annotation("ENT_IOB")
        return self.spans_key in doc.spans


def _on_tokens(view: View, mention: Mention) -> Mention:
    start, end = to_tokens(view, mention.start, mention.end)
    return mention._replace(start=start, end=end)
