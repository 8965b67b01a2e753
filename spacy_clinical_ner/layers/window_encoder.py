"""A contextual encoder over windows of notes, its results put back in the order of the tokens."""

from __future__ import annotations

from typing import Optional, cast

from torch import Tensor, nn

from spacy_clinical_ner.layers.encoders import EncoderBuilder, LockedDropout
from spacy_clinical_ner.layers.tagger_network import WindowBatch, over_windows


class WindowEncoder(nn.Module):
    """Dropout, encoder, dropout. Without an encoder the vectors pass through, under dropout.

    input_width: width of the token vectors; `output_width` is that of the results.
    """

    def __init__(self, input_width: int, encoder: Optional[EncoderBuilder], dropout: float) -> None:
        super().__init__()
        self.dropout = LockedDropout(dropout)
        self.encoder = encoder(input_width) if encoder is not None else None
        self.output_width = input_width if self.encoder is None else cast(int, self.encoder.output_width)

    def forward(self, vectors: Tensor, batches: list[WindowBatch]) -> Tensor:
        """vectors: (tokens, input_width) -> (tokens, output_width). Each token is core in exactly one window."""
        if not batches:
            return vectors.new_zeros((0, self.output_width))
        return over_windows(vectors, batches, self._encode)

    def _encode(self, x: Tensor, batch: WindowBatch) -> Tensor:
        x = self.dropout(x)
        if self.encoder is not None:
            x = self.dropout(self.encoder(x, batch.mask))
        return x[batch.core]
