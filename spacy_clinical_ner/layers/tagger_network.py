"""The torch part of a tagger: token vectors in, emissions out, and the CRF that reads them."""

from __future__ import annotations

from typing import NamedTuple, Optional, cast

import torch
from torch import Tensor, nn

from spacy_clinical_ner.layers.crf import LinearChainCRF
from spacy_clinical_ner.layers.encoders import EncoderBuilder, LockedDropout


class WindowBatch(NamedTuple):
    """Windows of about the same length, as rows into the flat token vectors of a batch.

    rows: (windows, length) long, the token at each position (0 at padding).
    mask: (windows, length) bool, True for tokens.
    core: (windows, length) bool, True where this window's result is the one to keep; False in its context.
    """

    rows: Tensor
    mask: Tensor
    core: Tensor


class TaggerNetwork(nn.Module):
    """Dropout, optional contextual encoder, and a linear map to emission scores; the CRF's parameters ride along.

    input_width: width of the token vectors.
    chains: number of independent tag chains (1, or one for each label); they share the CRF's transitions.
    tags: number of tags in one chain.
    """

    def __init__(
        self,
        input_width: int,
        chains: int,
        crf: LinearChainCRF,
        encoder: Optional[EncoderBuilder],
        dropout: float,
    ) -> None:
        super().__init__()
        self.chains = chains
        self.crf = crf
        self.dropout = LockedDropout(dropout)
        self.encoder = encoder(input_width) if encoder is not None else None
        width = input_width if self.encoder is None else cast(int, self.encoder.output_width)
        self.emission = nn.Linear(width, chains * crf.num_tags)
        nn.init.xavier_uniform_(self.emission.weight)
        nn.init.zeros_(self.emission.bias)

    def forward(self, vectors: Tensor, batches: list[WindowBatch]) -> Tensor:
        """vectors: (tokens, input_width) -> emissions (tokens, chains * tags).

        Each token is core in exactly one window of one batch, so the results are put back by a permutation.
        """
        kept, origin = [], []
        for batch in batches:
            x = self.dropout(vectors[batch.rows] * batch.mask.unsqueeze(-1))
            if self.encoder is not None:
                x = self.dropout(self.encoder(x, batch.mask))
            kept.append(self.emission(x[batch.core]))
            origin.append(batch.rows[batch.core])
        return torch.cat(kept)[torch.argsort(torch.cat(origin))]
