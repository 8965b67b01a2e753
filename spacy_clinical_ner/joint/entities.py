"""The entity side of a joint extractor: gold tags, the loss of the CRF, and mentions with their posterior."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from thinc.api import Model, xp2torch
from thinc.types import Floats2d

from spacy_clinical_ner.bridge.torch_shim import as_floats2d, torch_shim
from spacy_clinical_ner.joint.joint_architectures import network
from spacy_clinical_ner.layers.joint_network import SCHEME
from spacy_clinical_ner.tagging.decoding import Mention, find_mentions, tagging_loss


def find_entities(
    model: Model, emissions: Sequence[Floats2d], max_tokens: int, threshold: float
) -> List[List[Mention]]:
    """The best tags of each Doc as mentions whose posterior reaches the threshold. max_tokens: decoded at once."""
    scores = [_tensor(model, array) for array in emissions]
    return find_mentions(network(model).decoder, SCHEME, scores, max_tokens=max_tokens, threshold=threshold)


def make_spans(doc: Doc, entities: Sequence[Mention], labels: Sequence[str]) -> List[Span]:
    """The mentions as Spans, which are not yet entities of the Doc."""
    return [Span(doc, each.start, each.end, label=labels[each.label]) for each in entities]


def gold_tags(example: Example, labels: Sequence[str]) -> NDArray[np.int64]:
    """(1, length) tags of the reference's entities on the tokens of the predicted Doc."""
    index = {label: i for i, label in enumerate(labels)}
    spans = filter_spans(example.get_aligned_spans_y2x(example.reference.ents))
    return SCHEME.encode([(s.start, s.end, index[s.label_]) for s in spans], len(example.predicted))[np.newaxis]


def entity_loss(
    model: Model, emissions: Sequence[Floats2d], tags: Sequence[NDArray[np.int64]], max_tokens: int, weight: float
) -> Tuple[float, List[Floats2d]]:
    """weight times the negative log-likelihood of the tags in nats a token, and its gradient for the emissions.

    The gradient of the CRF's own parameters is left in the torch module.
    """
    scale = weight / max(1, sum(map(len, emissions)))
    scores = [_tensor(model, array) for array in emissions]
    loss, gradients = tagging_loss(network(model).decoder, scores, tags, max_tokens=max_tokens, scale=scale)
    return loss, [as_floats2d(model, gradient) for gradient in gradients]


def _tensor(model: Model, array: Floats2d) -> torch.Tensor:
    return xp2torch(array, device=torch_shim(model).device)
