"""How many word pieces an encoder has positions for: as many as it can be run over, and not one more."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from spacy_clinical_ner.transformers.loading import position_count

SIZE = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 20,
}


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_positions_of_roberta_begin_behind_its_padding(padding: int) -> None:
    model = RobertaModel(RobertaConfig(**SIZE, pad_token_id=padding)).eval()
    count = position_count(model)
    assert count == 20 - padding - 1
    with torch.no_grad():
        assert model(torch.full((1, count), 7)).last_hidden_state.shape == (1, count, 8)
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, count + 1), 7))


def test_positions_of_bert_are_all_there() -> None:
    model = BertModel(BertConfig(**SIZE, pad_token_id=0)).eval()
    assert position_count(model) == 20
    assert model(torch.full((1, 20), 7)).last_hidden_state.shape == (1, 20, 8)


def test_an_encoder_without_a_limit_has_none() -> None:
    model = BertModel(BertConfig(**SIZE))
    model.config.max_position_embeddings = -1
    assert position_count(model) is None
