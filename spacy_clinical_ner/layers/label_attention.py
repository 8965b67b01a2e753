"""Hierarchically-refined label attention (Cui and Zhang 2019): tags seen as vectors that every token looks at."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spacy_clinical_ner.layers.attention import attention_weights, merge_heads, scaled_scores, split_heads
from spacy_clinical_ner.layers.crf.decoders import Decoder
from spacy_clinical_ner.layers.encoders import BiGRU, LockedDropout
from spacy_clinical_ner.layers.tagger_network import WindowTagger
from spacy_clinical_ner.windows.batches import WindowBatch, over_windows

_RARE = 0.01  # about the share of tokens that has a given tag other than O, before anything is known


class LabelAttentionLayer(nn.Module):
    """Tokens attend to tags: states are the queries, embeddings of the tags the keys and values.

    width: of the states, the embeddings and the result; a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = _linear(width), _linear(width, bias=False), _linear(width)

    def forward(self, states: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """states: (..., length, width), tags: (tags, width) -> (..., length, width), the mean tag as each head sees it,
        and the weights of that mean, (..., heads, length, tags)."""
        queries, keys, values = (
            split_heads(f(x), self.heads) for f, x in ((self.query, states), (self.key, tags), (self.value, tags))
        )
        weights = attention_weights(scaled_scores(queries, keys))
        return merge_heads(weights @ values), weights


class LabelAttentionNetwork(WindowTagger):
    """Layers of a BiGRU and attention over the tags; what a layer thinks of the tags is read by the next one.

    All layers but the last give their states with the attended tags behind them to the next. The last one has
    one head, and its attention scores, each with a bias of its tag, are the emissions: nothing is cut off or squashed
    on the way, so that with one layer the whole is a BiGRU and a linear map to tag scores. With several chains (one for
    each label) the inner layers attend to the tags of all of them.

    How rare the tags of mentions are stands in the biases from the start (as in Lin et al. 2017, section 4.1). Without
    them the states must say so, the first dozens of updates drive the GRUs of all layers into saturation, and four
    layers of 400 never find a mention.

    input_width: width of the token vectors. hidden_width: width of each direction of the GRUs.
    layers: 1 to 4 in the paper. heads: of the inner layers; they share 2 * hidden_width, which they must divide.
    dropout: locked, on the input and on the states of each layer.
    """

    def __init__(
        self,
        input_width: int,
        chains: int,
        decoder: Decoder,
        hidden_width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__(chains, decoder)
        width = 2 * hidden_width
        inner = layers - 1
        self.heads = heads
        self.dropout = LockedDropout(dropout)
        self.tags = nn.Embedding(self.output_width, width)
        nn.init.normal_(self.tags.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.full((chains, decoder.num_tags), math.log(_RARE)))
        nn.init.zeros_(self.bias[:, 0])  # O
        self.encoders = nn.ModuleList(BiGRU(w, hidden_width) for w in [input_width] + [2 * width] * inner)
        self.attentions = nn.ModuleList(LabelAttentionLayer(width, heads) for _ in range(inner))
        self.query, self.key = _linear(width), _linear(width, bias=False)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        return self._refine(x, mask)[0]

    def emit(self, states: Tensor) -> Tensor:
        return scaled_scores(self.query(states), self.key(self.tags.weight)) + self.bias.flatten()

    def attention(self, vectors: Tensor, batches: list[WindowBatch]) -> Tensor:
        """vectors: (tokens, input_width) -> weights (tokens, layers, heads, chains * tags) that sum to 1.

        Those of the last layer are the softmax of the emissions, for each chain; its one head stands there `heads`
        times.
        """

        def of_windows(x: Tensor, batch: WindowBatch) -> Tensor:
            states, inner = self._refine(x, batch.mask)
            scores = self.emit(states[batch.core]).unflatten(-1, (self.chains, -1))
            last = attention_weights(scores).flatten(-2).unsqueeze(1).expand(-1, self.heads, -1)
            return torch.stack([*(weights.transpose(1, 2)[batch.core] for weights in inner), last], dim=1)

        return over_windows(vectors, batches, of_windows)

    def _refine(self, x: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """States of the last layer (windows, length, width), and the weights of the layers before it."""
        x = self.dropout(x)
        inner = []
        for encoder, attention in zip(self.encoders, self.attentions):  # one encoder is left over
            states = self.dropout(encoder(x, mask))
            attended, weights = attention(states, self.tags.weight)
            inner.append(weights)
            x = torch.cat([states, attended], dim=-1) * mask.unsqueeze(-1)
        return self.dropout(self.encoders[-1](x, mask)), inner


def _linear(width: int, bias: bool = True) -> nn.Linear:
    """A bias of the keys would add the same to a token's score of every tag, which a softmax does not see."""
    linear = nn.Linear(width, width, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear
