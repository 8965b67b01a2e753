"""A logarithmic opinion pool of taggers: their scores are added, and the sum is the score of one CRF again.

Smith, Cohn and Osborne 2005, "Logarithmic Opinion Pools for Conditional Random Fields" (ACL): the distribution of the
pool is the normalised product of the members' distributions, each to the power of its weight. For CRFs over the same
tags that is the CRF whose emissions and transitions are the weighted sums of theirs. So decoding, marginals and
confidence stay exact.
"""

import copy
from functools import partial
from typing import List, Optional, Sequence, Tuple

import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.torch_shim import DocBackprop, DocModel
from spacy_clinical_ner.bridge.trainable import listens
from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.decoders import CrfDecoder, Decoder
from spacy_clinical_ner.tagging.tagger_architectures import network

POOL = "crf_pool"


@registry.architectures("spacy-clinical-ner.CrfPool.v1")
def build_crf_pool(*members: DocModel, weights: Optional[List[float]] = None) -> DocModel:
    """Taggers that score together, as the model of a `crf_ner`.

    members: models of `spacy-clinical-ner.CrfTagger.v1` or `LabelAttentionTagger.v1`, of the same scheme and decoder.
        They may differ in everything else: a transformer and word vectors know different things.
    weights: one for each member; they are divided by their sum. By default all are equal.

    In training, the members learn together, from the likelihood of the pool. `clinical-ner pool` makes a pool of
    taggers that were trained apart, which as a rule is better: members that learn together leave work to each other.

    Raises ValueError without members, for members of different schemes, for weights that do not fit, and where more
    than one member listens to another component: spaCy's `replace_listeners` would replace one of them only.
    """
    if not members:
        raise ValueError("a pool needs one member at least")
    schemes = {member.attrs["scheme"] for member in members}
    if len(schemes) > 1:
        raise ValueError(f"members of a pool must have the same scheme, not {' and '.join(sorted(schemes))}")
    if sum(map(listens, members)) > 1:
        raise ValueError("one member of a pool may listen to another component: give the others a tok2vec of their own")
    given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(members) or min(given) < 0 or not sum(given) > 0:
        raise ValueError(f"weights must be {len(members)} numbers, none below 0 and not all of them 0")
    return Model(
        POOL,
        forward,
        init=init,
        layers=list(members),
        attrs={"scheme": schemes.pop(), "weights": [weight / sum(given) for weight in given], "labels": 0, "chains": 0},
    )


def init(model: Model, X: Optional[List[Doc]] = None, Y: Optional[List[Floats2d]] = None) -> None:
    for member in model.layers:
        member.attrs.update(labels=model.attrs["labels"], chains=model.attrs["chains"])
        member.initialize(X=X)


def forward(model: DocModel, docs: List[Doc], is_train: bool) -> Tuple[List[Floats2d], DocBackprop]:
    weights = model.attrs["weights"]
    outputs, callbacks = zip(*(member(docs, is_train) for member in model.layers))
    emissions = [sum(weight * array for weight, array in zip(weights, arrays)) for arrays in zip(*outputs)]

    def backprop(d_emissions: List[Floats2d]) -> List[Doc]:
        for weight, callback in zip(weights, callbacks):
            callback([weight * array for array in d_emissions])
        return docs

    return emissions, backprop


def decoder(model: Model) -> Decoder:
    """The decoder of a tagger's model, or of the pool that it is. Raises ValueError before initialize.

    What is learnt from the decoder of a pool is learnt by its members, each according to its weight.
    """
    if model.name != POOL:
        return network(model).decoder
    decoders = [decoder(member) for member in model.layers]
    crfs = [each.crf for each in decoders if each.crf is not None]
    if not crfs:
        return decoders[0]  # softmax: it has no scores of its own
    if len(crfs) < len(decoders):
        raise ValueError("members of a pool must all decode with a CRF, or all without")
    return CrfDecoder(pooled_crf(crfs, model.attrs["weights"]))


def pooled_crf(crfs: Sequence[LinearChainCRF], weights: Sequence[float]) -> LinearChainCRF:
    """The CRF whose transitions are the weighted sums of those of others; its gradients go to theirs."""
    pooled = copy.copy(crfs[0])
    pooled._parameters = {}
    for name, first in crfs[0].named_parameters():
        parts = [getattr(crf, name) for crf in crfs]
        total = torch.zeros_like(first.data)
        for weight, part in zip(weights, parts):
            total += weight * part.data
        leaf = torch.nn.Parameter(total)
        leaf.register_hook(partial(_hand_on, list(zip(weights, parts))))
        pooled.register_parameter(name, leaf)
    return pooled


def _hand_on(parts: Sequence[Tuple[float, torch.nn.Parameter]], gradient: torch.Tensor) -> None:
    for weight, part in parts:
        if part.requires_grad:
            share = weight * gradient
            part.grad = share if part.grad is None else part.grad + share
