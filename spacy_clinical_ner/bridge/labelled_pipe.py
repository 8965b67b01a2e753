"""What all trainable components share: labels that are fixed once their output layer is built."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from thinc.api import Model

from spacy_clinical_ner.bridge.torch_shim import torch_shim
from spacy_clinical_ner.windows.planning import batch_docs

_LISTENERS = ("tok2vec-listener", "transformer-listener")


def listens(model: Model) -> bool:
    """Whether there is a listener in the model: what it listens to waits for a gradient in every step."""
    return any(node.name in _LISTENERS for node in model.walk())


def find_listeners(config: Mapping[str, Any], kind: str) -> Iterator[Tuple[Tuple[str, ...], Mapping[str, Any]]]:
    """The listeners in the config of a model: the path of keys to each, and its own part of the config.

    kind: "Tok2VecListener" or "TransformerListener", as in the name of their architecture.
    """
    if kind in str(config.get("@architectures", "")):
        yield (), config
    for key, part in config.items():
        if isinstance(part, dict):
            yield from (((key, *path), found) for path, found in find_listeners(part, kind))


class LabelledPipe(TrainablePipe):
    """A component whose labels stand in `cfg["labels"]` and whose model is made with one LazyTorchShim."""

    cfg: Dict[str, Any]
    max_batch_tokens: int

    @property
    def labels(self) -> Tuple[str, ...]:
        """The labels, in the order of the model's output."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> List[str]:
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

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate a stream; a batch holds at most `batch_size` Docs and about `max_batch_tokens` tokens."""
        handle = self.get_error_handler()
        for docs in batch_docs(stream, batch_size, self.max_batch_tokens):
            try:
                self.set_annotations(docs, self.predict(docs))
                yield from docs
            except Exception as error:
                handle(self.name, self, docs, error)
