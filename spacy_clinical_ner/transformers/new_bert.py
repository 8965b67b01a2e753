"""The config of a new BERT: small ones need other initial weights than the published sizes."""

from __future__ import annotations

from transformers import BertConfig


def new_bert(
    *,
    vocabulary: int,
    width: int,
    layers: int,
    heads: int,
    inner_width: int,
    positions: int,
    dropout: float,
    gain: float,
    pad: int = 0,
) -> BertConfig:
    """A config for `BertModel` or `BertForMaskedLM`.

    vocabulary: word pieces. inner_width: of the feed-forward layers. positions: pieces of the longest input, special
    ones included. dropout: on hidden states and on attention.
    gain: the initial weights have a standard deviation of gain / sqrt(width). BERT's 0.02 is made for a width of 768
    (0.55 / sqrt(width)); narrower layers would hardly change what goes through them.
    Raises ValueError for heads that do not divide the width, or for fewer than 8 positions.
    """
    if width % heads:
        raise ValueError(f"the heads of an encoder must divide its width: {width} and {heads} do not fit")
    if positions < 8:
        raise ValueError(f"an encoder needs at least 8 positions, not {positions}")
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner_width,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=gain / width**0.5,
        pad_token_id=pad,
    )
