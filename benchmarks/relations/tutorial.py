"""What spaCy's tutorial on relations builds, re-created to compare with: its model over our tok2vec and training.

The tutorial scores every ordered pair of entities within 100 tokens: the mean vectors of the two, one linear layer, a
sigmoid for each label, 0.5 as the threshold. It knows neither entity types nor distances nor the words between. Here
the gradient is that of cross-entropy (the tutorial takes squared error), gold relations that are not candidates count
as missed (there they are not counted), and entities that start at the same token are kept apart (there they collide).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Config, Model
from thinc.types import Floats2d
from torch import Tensor, nn

from spacy_clinical_ner.bridge.torch_shim import LazyTorchShim
from spacy_clinical_ner.layers.encoders import ContextEncoder
from spacy_clinical_ner.layers.pooling import range_mean
from spacy_clinical_ner.layers.relation_network import RelationBatch
from spacy_clinical_ner.relations.relation_architectures import RelationInput, forward, init
from spacy_clinical_ner.windows.batches import WindowBatch

MAX_DISTANCE = 100
THRESHOLD = 0.5


class TutorialNetwork(nn.Module):
    """Mean vectors of head and tail, side by side, and a linear layer."""

    def __init__(self, input_width: int, outputs: int, encoder: Optional[Callable], dropout: float) -> None:
        super().__init__()
        self.encoder = ContextEncoder(input_width, encoder, dropout)
        self.output = nn.Linear(2 * self.encoder.output_width, outputs)
        nn.init.zeros_(self.output.weight)

    def forward(self, vectors: Sequence[Tensor], batch: RelationBatch, windows: List[WindowBatch]) -> Tensor:
        tokens = self.encoder(vectors[0][batch.rows], windows)
        mentions = range_mean(tokens, batch.start, batch.end)
        head, tail = self.output.weight.chunk(2, dim=1)
        return (mentions @ head.T)[batch.head] + (mentions @ tail.T)[batch.tail] + self.output.bias


def build(input_width: int, types: int, outputs: int, encoder: Optional[Callable], dropout: float) -> nn.Module:
    return TutorialNetwork(input_width, outputs, encoder, dropout)


def tutorial_relations(
    tok2vec: Model[List[Doc], List[Floats2d]],
    encoder: Optional[Callable[[int], nn.Module]],
    window: int,
    context: int,
    dropout: float,
) -> Model[RelationInput, Floats2d]:
    """The tutorial's classifier as a model for `relation_classifier`, with the settings of our own that it shares."""
    return Model(
        "tutorial_relations",
        forward,
        init=init,
        layers=[tok2vec],
        refs={"tok2vec": tok2vec},
        shims=[LazyTorchShim(partial(build, encoder=encoder, dropout=dropout))],
        attrs={"window": window, "context": context, "max_batch_tokens": 8192, "members": 1, "types": 0, "outputs": 0},
    )


# Annotations as strings would not tell the registry what the arguments are.
tutorial_relations.__annotations__ = {
    "tok2vec": Any,
    "encoder": Any,
    "window": int,
    "context": int,
    "dropout": float,
    "return": Any,
}
registry.architectures("benchmarks.TutorialRelations.v1")(tutorial_relations)


def tutorial_config(ours: Config) -> Config:
    """Our config with the tutorial's candidates, model and output; tok2vec and the number of steps stay.

    It trains to the last step: few pairs of all within 100 tokens are related, so that hardly a score ever reaches its
    threshold of 0.5, and F on the notes that stop the others is 0 from the first evaluation to the last.
    """
    config = ours.copy()
    component: Dict[str, Any] = config["components"]["relation_classifier"]
    model = component["model"]
    component["model"] = {
        "@architectures": "benchmarks.TutorialRelations.v1",
        **{name: model[name] for name in ("tok2vec", "encoder", "window", "context", "dropout")},
    }
    component["candidates"] = {
        "@misc": "spacy-clinical-ner.CandidatePairs.v1",
        "*": {"distance": {"@misc": "spacy-clinical-ner.TokenDistance.v1", "max_distance": MAX_DISTANCE}},
    }
    component.update({"multi_label": True, "keep_negatives": 1.0})
    config["training"]["patience"] = 0
    return config
