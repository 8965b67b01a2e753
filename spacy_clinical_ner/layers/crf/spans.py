"""Posterior probability of labelled spans under a CRF over the tags of a tag scheme."""

from __future__ import annotations

import torch
from torch import Tensor

from spacy_clinical_ner.layers.crf.messages import Messages, Scores
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.layers.pooling import range_positions


def span_log_probability(scores: Scores, messages: Messages, spans: Tensor, scheme: TagScheme) -> Tensor:
    """Log-probability (n,) float64 that each span is in the tagging, exactly as it stands.

    spans: (n, 4) long, rows (sequence, start, end, label index), end exclusive.
    The sum over all paths that pass through the tags of the span (Culotta and McCallum 2004, "Confidence estimation
    for information extraction", Eq. 4): everything before comes from the prefix message of its first token,
    everything after from the suffix message of its last.
    """
    sequence, start, end, label = spans.unbind(1)
    begin, inside = scheme.tag("B", label), scheme.tag("I", label)
    bio = scheme.name == "BIO"
    single, closing = (begin, inside) if bio else (scheme.tag("S", label), scheme.tag("E", label))
    first = torch.where(end - start == 1, single, begin)
    last = torch.where(end - start == 1, single, closing)

    # All tokens of all spans, one after the other.
    span, offset = range_positions(start, end)
    position = start[span] + offset
    tag = torch.where(position == end[span] - 1, last[span], inside[span])
    tag = torch.where(offset == 0, first[span], tag)
    weight = scores.emissions[position, sequence[span], tag].double()
    weight[1:] += scores.transitions[tag[:-1], tag[1:]].double().where(offset[1:] > 0, 0.0)
    within = weight.new_zeros(len(spans)).index_add_(0, span, weight)

    before = messages.log_prefix(scores, start, sequence).gather(1, first.unsqueeze(1)).squeeze(1)
    if bio:
        after = _not_continued(scores, messages, sequence, end, last, inside)
    else:
        after = messages.log_suffix(scores, end - 1, sequence).gather(1, last.unsqueeze(1)).squeeze(1)
    return before + within + after - messages.log_partition[sequence]


def _not_continued(
    scores: Scores, messages: Messages, sequence: Tensor, end: Tensor, last: Tensor, inside: Tensor
) -> Tensor:
    """(n,) log-weight of what may follow a span in BIO, where the next token must not be I- of the same label."""
    following = end.clamp(max=len(scores.emissions) - 1)
    onward = scores.transitions[last].double() + scores.emissions[following, sequence].double()
    onward = onward + messages.log_suffix(scores, following, sequence)
    onward = onward.scatter(1, inside.unsqueeze(1), -torch.inf).logsumexp(1)
    return torch.where(end == scores.lengths[sequence], scores.end[last].double(), onward)
