"""The registered model of `joint_extractor`: joins its torch network with Thinc."""

from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, xp2torch
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.memory import without_onednn
from spacy_clinical_ner.bridge.torch_shim import LazyTorchShim, as_floats2d, torch_shim
from spacy_clinical_ner.joint.encoder_sources import EncoderSource
from spacy_clinical_ner.joint.layout import Layout, Sizes
from spacy_clinical_ner.joint.pair_windows import check_sizes
from spacy_clinical_ner.layers.focused_attention import check_mask
from spacy_clinical_ner.layers.joint_network import JointNetwork
from spacy_clinical_ner.relations.pair_groups import PairGroup


class JointInput(NamedTuple):
    """docs: a batch. choose: gives the pairs to score, none, one or more groups a Doc, from the emissions of each Doc
    (length, tags): what is looked at may depend on the entities that were found."""

    docs: List[Doc]
    choose: Callable[[List[Floats2d]], List[PairGroup]]


class JointOutput(NamedTuple):
    """emissions: (length, tags) of each Doc. scores: (pairs, outputs), in the order of the groups."""

    emissions: List[Floats2d]
    scores: Floats2d


class JointGradient(NamedTuple):
    """What goes back: as `JointOutput`; None for a task that is not trained."""

    emissions: Optional[List[Floats2d]]
    scores: Optional[Floats2d]


@registry.architectures("spacy-clinical-ner.JointExtractor.v1")
def build_joint_extractor(
    encoder: Callable[..., Any],
    task_layers: int = 2,
    mask: str = "eq14",
    pair_types: bool = True,
    window: Optional[int] = None,
    overlap: int = 32,
    max_batch_pieces: int = 8192,
    dropout: float = 0.1,
) -> Model[JointInput, JointOutput]:
    """Emissions of BIOES tags and scores of candidate pairs from one encoder with focused attention (Xue et al. 2019).

    encoder: where it comes from, `spacy-clinical-ner.PretrainedEncoder.v1` or `spacy-clinical-ner.TinyEncoder.v1`.
    task_layers: K, the layers that are run once for each task.
    mask: what [CLS] may look at in the task of a pair: "eq13" or "eq14", see `layers.focused_attention.task_mask`.
    pair_types: add a score learned for the entity types of a pair and their order, which the paper does not have.
    window: most word pieces in a window, two special ones included; None for all that the encoder has positions for.
    overlap: word pieces of context on both sides of a window's core.
    max_batch_pieces: word pieces run through the encoder at once; bounds memory and changes no result.
    dropout: on hidden states before both output layers; the encoder has its own.

    The component that owns the model sets the numbers of labels and outputs by `set_sizes` before initialize.
    """
    check_mask(mask)
    settings: Dict[str, Any] = {"task_layers": task_layers, "mask": mask, "pair_types": pair_types, "window": window}
    return Model(
        "joint_extractor",
        forward,
        init=partial(init, source=encoder),
        shims=[LazyTorchShim(partial(build_network, dropout=dropout, **settings))],
        attrs={"overlap": overlap, "max_batch_pieces": max_batch_pieces, "labels": 0, "outputs": 0},
    )


def build_network(encoder: str, pieces: str, labels: int, outputs: int, **settings: Any) -> JointNetwork:
    return JointNetwork(encoder, pieces, labels, outputs, **settings)


def set_sizes(model: Model, labels: int, outputs: int) -> None:
    """Tell the model, before initialize, how many entity labels there are and how many scores a pair has."""
    model.attrs["labels"] = labels
    model.attrs["outputs"] = outputs


def network(model: Model) -> JointNetwork:
    """The torch module. Raises ValueError before initialize."""
    module = torch_shim(model).module
    assert isinstance(module, JointNetwork)
    return module


def sizes(model: Model) -> Sizes:
    """How notes are cut into windows. Raises ValueError before initialize."""
    return Sizes(network(model).capacity, model.attrs["overlap"], model.attrs["max_batch_pieces"])


def init(
    model: Model, X: Optional[JointInput] = None, Y: Optional[JointOutput] = None, *, source: EncoderSource
) -> None:
    """X: Docs with the words that a tiny encoder learns its word pieces from."""
    docs = X.docs if X is not None else []
    parts = source([token.text for token in doc] for doc in docs)
    module = torch_shim(model).build(
        encoder=parts.config,
        pieces=parts.pieces.to_json(),
        labels=model.attrs["labels"],
        outputs=model.attrs["outputs"],
    )
    assert isinstance(module, JointNetwork)
    module.encoder.model.load_state_dict(parts.weights)
    check_sizes(module.capacity, model.attrs["overlap"])


def forward(
    model: Model[JointInput, JointOutput], X: JointInput, is_train: bool
) -> Tuple[JointOutput, Callable[[Any], JointInput]]:
    module = network(model)
    module.train(is_train)
    shim = torch_shim(model)
    ops = model.ops
    lengths = ops.asarray1i([len(doc) for doc in X.docs])
    with torch.set_grad_enabled(is_train), nullcontext() if is_train else without_onednn():
        layout = Layout(X.docs, module.pieces, sizes(model), shim.device)
        hidden = [module.encoder.shared(batch.ids, batch.mask) for batch in layout.batches]
        emissions = module.emissions(hidden, layout.batches)
        by_doc = ops.unflatten(as_floats2d(model, emissions), lengths)
        groups = X.choose(by_doc)
        hidden += [module.encoder.shared(batch.ids, batch.mask) for batch in layout.add_pairs(groups)]
        scores = score_pairs(module, layout, hidden, groups)

    def backprop(gradient: JointGradient) -> JointInput:
        d_emissions, d_scores = gradient.emissions, gradient.scores
        outputs, gradients = [], []
        if d_emissions is not None and len(emissions):
            outputs.append(emissions)
            gradients.append(xp2torch(ops.flatten(d_emissions), device=shim.device))
        if d_scores is not None and len(scores):
            outputs.append(scores)
            gradients.append(xp2torch(d_scores, device=shim.device))
        if outputs:
            torch.autograd.backward(outputs, gradients)
        return X

    return JointOutput(by_doc, as_floats2d(model, scores)), backprop


def score_pairs(
    module: JointNetwork, layout: Layout, hidden: List[torch.Tensor], groups: List[PairGroup]
) -> torch.Tensor:
    """(pairs, outputs) scores, in the order of the groups. hidden: of every batch of the layout."""
    found, order = [], []
    for batch, rows in layout.pair_rows(groups, module.labels, module.mask == "eq13"):
        found.append(module.relations(hidden[batch], layout.batches[batch].mask, rows.pairs, rows.kinds))
        order.append(rows.order)
    if not found:
        return module.output.bias.new_zeros((0, module.output.out_features))
    return torch.cat(found)[torch.argsort(torch.cat(order))]
