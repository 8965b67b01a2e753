"""A word's vector from its characters: convolution and max-pooling (Ma and Hovy 2016, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CharCNN(nn.Module):
    """Character embeddings, one convolution, the maximum over the word.

    rows: size of the character table; row 0 is padding. char_width: width of a character's vector.
    filters: number of convolution filters, the width of the result. kernel: characters that a filter sees.
    dropout: on the character vectors.
    """

    def __init__(
        self, rows: int, char_width: int = 30, filters: int = 50, kernel: int = 3, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, char_width, padding_idx=0)
        bound = (3 / char_width) ** 0.5
        nn.init.uniform_(self.embedding.weight[1:], -bound, bound)
        self.dropout = nn.Dropout(dropout)
        self.convolution = nn.Conv1d(char_width, filters, kernel, padding=kernel // 2)

    def forward(self, characters: Tensor) -> Tensor:
        """characters: (words, longest) long, padded with 0 on the right; one at least -> (words, filters)."""
        x = self.dropout(self.embedding(characters)).transpose(1, 2)
        x = self.convolution(x)[..., : characters.shape[1]]
        x = x.masked_fill((characters == 0).unsqueeze(1), -torch.inf)
        return torch.tanh(x.amax(dim=2))
