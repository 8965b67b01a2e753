"""From scores of tags to a loss, to the best tags and to the confidence of a span: by a CRF, or token by token."""

from __future__ import annotations

from typing import Optional, Protocol

from torch import Tensor, nn

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.tag_scheme import UNKNOWN, TagScheme

DECODERS = ("crf", "softmax")


class Decoder(Protocol):
    """What a tagger needs to know of the way its scores are read.

    Shapes: scores (sequences, length, num_tags); mask (sequences, length) bool, True for tokens, the first positions of
    each sequence; tags and paths (sequences, length) long.

    num_tags: tags of one chain. crf: the module whose parameters are trained with the network, if there is one.
    """

    num_tags: int

    @property
    def crf(self) -> Optional[LinearChainCRF]: ...

    def loss(self, scores: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Sum of the negative log-likelihoods of the gold tags, in nats, over all sequences.

        Tags may be UNKNOWN: all that is legal there is right.
        """

    def best(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The best tags, -1 at padding. `TagScheme.spans` tells which spans they mean."""

    def span_log_probability(
        self, scores: Tensor, mask: Tensor, paths: Tensor, spans: Tensor, temperature: float = 1.0
    ) -> Tensor:
        """Log-probability (n,) of each span of `paths`; spans: (n, 4) rows (sequence, start, end, label index).

        temperature: divides the scores (Guo et al. 2017), which leaves the best tags as they are.
        """


class CrfDecoder:
    """One chain of tags a sequence; illegal ones are impossible, and a span has its exact posterior probability.

    A plain object, not a module: the network that owns it registers `crf`, under that very name.
    """

    def __init__(self, crf: LinearChainCRF) -> None:
        self.crf = crf
        self.num_tags = crf.num_tags

    def loss(self, scores: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        if not (tags == UNKNOWN).any():
            return -self.crf(scores, tags, mask=mask, reduction="sum")
        assert self.crf.scheme is not None
        allowed = self.crf.scheme.allowed(tags, self.num_tags)
        return -self.crf.partial_log_likelihood(scores, allowed, mask).sum()

    def best(self, scores: Tensor, mask: Tensor) -> Tensor:
        return self.crf.decode_tensor(scores, mask)[0]

    def span_log_probability(
        self, scores: Tensor, mask: Tensor, paths: Tensor, spans: Tensor, temperature: float = 1.0
    ) -> Tensor:
        return self.crf.span_log_probability(scores, mask, spans, temperature=temperature)


class SoftmaxDecoder:
    """Each token decides for itself: cross-entropy, and the tag with the highest score.

    The tags may then break the scheme. `TagScheme.spans` repairs them the way conlleval reads them: an I or E that
    continues nothing begins a mention, a new label ends the mention before it, and one without its E ends where it is
    no longer continued. A span's probability is the product of the probabilities of its tokens' tags as decoded, so the
    neighbours have no part in it.
    """

    crf = None

    def __init__(self, num_tags: int) -> None:
        self.num_tags = num_tags

    def loss(self, scores: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores[mask].float(), tags[mask], reduction="sum", ignore_index=UNKNOWN)

    def best(self, scores: Tensor, mask: Tensor) -> Tensor:
        return scores.argmax(-1).masked_fill(~mask, -1)

    def span_log_probability(
        self, scores: Tensor, mask: Tensor, paths: Tensor, spans: Tensor, temperature: float = 1.0
    ) -> Tensor:
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        logs = (scores.double() / temperature).log_softmax(-1)
        logs = logs.gather(2, paths.clamp(min=0).unsqueeze(2)).squeeze(2).masked_fill(~mask, 0.0)
        before = nn.functional.pad(logs.cumsum(1), (1, 0))  # (sequences, length + 1)
        sequence, start, end, _ = spans.unbind(1)
        return (before[sequence, end] - before[sequence, start]).clamp(max=0.0).to(scores.dtype)


def make_decoder(name: str, scheme: TagScheme, labels: int) -> Decoder:
    """The decoder of that name for the tags of `labels` labels. Raises ValueError for a name not in `DECODERS`."""
    check_decoder(name)
    if name == "crf":
        return CrfDecoder(
            LinearChainCRF(scheme.num_tags(labels), batch_first=True, constraints=scheme.constraints(labels))
        )
    return SoftmaxDecoder(scheme.num_tags(labels))


def check_decoder(name: str) -> None:
    """Raise ValueError for a name not in `DECODERS`."""
    if name not in DECODERS:
        raise ValueError(f"unknown decoder '{name}': choose one of {', '.join(DECODERS)}")
