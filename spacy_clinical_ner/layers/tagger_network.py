"""The torch part of a tagger: token vectors in, emissions out, and the decoder that reads them."""

from __future__ import annotations

from typing import Optional, cast

from torch import Tensor, nn

from spacy_clinical_ner.layers.crf.decoders import Decoder
from spacy_clinical_ner.layers.encoders import EncoderBuilder, LockedDropout
from spacy_clinical_ner.windows.batches import WindowBatch, over_windows


class WindowTagger(nn.Module):
    """What all taggers share: their scores are computed window by window and put back in the order of the tokens.

    A subclass says how in `encode` (what reads the context) and `emit` (what reads one token).

    chains: number of independent tag chains (1, or one for each label); they share the decoder's parameters.
    decoder: how the scores are read; the parameters of its CRF, if it has one, ride along as `crf`.
    """

    def __init__(self, chains: int, decoder: Decoder) -> None:
        super().__init__()
        self.chains = chains
        self.decoder = decoder
        self.crf = decoder.crf
        self.output_width = chains * decoder.num_tags

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (windows, length, input_width), zeros at padding; mask: (windows, length) -> (windows, length, width)."""
        raise NotImplementedError

    def emit(self, states: Tensor) -> Tensor:
        """states: (tokens, width) -> (tokens, chains * tags)."""
        raise NotImplementedError

    def forward(self, vectors: Tensor, batches: list[WindowBatch]) -> Tensor:
        """vectors: (tokens, input_width) -> emissions (tokens, chains * tags)."""
        return over_windows(vectors, batches, lambda x, batch: self.emit(self.encode(x, batch.mask)[batch.core]))


class TaggerNetwork(WindowTagger):
    """Dropout, optional contextual encoder, and a linear map to emission scores.

    input_width: width of the token vectors.
    """

    def __init__(
        self, input_width: int, chains: int, decoder: Decoder, encoder: Optional[EncoderBuilder], dropout: float
    ) -> None:
        super().__init__(chains, decoder)
        self.dropout = LockedDropout(dropout)
        self.encoder = encoder(input_width) if encoder is not None else None
        width = input_width if self.encoder is None else cast(int, self.encoder.output_width)
        self.emission = nn.Linear(width, self.output_width)
        nn.init.xavier_uniform_(self.emission.weight)
        nn.init.zeros_(self.emission.bias)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.dropout(x)
        return x if self.encoder is None else self.dropout(self.encoder(x, mask))

    def emit(self, states: Tensor) -> Tensor:
        return self.emission(states)
