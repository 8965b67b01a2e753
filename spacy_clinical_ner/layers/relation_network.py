"""The torch part of a relation classifier: token vectors and pairs of mentions in, scores of relation labels out."""

from __future__ import annotations

from typing import Callable, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.rnn import pad_sequence

from spacy_clinical_ner.layers.encoders import BiLSTM, ContextEncoder, EncoderBuilder
from spacy_clinical_ner.layers.pooling import group_log_softmax, range_max, range_mean, range_positions
from spacy_clinical_ner.windows.batches import WindowBatch

BEGIN, INSIDE, LAST = range(3)
_TYPE_PAIR_ROWS = 4096
_MAX_WIDTH = 32  # of the maxima over the words between, which cost more than means
_COMPETITION_WIDTH = 64


class RelationBatch(NamedTuple):
    """Notes with mentions and candidate pairs, all as rows into the flat tokens and mentions of the batch.

    rows: (tokens,) which of the given token vectors each token is; a note may stand in the batch twice.
    edges: (mentions, 2) first token of the note and the one behind its last.
    start, end: (mentions,) tokens, end exclusive. types: (mentions,) from 1; 0 is a type never seen in training.
    per_note: (notes,) mentions in each note; they follow each other in the order of the text.
    head, tail: (pairs,) mentions. features: (pairs, features) indices below the sizes that the network was built for.
    """

    rows: Tensor
    edges: Tensor
    start: Tensor
    end: Tensor
    types: Tensor
    per_note: Sequence[int]
    head: Tensor
    tail: Tensor
    features: Tensor


class RelationNetwork(nn.Module):
    """Scores every candidate pair: a sum of head, tail, their product, the words around them and pair features.

    input_width: width of the token vectors. types: entity types. outputs: scores for each pair.
    encoder: contextual encoder over windows of tokens, or none.
    feature_rows: number of values of each pair feature. hidden_width: of mentions and pairs.
    type_width, feature_width: of the vectors of entity types and of feature values.
    markers: add to each token of a mention a vector for the mention's type and the token's place in it, so that the
        encoder knows where mentions are (typed markers, but beside the tokens and not between them).
    mention_width: of each direction of a BiLSTM over the mentions of a note; 0 for none.
    competition: score a second time, knowing how the first scores of a pair compare to those of the pairs that share
        its head or its tail: a descriptor most often has one head word only.
    context_tokens: tokens to the left and right of a pair that are looked at, beside those between.
    dropout: on token vectors, mentions and pairs. max_pairs: scored at once when not training; changes no result.
    """

    feature_offsets: Tensor

    def __init__(
        self,
        input_width: int,
        types: int,
        outputs: int,
        encoder: Optional[EncoderBuilder],
        feature_rows: Sequence[int],
        hidden_width: int = 128,
        type_width: int = 32,
        feature_width: int = 16,
        markers: bool = True,
        mention_width: int = 64,
        competition: bool = True,
        context_tokens: int = 4,
        dropout: float = 0.3,
        max_pairs: int = 50000,
    ) -> None:
        super().__init__()
        self.context = context_tokens
        self.max_pairs = max_pairs
        self.types = types
        self.marker = nn.Embedding(3 * (types + 1), input_width) if markers else None
        if self.marker is not None:
            nn.init.normal_(self.marker.weight, std=0.1)
        self.encoder = ContextEncoder(input_width, encoder, dropout)
        width = self.encoder.output_width
        self.entity_type = nn.Embedding(types + 1, type_width)
        self.mention = nn.Linear(3 * width + type_width, hidden_width)
        self.sequence = BiLSTM(hidden_width, mention_width) if mention_width else None
        known = hidden_width + (0 if self.sequence is None else self.sequence.output_width)
        self.head = nn.Linear(known, hidden_width)
        self.tail = nn.Linear(known, hidden_width)
        self.head_factor = nn.Linear(known, hidden_width)
        self.tail_factor = nn.Linear(known, hidden_width)
        self.around = nn.Linear(width, 3 * hidden_width + _MAX_WIDTH)
        self.around_widths = [hidden_width, hidden_width, hidden_width, _MAX_WIDTH]
        self.between = nn.Linear(_MAX_WIDTH, hidden_width)
        self.type_pair = nn.Embedding(min((types + 1) ** 2, _TYPE_PAIR_ROWS), 2 * feature_width)
        self.register_buffer("feature_offsets", torch.tensor([0, *feature_rows[:-1]]).cumsum(0), persistent=False)
        self.feature = nn.Embedding(sum(feature_rows), feature_width)
        self.features = nn.Linear((len(feature_rows) + 2) * feature_width, hidden_width)
        self.hidden = nn.Linear(hidden_width, hidden_width)
        self.output = nn.Linear(hidden_width, outputs)
        self.compared = nn.Linear(3 * outputs, _COMPETITION_WIDTH) if competition else None
        self.corrected = nn.Linear(_COMPETITION_WIDTH, outputs) if competition else None
        self.dropout = nn.Dropout(dropout)
        for layer in filter(None, (self.output, self.corrected)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, vectors: Tensor, batch: RelationBatch, windows: list[WindowBatch]) -> Tensor:
        """vectors: (given tokens, input_width) -> scores (pairs, outputs), before softmax or sigmoid."""
        tokens = self.encoder(self._marked(vectors[batch.rows], batch), windows)
        mentions = self._mentions(tokens, batch)
        parts = (self.head(mentions), self.tail(mentions), self.head_factor(mentions), self.tail_factor(mentions))
        around = self.around(self.dropout(tokens)).split(self.around_widths, dim=1)
        size = len(batch.head) if self.training else self.max_pairs
        scores = [
            self._pairs(parts, around, batch, slice(first, first + size))
            for first in range(0, len(batch.head), max(size, 1))
        ]
        if not scores:
            return vectors.new_zeros((0, self.output.out_features))
        return self._compete(torch.cat(scores), batch)

    def _marked(self, x: Tensor, batch: RelationBatch) -> Tensor:
        if self.marker is None or not len(batch.start):
            return x
        mention, offset = range_positions(batch.start, batch.end)
        tokens = torch.cat([batch.start, batch.start[mention] + offset, batch.end - 1])
        place = torch.cat([batch.types * 3 + BEGIN, batch.types[mention] * 3 + INSIDE, batch.types * 3 + LAST])
        return x.index_add(0, tokens, self.marker(place))

    def _mentions(self, tokens: Tensor, batch: RelationBatch) -> Tensor:
        x = torch.cat(
            [
                tokens[batch.start],
                tokens[batch.end - 1],
                range_mean(tokens, batch.start, batch.end),
                self.entity_type(batch.types),
            ],
            dim=1,
        )
        x = self.dropout(relu(self.mention(self.dropout(x))))
        if self.sequence is None or not len(x):
            return x
        notes = [note for note in x.split(list(batch.per_note)) if len(note)]
        mask = pad_sequence([torch.ones(len(note), dtype=torch.bool, device=x.device) for note in notes], True)
        return torch.cat([x, self.dropout(self.sequence(pad_sequence(notes, True), mask)[mask])], dim=1)

    def _pairs(self, parts: Sequence[Tensor], around: Sequence[Tensor], batch: RelationBatch, chosen: slice) -> Tensor:
        head, tail = batch.head[chosen], batch.tail[chosen]
        head_part, tail_part, head_factor, tail_factor = parts
        x = head_part[head] + tail_part[tail] + head_factor[head] * tail_factor[tail]
        start = torch.minimum(batch.start[head], batch.start[tail])
        end = torch.maximum(batch.end[head], batch.end[tail])
        gap_start = torch.minimum(batch.end[head], batch.end[tail])
        gap_end = torch.maximum(torch.maximum(batch.start[head], batch.start[tail]), gap_start)
        left = torch.maximum(start - self.context, batch.edges[head, 0])
        right = torch.minimum(end + self.context, batch.edges[head, 1])
        x = x + range_mean(around[0], gap_start, gap_end) + self.between(range_max(around[3], gap_start, gap_end))
        x = x + range_mean(around[1], left, start) + range_mean(around[2], end, right)
        types = batch.types[head] * (self.types + 1) + batch.types[tail]
        values = self.feature(batch.features[chosen] + self.feature_offsets).flatten(1)
        values = torch.cat([self.type_pair(types % self.type_pair.num_embeddings), values], dim=1)
        x = self.dropout(relu(x + self.features(values)))
        return self.output(self.dropout(relu(self.hidden(x))))

    def _compete(self, scores: Tensor, batch: RelationBatch) -> Tensor:
        """Add to the scores what follows from their shares among the pairs with the same head and the same tail."""
        if self.compared is None or self.corrected is None:
            return scores
        count = len(batch.start)
        shares = [group_log_softmax(scores, mention, count) for mention in (batch.head, batch.tail)]
        compared = torch.cat([scores, *shares], dim=1).clamp(-10.0, 10.0)
        return scores + self.corrected(relu(self.compared(compared)))


class RelationEnsemble(nn.Module):
    """Networks side by side, each with weights of its own.

    make: builds one. Their scores stand beside each other: (pairs, members * outputs).
    """

    def __init__(self, members: int, make: Callable[[], RelationNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList([make() for _ in range(members)])

    def forward(self, vectors: Sequence[Tensor], batch: RelationBatch, windows: list[WindowBatch]) -> Tensor:
        """vectors: (given tokens, input_width) of each member, or one for all -> scores (pairs, members * outputs)."""
        each = list(vectors) * (len(self.members) if len(vectors) == 1 else 1)
        return torch.cat([member(own, batch, windows) for member, own in zip(self.members, each)], dim=1)
