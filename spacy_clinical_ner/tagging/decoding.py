"""From emissions of whole notes to mentions, and to the loss of their gold tags."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from torch import Tensor

from spacy_clinical_ner.extensions import set_confidence
from spacy_clinical_ner.layers.crf.decoders import Decoder
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.windows.batches import group_by_length, pad_chains


class TokenMention(NamedTuple):
    """A predicted mention: token offsets (end exclusive), label index and confidence."""

    start: int
    end: int
    label: int
    confidence: float


def make_spans(doc: Doc, mentions: Sequence[TokenMention], labels: Sequence[str]) -> List[Span]:
    """The mentions as Spans, which are not yet entities of the Doc."""
    return [Span(doc, each.start, each.end, label=labels[each.label]) for each in mentions]


def spans_with_confidence(doc: Doc, mentions: Sequence[TokenMention], labels: Sequence[str]) -> List[Span]:
    """As `make_spans`, and the Doc keeps `span._.confidence` of each."""
    spans = make_spans(doc, mentions, labels)
    for span, mention in zip(spans, mentions):
        set_confidence(span, mention.confidence)
    return spans


def find_mentions(
    decoder: Decoder,
    scheme: TagScheme,
    emissions: Sequence[Tensor],
    *,
    max_tokens: int,
    chains: int = 1,
    threshold: float = 0.0,
    recall_bias: float = 0.0,
    temperature: float = 1.0,
    blocked: Optional[Sequence[NDArray[np.int64]]] = None,
) -> List[List[TokenMention]]:
    """Mentions of each note by position, from its emissions (length, chains * tags).

    max_tokens: of the notes decoded at once. threshold: least confidence of a mention. recall_bias: taken from the
    score of "no mention" at every token, in nats. temperature: scores are divided by it for the confidence. blocked: of
    each note, the tokens that no mention may hold; confidence is then that under this condition.
    """
    found: List[List[TokenMention]] = [[] for _ in emissions]
    with torch.no_grad():
        for group in group_by_length([len(array) for array in emissions], max_tokens):
            scores, mask = pad_chains([emissions[i] for i in group], chains)
            if recall_bias:
                scores[..., 0] -= recall_bias
            if blocked is not None:
                for row, i in enumerate(group):
                    scores[row * chains : (row + 1) * chains, blocked[i], 1:] = -torch.inf
            paths = decoder.best(scores, mask)
            spans = scheme.spans(paths, mask)
            confidence = decoder.span_log_probability(scores, mask, paths, spans, temperature).exp()
            for (row, start, end, label), value in zip(spans.tolist(), confidence.clamp(0.0, 1.0).tolist()):
                if value >= threshold:
                    note, chain = divmod(row, chains)
                    found[group[note]].append(TokenMention(start, end, label + chain, value))
    return [sorted(mentions) for mentions in found]


def tagging_loss(
    decoder: Decoder,
    emissions: Sequence[Tensor],
    tags: Sequence[Optional[NDArray[np.int64]]],
    *,
    max_tokens: int,
    chains: int = 1,
    scale: float = 1.0,
) -> Tuple[float, List[Tensor]]:
    """scale times the negative log-likelihood in nats of all notes' tags, and its gradients like `emissions`.

    emissions: (length, chains * tags) of each note. tags: (chains, length) of each, UNKNOWN where a token has none that
    is known; None for a note that has none and whose gradient is 0.
    The gradient of the decoder's own parameters is left in the torch module.
    """
    leaves = [array.detach().requires_grad_() for array in emissions]
    total = 0.0
    for group in group_by_length([0 if gold is None else len(leaf) for leaf, gold in zip(leaves, tags)], max_tokens):
        scores, mask = pad_chains([leaves[i] for i in group], chains)
        padded = np.zeros((len(group), chains, mask.shape[1]), dtype="int64")
        for row, i in enumerate(group):
            padded[row, :, : len(leaves[i])] = tags[i]
        gold = torch.from_numpy(padded.reshape(len(mask), -1)).to(mask.device)
        loss = decoder.loss(scores, gold, mask) * scale
        loss.backward()
        total += float(loss.detach())
    return total, [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
