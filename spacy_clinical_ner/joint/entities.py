"""The entity side of a joint extractor: gold tags, the loss of the CRF, and mentions with their posterior."""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans
from thinc.api import Model, xp2torch
from thinc.types import Floats2d

from spacy_clinical_ner.joint.architectures import network
from spacy_clinical_ner.layers.joint_network import SCHEME
from spacy_clinical_ner.tagging.batches import alike, pad_chains
from spacy_clinical_ner.torch_shim import as_floats2d, torch_shim


class FoundEntity(NamedTuple):
    """A predicted mention: token offsets (end exclusive), label index and posterior probability."""

    start: int
    end: int
    label: int
    confidence: float


def find_entities(
    model: Model, emissions: Sequence[Floats2d], max_tokens: int, threshold: float
) -> List[List[FoundEntity]]:
    """The best tags of each Doc as mentions whose posterior reaches the threshold. max_tokens: decoded at once."""
    decoder = network(model).decoder
    found: List[List[FoundEntity]] = [[] for _ in emissions]
    with torch.no_grad():
        for group in alike([len(array) for array in emissions], max_tokens):
            scores, mask = pad_chains([_tensor(model, emissions[i]) for i in group], 1)
            paths = decoder.best(scores, mask)
            spans = SCHEME.spans(paths, mask)
            confidence = decoder.span_log_probability(scores, mask, paths, spans).exp().clamp(0.0, 1.0)
            for (row, start, end, label), value in zip(spans.tolist(), confidence.tolist()):
                if value >= threshold:
                    found[group[row]].append(FoundEntity(start, end, label, value))
    return found


def make_spans(doc: Doc, entities: Sequence[FoundEntity], labels: Sequence[str]) -> List[Span]:
    """The mentions as Spans, which are not yet entities of the Doc."""
    return [Span(doc, each.start, each.end, label=labels[each.label]) for each in entities]


def gold_tags(example: Example, labels: Sequence[str]) -> np.ndarray:
    """(length,) tags of the reference's entities on the tokens of the predicted Doc."""
    index = {label: i for i, label in enumerate(labels)}
    spans = filter_spans(example.get_aligned_spans_y2x(example.reference.ents))
    return SCHEME.encode([(span.start, span.end, index[span.label_]) for span in spans], len(example.predicted))


def entity_loss(
    model: Model, emissions: Sequence[Floats2d], tags: Sequence[np.ndarray], max_tokens: int, weight: float
) -> Tuple[float, List[Floats2d]]:
    """weight times the negative log-likelihood of the tags in nats a token, and its gradient for the emissions.

    The gradient of the CRF's own parameters is left in the torch module.
    """
    leaves = [_tensor(model, array).requires_grad_() for array in emissions]
    loss = torch.zeros((), device=torch_shim(model).device)
    for group in alike([len(leaf) for leaf in leaves], max_tokens):
        scores, mask = pad_chains([leaves[i] for i in group], 1)
        padded = np.zeros(tuple(mask.shape), dtype="int64")
        for row, i in enumerate(group):
            padded[row, : len(tags[i])] = tags[i]
        loss = loss + network(model).decoder.loss(scores, torch.from_numpy(padded).to(mask.device), mask)
    loss = weight * loss / max(1, sum(map(len, leaves)))
    loss.backward()
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    return float(loss.detach()), [as_floats2d(model, gradient) for gradient in gradients]


def _tensor(model: Model, array: Floats2d) -> torch.Tensor:
    return xp2torch(array, device=torch_shim(model).device)
