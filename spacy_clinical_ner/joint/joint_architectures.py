"""The registered model of `joint_extractor`: joins its torch network with Thinc."""

import json
import logging
from contextlib import nullcontext
from functools import partial
from typing import Any, Callable, List, NamedTuple, Optional, Tuple, TypeVar, cast

import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, xp2torch
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.memory import without_onednn
from spacy_clinical_ner.bridge.torch_shim import as_floats2d, torch_shim
from spacy_clinical_ner.joint.encoder_sources import EncoderSource, without_pooler
from spacy_clinical_ner.joint.layout import Layout, Sizes
from spacy_clinical_ner.joint.pair_windows import check_sizes
from spacy_clinical_ner.layers.focused_attention import check_mask
from spacy_clinical_ner.layers.joint_network import JointNetwork
from spacy_clinical_ner.relations.pair_groups import PairGroup
from spacy_clinical_ner.transformers.encoding import add_gradients, is_out_of_memory, random_states, replaying
from spacy_clinical_ner.transformers.loading import build_encoder, position_count
from spacy_clinical_ner.transformers.shim import EncoderSettings, FineTunedShim
from spacy_clinical_ner.transformers.word_pieces import WordPieces

logger = logging.getLogger(__name__)
SPECIAL = 2  # pieces of a window that stand around those of the text
Result = TypeVar("Result")


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
    recompute: bool = False,
    rate: float = 1.0,
    layer_decay: float = 1.0,
    freeze_embeddings: bool = False,
    freeze_layers: int = 0,
) -> Model[JointInput, JointOutput]:
    """Emissions of BIOES tags and scores of candidate pairs from one encoder with focused attention (Xue et al. 2019).

    encoder: where it comes from, `spacy-clinical-ner.PretrainedEncoder.v1` or `spacy-clinical-ner.TinyEncoder.v1`.
    task_layers: K, the layers that are run once for each task.
    mask: what [CLS] may look at in the task of a pair: "eq13" or "eq14", see `layers.focused_attention.task_mask`.
    pair_types: add a score learned for the entity types of a pair and their order, which the paper does not have.
    window: most word pieces in a window, two special ones included; None for all that the encoder has positions for.
    overlap: word pieces of context on both sides of a window's core.
    max_batch_pieces: word pieces run through the encoder at once; bounds memory and changes no result. It is halved
        when memory runs out.
    dropout: on hidden states before both output layers; the encoder has its own.
    recompute, rate, layer_decay, freeze_embeddings, freeze_layers: as in `spacy-clinical-ner.TransformerModel.v1`.

    The component that owns the model sets attrs "labels" and "outputs" (scores of a pair) before initialize.
    """
    check_mask(mask)
    network_settings: Any = {"task_layers": task_layers, "mask": mask, "pair_types": pair_types, "dropout": dropout}
    settings = EncoderSettings(False, max_batch_pieces, recompute, rate, layer_decay, freeze_embeddings, freeze_layers)
    build = partial(build_network, window=window, recompute=recompute, **network_settings)
    return Model(
        "joint_extractor",
        forward,
        init=partial(init, source=encoder),
        shims=[FineTunedShim(build, settings, encoder="encoder.model")],
        attrs={"overlap": overlap, "max_batch_pieces": max_batch_pieces, "labels": 0, "outputs": 0},
    )


def build_network(
    encoder: str, pieces: str, labels: int, outputs: int, window: Optional[int], recompute: bool, **settings: Any
) -> JointNetwork:
    """encoder: JSON of its config. pieces: JSON of its `WordPieces`. Both are stored with the weights, as sizes are."""
    model = without_pooler(build_encoder(json.loads(encoder)))
    longest = cast(int, position_count(model))
    capacity = min(window or longest, longest) - SPECIAL
    built = JointNetwork(model, WordPieces.from_json(pieces), capacity, labels, outputs, **settings)
    built.encoder.recompute = recompute
    return built


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


class Pass(NamedTuple):
    """What the network makes of its input.

    emissions: (tokens, tags), and by_doc: the same by Doc. scores: (pairs, outputs).
    states: of the random number generators before, so that the pass can be done again with the same dropout.
    """

    emissions: torch.Tensor
    by_doc: List[Floats2d]
    scores: torch.Tensor
    states: List[torch.Tensor]


def forward(
    model: Model[JointInput, JointOutput], X: JointInput, is_train: bool
) -> Tuple[JointOutput, Callable[[Any], JointInput]]:
    module, device = network(model), torch_shim(model).device
    module.train(is_train)
    with torch.set_grad_enabled(is_train), nullcontext() if is_train else without_onednn():
        done = within_memory(model, lambda: read(model, X), is_train)
    output = JointOutput(done.by_doc, as_floats2d(model, done.scores))
    states = done.states
    # The backward pass takes it from here: kept anywhere else, its activations could not be given up.
    held = [done]
    del done

    def backprop(gradient: JointGradient) -> JointInput:
        d_emissions = None if gradient.emissions is None else model.ops.flatten(gradient.emissions)
        within_memory(model, lambda: backward(d_emissions, gradient.scores), True)
        return X

    def backward(d_emissions: Optional[Floats2d], d_scores: Optional[Floats2d]) -> None:
        if held:
            done = held.pop()
        else:
            with replaying(states, device):
                done = read(model, X)
        both = ((done.emissions, d_emissions), (done.scores, d_scores))
        taught = [(each, wanted) for each, wanted in both if wanted is not None and each.requires_grad and len(each)]
        if taught:
            outputs, gradients = zip(*taught)
            parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
            add_gradients(outputs, parameters, [xp2torch(each, device=device) for each in gradients])

    return output, backprop


def read(model: Model[JointInput, JointOutput], X: JointInput) -> Pass:
    """One pass of the network over all Docs."""
    module, shim, ops = network(model), torch_shim(model), model.ops
    states = random_states(shim.device)
    layout = Layout(X.docs, module.pieces, sizes(model), shim.device)
    hidden = [module.encoder.shared(batch.ids, batch.mask) for batch in layout.batches]
    emissions = module.emissions(hidden, layout.batches)
    by_doc = ops.unflatten(as_floats2d(model, emissions), ops.asarray1i([len(doc) for doc in X.docs]))
    groups = X.choose(by_doc)
    hidden += [module.encoder.shared(batch.ids, batch.mask) for batch in layout.add_pairs(groups)]
    return Pass(emissions, by_doc, score_pairs(module, layout, hidden, groups), states)


def within_memory(model: Model, work: Callable[[], Result], is_train: bool) -> Result:
    """What `work` gives. While memory runs out it is tried again: in training first with activations computed anew in
    the backward pass, then with half the word pieces at once, down to a single window."""
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not spare_memory(model, is_train):
                raise


def spare_memory(model: Model, is_train: bool) -> bool:
    """Ask for less memory from now on; False if that cannot be."""
    module = network(model)
    if is_train and not module.encoder.recompute:
        module.encoder.recompute = True
    elif model.attrs["max_batch_pieces"] > module.capacity + SPECIAL:
        model.attrs["max_batch_pieces"] //= 2
    else:
        return False
    logger.warning("Out of memory: going on with at most %d word pieces at once", model.attrs["max_batch_pieces"])
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


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
