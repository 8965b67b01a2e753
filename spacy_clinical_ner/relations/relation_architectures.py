"""Registered models for relations: any spaCy tok2vec, an optional torch encoder over windows, and scores of pairs."""

from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model, xp2torch
from thinc.types import Floats2d
from torch import nn

from spacy_clinical_ner.bridge.factories import takes_settings_of
from spacy_clinical_ner.bridge.torch_shim import DocModel, LazyTorchShim, as_floats2d, torch_shim, vector_width
from spacy_clinical_ner.bridge.trainable import listens
from spacy_clinical_ner.layers.relation_network import RelationBatch, RelationEnsemble, RelationNetwork
from spacy_clinical_ner.relations.features import FEATURES, pair_features
from spacy_clinical_ner.relations.mentions import Ints
from spacy_clinical_ner.relations.pair_groups import PairGroup
from spacy_clinical_ner.windows.planning import WindowSettings, window_batches


class RelationInput(NamedTuple):
    """A batch: its Docs, all of which the tok2vec sees, and groups of pairs (none, one or more for each Doc)."""

    docs: List[Doc]
    groups: List[PairGroup]

    @property
    def pairs(self) -> int:
        return sum(len(group.pairs.head) for group in self.groups)


@registry.architectures("spacy-clinical-ner.RelationClassifier.v1")
@takes_settings_of(RelationNetwork, "input_width", "types", "outputs", "feature_rows")
def build_relation_classifier(
    tok2vec: DocModel,
    encoder: Optional[Callable[[int], nn.Module]] = None,
    window: int = 128,
    context: int = 16,
    max_batch_tokens: int = 8192,
    members: int = 1,
    share_tok2vec: bool = False,
    **settings: Any,
) -> Model[RelationInput, Floats2d]:
    """Scores of relation labels for candidate pairs of mentions.

    tok2vec: any model from Docs to one vector a token (own Tok2Vec, a Tok2VecListener, a TransformerListener).
    encoder: builder of a contextual encoder (`spacy-clinical-ner.BiLSTM.v1`, ...) behind it, or none.
    window, context: tokens in a window's core of the encoder, and tokens read on both sides of it.
    max_batch_tokens: seen at once; bounds memory and changes no result.
    members: networks that are trained side by side from different weights, each over a tok2vec of its own; the
        component averages their probabilities. Time and size grow with them.
    share_tok2vec: all members read the same tok2vec, as they must if it listens to another component.
    settings: those of `layers.relation_network.RelationNetwork`.

    The component that owns the model sets attrs "types" (of entities) and "outputs" (scores of a pair) before
    initialize. Output: one array (pairs, members * outputs), the pairs in the order of the groups.
    """
    if min(window, settings["max_pairs"], members) < 1 or min(context, settings["context_tokens"]) < 0:
        raise ValueError("window, max_pairs and members are at least 1, context and context_tokens at least 0")
    if members > 1 and not share_tok2vec and listens(tok2vec):
        raise ValueError(
            "members cannot each have a tok2vec that listens to another component: set share_tok2vec = true"
        )
    return Model(
        "relation_classifier",
        forward,
        init=init,
        layers=[tok2vec] if share_tok2vec else [tok2vec, *(tok2vec.copy() for _ in range(members - 1))],
        refs={"tok2vec": tok2vec},
        shims=[LazyTorchShim(partial(build_network, encoder=encoder, members=members, settings=settings))],
        attrs={
            "window": window,
            "context": context,
            "max_batch_tokens": max_batch_tokens,
            "members": members,
            "types": 0,
            "outputs": 0,
        },
    )


def build_network(
    input_width: int,
    types: int,
    outputs: int,
    encoder: Optional[Callable[[int], nn.Module]],
    members: int,
    settings: Dict[str, Any],
) -> RelationEnsemble:
    def make() -> RelationNetwork:
        return RelationNetwork(input_width, types, outputs, encoder, list(FEATURES.values()), **settings)

    return RelationEnsemble(members, make)


def init(model: Model, X: Optional[RelationInput] = None, Y: Optional[Floats2d] = None) -> None:
    docs = X.docs if X is not None else None
    for layer in model.layers:
        layer.initialize(X=docs)
    width = vector_width(model.get_ref("tok2vec"), docs)
    torch_shim(model).build(input_width=width, types=model.attrs["types"], outputs=model.attrs["outputs"])


def forward(
    model: Model[RelationInput, Floats2d], X: RelationInput, is_train: bool
) -> Tuple[Floats2d, Callable[[Floats2d], RelationInput]]:
    ops = model.ops
    layers = [layer(X.docs, is_train) for layer in model.layers]
    shim = torch_shim(model)
    module = shim.module
    module.train(is_train)
    lengths = [len(doc) for doc in X.docs]
    with torch.set_grad_enabled(is_train):
        inputs = [xp2torch(ops.flatten(Y), requires_grad=is_train, device=shim.device) for Y, _ in layers]
        if X.pairs:
            docs = [X.docs[group.doc] for group in X.groups]
            settings = WindowSettings(*(model.attrs[name] for name in ("window", "context", "max_batch_tokens")))
            windows = window_batches(docs, shim.device, settings)
            scores = module(inputs, collate(X, lengths, shim.device), windows)
        else:
            scores = inputs[0].new_zeros((0, model.attrs["members"] * model.attrs["outputs"]))

    def backprop(d_scores: Floats2d) -> RelationInput:
        if X.pairs:
            scores.backward(xp2torch(d_scores, device=shim.device))
        for vectors, (_, backprop_vectors) in zip(inputs, layers):
            gradient = torch.zeros_like(vectors) if vectors.grad is None else vectors.grad
            if len(gradient):
                backprop_vectors(ops.unflatten(as_floats2d(model, gradient), ops.asarray1i(lengths)))
        return X

    return as_floats2d(model, scores), backprop


def collate(X: RelationInput, lengths: Sequence[int], device: torch.device) -> RelationBatch:
    """The groups of a batch as rows into its flat tokens: each group has the tokens of its Doc for itself."""
    doc_starts = np.concatenate([[0], np.cumsum(lengths)])
    columns: List[Tuple[Ints, ...]] = []
    token = mention = 0
    for doc, mentions, types, pairs in X.groups:
        size, count = lengths[doc], len(mentions)
        columns.append(
            (
                np.arange(doc_starts[doc], doc_starts[doc] + size),
                np.broadcast_to(np.array([token, token + size]), (count, 2)),
                mentions.start + token,
                mentions.end + token,
                types,
                pairs.head + mention,
                pairs.tail + mention,
                pair_features(mentions, pairs),
            )
        )
        token, mention = token + size, mention + count
    rows, edges, start, end, type_ids, head, tail, features = (
        torch.from_numpy(np.concatenate(arrays)).to(device) for arrays in zip(*columns)
    )
    per_note = [len(group.mentions) for group in X.groups]
    return RelationBatch(rows, edges, start, end, type_ids, per_note, head, tail, features)
