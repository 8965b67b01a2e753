"""The skeleton of all trainable components: labels, one step of training, listeners, and streams of Docs."""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    cast,
)

from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from thinc.api import Model, Optimizer, set_dropout_rate

from spacy_clinical_ner.bridge.torch_shim import torch_shim
from spacy_clinical_ner.windows.planning import batch_docs

_LISTENERS = ("tok2vec-listener", "transformer-listener")


def listens(model: Model) -> bool:
    """Whether there is a listener in the model: what it listens to waits for a gradient in every step."""
    return any(node.name in _LISTENERS for node in model.walk())


def find_architectures(config: Mapping[str, Any], *names: str) -> Iterator[Tuple[Tuple[str, ...], Dict[str, Any]]]:
    """Architectures in a config: the path of keys to each, and its own part of the config.

    names: what one of its names holds, such as "Tok2VecListener".
    """
    if any(name in str(config.get("@architectures", "")) for name in names):
        yield (), cast(Dict[str, Any], config)
    for key, part in config.items():
        if isinstance(part, dict):
            yield from (((key, *path), found) for path, found in find_architectures(part, *names))


class Lesson(NamedTuple):
    """What a batch of examples teaches.

    reads: what the model reads. targets: what `TrainableComponent.loss` compares the model's output with.
    teaches: whether there is any target; if not, only a listener's upstream needs the step.
    """

    reads: Any
    targets: Any
    teaches: bool


class TrainableComponent(TrainablePipe):
    """A component whose labels stand in `cfg["labels"]` and whose model is made with one LazyTorchShim.

    What one adds: whether an example `teaches` it anything, what its model reads of examples and the targets
    (`lesson`), its `loss`, and `predict`, `set_annotations` and `initialize` as spaCy has them.
    """

    def __init__(
        self, vocab: Vocab, model: Model, name: str, *, max_batch_tokens: int, scorer: Optional[Callable]
    ) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.max_batch_tokens = max_batch_tokens
        self.scorer = scorer
        self.cfg: Dict[str, Any] = {"labels": []}

    def teaches(self, example: Example) -> bool:
        """Whether the reference is annotated with anything that the component learns."""
        raise NotImplementedError

    def lesson(self, examples: Sequence[Example]) -> Lesson:
        """What the model reads, and the targets. Raises ValueError for a label that it was not built for.

        examples: those that teach; with a listener all of the batch, since it hands out what it holds for all.
        """
        raise NotImplementedError

    def loss(self, output: Any, targets: Any) -> Tuple[float, Any]:
        """The loss, and its gradient in the form of the model's output: 0 for whatever has no target."""
        raise NotImplementedError

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """One step of training on a batch. Examples whose reference is not annotated teach nothing.

        What a listener listens to waits for its gradient, so the model runs for it even if that is zero.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, f"{type(self).__name__}.update")
        upstream_waits = listens(self.model) and any(len(example.predicted) for example in examples)
        read = examples if upstream_waits else [example for example in examples if self.teaches(example)]
        lesson = self.lesson(read)
        if not (lesson.teaches or upstream_waits):
            return losses
        set_dropout_rate(self.model, drop)
        output, backprop = self.model.begin_update(lesson.reads)
        loss, gradient = self.loss(output, lesson.targets)
        backprop(gradient)
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def get_loss(self, examples: Iterable[Example], scores: Any) -> Tuple[float, Any]:
        """The loss of all `examples` and its gradient. scores: the model's output for them."""
        return self.loss(scores, self.lesson(list(examples)).targets)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream; a batch holds at most `batch_size` Docs and about `max_batch_tokens` tokens."""
        handle = self.get_error_handler()
        for docs in batch_docs(stream, batch_size, self.max_batch_tokens):
            try:
                self.set_annotations(docs, self.predict(docs))
                yield from docs
            except Exception as error:
                handle(self.name, self, docs, error)

    @property
    def labels(self) -> Tuple[str, ...]:
        """The labels, in the order of the model's output."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> Any:
        """What `spacy init labels` stores and `initialize(labels=...)` takes."""
        return list(self.labels)

    def add_label(self, label: str) -> int:
        """Add a label before initialize: 1 if it is new, 0 if not. Raises ValueError once the model is built."""
        if label in self.labels:
            return 0
        if torch_shim(self.model).cfg:
            raise ValueError(
                f"[{self.name}] cannot learn the label '{label}' now: its output layer is already built for "
                f"{len(self.labels)} labels. Initialize the pipeline again with all labels."
            )
        self.cfg["labels"].append(label)
        return 1

    def set_labels(self, found: Iterable[str], missing: str) -> None:
        """Join labels to those added before, and make them known to the vocabulary.

        Raises ValueError if there is none at all; missing: what no training example has, for its message.
        """
        self.cfg["labels"] = list(dict.fromkeys([*self.cfg["labels"], *found]))
        if not self.labels:
            raise ValueError(f"[{self.name}] no labels: not one training example has {missing}")
        for label in self.labels:
            self.vocab.strings.add(label)

    def check_labels(self, used: Collection[str], known: Optional[Sequence[str]] = None, kind: str = "label") -> None:
        """Raise ValueError if there is a label that the model was not built for. known: by default, `labels`."""
        built_for = self.labels if known is None else known
        unknown = sorted(set(used) - set(built_for))
        if unknown:
            raise ValueError(
                f"[{self.name}] cannot train on the {kind}(s) {', '.join(unknown)}: the model was built for "
                f"{', '.join(built_for)}. Initialize the pipeline again with all labels."
            )


def check_probability(name: str, value: float) -> None:
    """Raise ValueError for a setting that is no probability."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a probability: choose a number from 0 to 1, not {value}")
