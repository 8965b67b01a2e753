from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.raw_notes.network import (
    gathers,
    load_masked_model,
    masked_logits,
    new_model,
    parameter_groups,
    save_encoder,
)
from spacy_clinical_ner.transformers.loading import longest_input
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer
from tests.raw_notes.corpora import TINIEST, make_notes

COMMON = {"vocab_size": 50, "num_attention_heads": 2, "max_position_embeddings": 34}


def bert() -> BertForMaskedLM:
    return new_model(TINIEST, 50, 32, 0)


def roberta() -> RobertaForMaskedLM:
    return RobertaForMaskedLM(
        RobertaConfig(hidden_size=16, num_hidden_layers=1, intermediate_size=32, pad_token_id=1, **COMMON)
    )


def albert() -> AlbertForMaskedLM:
    return AlbertForMaskedLM(
        AlbertConfig(embedding_size=8, hidden_size=16, num_hidden_layers=1, intermediate_size=32, **COMMON)
    )


def distilbert() -> DistilBertForMaskedLM:
    return DistilBertForMaskedLM(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32))


@pytest.mark.parametrize(("make", "can_gather"), [(bert, True), (roberta, True), (albert, True), (distilbert, False)])
@pytest.mark.parametrize("padded", [False, True])
def test_scores_of_selected_positions_are_those_of_the_whole(make, can_gather: bool, padded: bool) -> None:
    torch.manual_seed(0)
    model = make().eval()
    assert gathers(model) is can_gather
    ids = torch.randint(5, 50, (3, 12))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 7:] = 0
    selected = (torch.rand(3, 12) < 0.3) & mask.bool()
    expected = model(input_ids=ids, attention_mask=mask).logits[selected]
    logits = masked_logits(model, ids, mask.bool() if padded else None, selected, can_gather)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_biases_and_norms_are_not_decayed_and_nothing_is_forgotten() -> None:
    model = bert()
    decayed, others = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))
    assert any(parameter is model.bert.encoder.layer[0].output.dense.weight for parameter in decayed["params"])
    assert any(parameter is model.bert.encoder.layer[0].output.LayerNorm.weight for parameter in others["params"])


def test_saved_encoder_is_loaded_again(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(make_notes(), 200, max_length=32)
    model = new_model(TINIEST, len(tokenizer), 32, tokenizer.pad_token_id).eval()
    save_encoder(tmp_path / "encoder", tokenizer, model, fresh=True)
    again, loaded = load_masked_model(str(tmp_path / "encoder"))
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.tokenize("Niña Ñandú") == tokenizer.tokenize("Niña Ñandú")
    assert longest_input(again, loaded) == 32
    assert loaded.config.hidden_dropout_prob == 0.1
    ids = torch.tensor([tokenizer("Lesión de mama")["input_ids"]])
    assert torch.equal(loaded.eval()(ids).logits, model(ids).logits)


def test_roberta_reads_fewer_pieces_than_it_has_positions() -> None:
    tokenizer = train_tokenizer(make_notes(), 200)
    assert longest_input(tokenizer, roberta()) == 32
    assert longest_input(tokenizer, bert()) == 32


def test_encoder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for start, reason in ((str(tmp_path), "cannot be loaded"), ("no/such-encoder", "is no folder")):
        with pytest.raises(ClinicalNerError, match=reason) as error:
            load_masked_model(start)
        assert "\n" not in str(error.value)
