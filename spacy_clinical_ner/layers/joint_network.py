"""The torch part of the joint extractor: word pieces in, emissions of tags and scores of relations out."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.crf.decoders import CrfDecoder
from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme
from spacy_clinical_ner.layers.focused_attention import FocusedEncoder, PairBatch, check_mask

SCHEME = TagScheme("BIOES")


class PieceBatch(NamedTuple):
    """Windows of word pieces, and the tokens whose emissions are read from them.

    ids: (windows, length) long. mask: the same shape, False at padding.
    row, column: (tokens,) where the first piece of each token stands. token: (tokens,) its number among all tokens.
    """

    ids: Tensor
    mask: Tensor
    row: Tensor
    column: Tensor
    token: Tensor


class JointNetwork(nn.Module):
    """Entities and relations from one focused encoder (Xue et al. 2019).

    Entities: the task of full attention, a linear map and a CRF over BIOES tags. Relations: [CLS] of each pair's task,
    a linear map, tanh, dropout, a linear map; the scores are those before the softmax, "no relation" first.

    encoder: a Hugging Face encoder, see `FocusedEncoder`. pieces: what cuts words into its word pieces; not used here,
        but kept beside the weights that belong to it.
    capacity: most word pieces in a window, without [CLS] and [SEP].
    labels: entity labels. outputs: scores of a pair; 1 + relation labels.
    task_layers: K. mask: form of the mask of a pair, see `focused_attention.task_mask`.
    pair_types: add a score learned for the types of head and tail and their order, which the paper does not have.
        Without it nothing tells head from tail but what the encoder wrote on them.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pieces: Any,
        capacity: int,
        labels: int,
        outputs: int,
        task_layers: int,
        mask: str,
        pair_types: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        check_mask(mask)
        self.mask = mask
        self.pieces = pieces
        self.capacity = capacity
        self.encoder = FocusedEncoder(encoder, task_layers)
        width = self.encoder.output_width
        self.dropout = nn.Dropout(dropout)
        self.labels = labels
        self.emission = nn.Linear(width, SCHEME.num_tags(labels))
        tags = SCHEME.constraints(labels)
        self.decoder = CrfDecoder(LinearChainCRF(SCHEME.num_tags(labels), batch_first=True, constraints=tags))
        self.crf = self.decoder.crf
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, outputs)
        self.pair_types = nn.Embedding(2 * (labels + 1) ** 2, outputs) if pair_types else None
        for layer in (self.emission, self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        if self.pair_types is not None:
            nn.init.zeros_(self.pair_types.weight)

    def emissions(self, hidden: Sequence[Tensor], batches: Sequence[PieceBatch]) -> Tensor:
        """hidden: what `encoder.shared` gave for each batch -> (tokens, tags), in the order of the tokens."""
        if not batches:
            return self.emission.bias.new_zeros((0, self.emission.out_features))
        found = [
            self.emission(self.dropout(self.encoder.entities(x, batch.mask)[batch.row, batch.column]))
            for x, batch in zip(hidden, batches)
        ]
        return torch.cat(found)[torch.argsort(torch.cat([batch.token for batch in batches]))]

    def relations(self, hidden: Tensor, mask: Tensor, pairs: PairBatch, kinds: Tensor) -> Tensor:
        """Scores (pairs, outputs) of pairs in one batch of windows. kinds: (pairs,) rows of `pair_types`."""
        cls = self.encoder.pairs(hidden, mask, pairs, self.mask)
        scores = self.output(self.dropout(torch.tanh(self.hidden(cls))))
        return scores if self.pair_types is None else scores + self.pair_types(kinds)
