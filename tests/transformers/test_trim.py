"""Vocabularies cut to what notes use: the same vectors for texts whose pieces are kept, and nothing unknown besides."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)
from typer.testing import CliRunner

from spacy_clinical_ner.cli import _register, app
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.transformers.transformer_architectures import encoder_shim
from spacy_clinical_ner.transformers.trim import trim
from tests.transformers.encoders import KINDS, make_encoder, trained_tokenizer, trf_pipeline

NOTES = ["Paciente con carcinoma ductal infiltrante.", "Se pauta 8mg/24h;\n\n  fever and ceftriaxone."]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def load(folder):
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def vectors(tokenizer, model, text):
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state


def recombined(seed: int, number: int = 300) -> list[str]:
    """Texts of words and parts of words of the notes, in ever new order: some of them hold pieces that are not kept."""
    rng = random.Random(seed)
    words = " ".join(NOTES).split()
    parts = [*words, *(word[i:j] for word in words for i in range(len(word)) for j in range(i + 1, len(word) + 1))]
    return [" ".join(rng.choices(parts, k=rng.randint(1, 6))) for _ in range(number)]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_whose_pieces_are_kept_have_the_same_vectors(encoders, kind, tmp_path):
    summary = trim(str(encoders[kind]), tmp_path / "small", NOTES)
    assert summary.notes == 2
    assert summary.pieces < 0.7 * summary.pieces_before
    assert summary.megabytes < summary.megabytes_before
    old, new = load(encoders[kind]), load(tmp_path / "small")
    assert len(new[0]) == summary.pieces == new[1].config.vocab_size
    kept = set(new[0].get_vocab())
    compared = 0
    for text in [*NOTES, *recombined(0)]:
        pieces = old[0].tokenize(text)
        if not kept.issuperset(pieces) or old[0].unk_token in pieces:
            continue
        compared += 1
        assert new[0].tokenize(text) == pieces
        assert (
            new[0](text, return_offsets_mapping=True).offset_mapping
            == old[0](text, return_offsets_mapping=True).offset_mapping
        )
        torch.testing.assert_close(vectors(*new, text), vectors(*old, text), atol=1e-6, rtol=0.0)
    assert compared > 20


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_known_by_its_characters_stays_known(encoders, kind, tmp_path):
    """Words that no note has are split into smaller pieces, not unknown; other scripts only where asked for."""
    trim(str(encoders[kind]), tmp_path / "es", NOTES, ["es"])
    trim(str(encoders[kind]), tmp_path / "zh", NOTES, ["es", "zh"])
    old, (es, _), (zh, _) = AutoTokenizer.from_pretrained(encoders[kind]), load(tmp_path / "es"), load(tmp_path / "zh")
    for text in ("varón admitted 63", "G3|pT2N1M0 Hb 9.3", "treated = 4; 8mg/24h", "Paciente: 患者男性"):
        known = old.unk_token_id not in old(text).input_ids
        chinese = "患" in text
        assert known or chinese or kind == "sentencepiece"
        assert (es.unk_token_id not in es(text).input_ids) is (known and (not chinese or kind == "bpe"))
        assert (zh.unk_token_id not in zh(text).input_ids) is known
    assert len(es) <= len(zh)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_a_pipeline_are_those_of_the_whole_encoder(encoders, kind, tmp_path):
    trim(str(encoders[kind]), tmp_path / "small", NOTES)
    nlps = [trf_pipeline(folder) for folder in (encoders[kind], tmp_path / "small")]
    for text in NOTES:
        old, new = (nlp(text)._.trf_data for nlp in nlps)
        assert new.wordpieces.strings == old.wordpieces.strings
        torch.testing.assert_close(
            torch.as_tensor(new.model_output.last_hidden_state),
            torch.as_tensor(old.model_output.last_hidden_state),
            atol=1e-6,
            rtol=0.0,
        )


def masked_encoder(folder: Path, roberta: bool) -> Path:
    tokenizer = trained_tokenizer("bpe" if roberta else "wordpiece")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    if roberta:
        config = RobertaConfig(vocab_size=len(tokenizer) + 7, max_position_embeddings=64, pad_token_id=0, **SIZES)
        model = RobertaForMaskedLM(config)
    else:
        model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer) + 7, max_position_embeddings=64, **SIZES))
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("roberta", [False, True])
def test_a_head_is_trimmed_with_its_encoder(tmp_path, roberta):
    trim(str(masked_encoder(tmp_path / "whole", roberta)), tmp_path / "small", NOTES)
    tokenizers = [AutoTokenizer.from_pretrained(tmp_path / name) for name in ("whole", "small")]
    models_ = [AutoModelForMaskedLM.from_pretrained(tmp_path / name).eval() for name in ("whole", "small")]
    rows = tokenizers[0].convert_tokens_to_ids(tokenizers[1].convert_ids_to_tokens(range(len(tokenizers[1]))))
    with torch.no_grad():
        old, new = (
            model(**tokenizer(NOTES[0], return_tensors="pt")).logits for tokenizer, model in zip(tokenizers, models_)
        )
    torch.testing.assert_close(new, old[..., rows], atol=1e-5, rtol=0.0)


def test_half_precision_takes_half_the_room(encoders, tmp_path):
    whole = trim(str(encoders["wordpiece"]), tmp_path / "whole", NOTES)
    half = trim(str(encoders["wordpiece"]), tmp_path / "half", NOTES, float16=True)
    assert half.megabytes == pytest.approx(whole.megabytes / 2)
    assert half.megabytes_before == whole.megabytes_before
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[0] - sizes[1] == pytest.approx(1e6 * half.megabytes, rel=0.05)
    shim = encoder_shim(trf_pipeline(tmp_path / "half").get_pipe("transformer").model)
    assert shim.module.dtype == torch.float32


def test_padding_keeps_its_number_where_positions_are_counted_from_it(tmp_path):
    """RoBERTa's positions begin behind the number of its padding, whatever stands before that."""
    vocabulary = {"x": 0, "y": 1, "[UNK]": 2, "[CLS]": 3, "[SEP]": 4, "[PAD]": 5, "z": 6, "a": 7}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad")}
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=20, **names).save_pretrained(tmp_path / "whole")
    torch.manual_seed(0)
    config = RobertaConfig(vocab_size=8, max_position_embeddings=30, pad_token_id=5, **SIZES)
    AutoModel.from_config(config).save_pretrained(tmp_path / "whole")
    trim(str(tmp_path / "whole"), tmp_path / "small", ["a"])
    old, new = load(tmp_path / "whole"), load(tmp_path / "small")
    assert new[0].pad_token_id == new[1].config.pad_token_id == 5
    torch.testing.assert_close(vectors(*new, "a a"), vectors(*old, "a a"), atol=1e-6, rtol=0.0)


def test_refusals_take_one_line(encoders, tmp_path):
    with pytest.raises(ClinicalNerError, match="no language 'xx-yy'"):
        trim(str(encoders["bpe"]), tmp_path / "out", NOTES, ["xx-yy"])
    with pytest.raises(ClinicalNerError, match="there already"):
        trim(str(encoders["bpe"]), encoders["bpe"], NOTES)
    with pytest.raises(ClinicalNerError, match="no/such-encoder") as error:
        trim("no/such-encoder", tmp_path / "out", NOTES)
    assert "\n" not in str(error.value)
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(tmp_path / "words")
    AutoModel.from_config(BertConfig(vocab_size=2, **SIZES)).save_pretrained(tmp_path / "words")
    with pytest.raises(ClinicalNerError, match="cannot be trimmed"):
        trim(str(tmp_path / "words"), tmp_path / "out", NOTES)
    assert not (tmp_path / "out").exists()


def test_command_prints_pieces_and_megabytes(encoders, tmp_path):
    _register()
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, note in enumerate(NOTES):
        (raw / f"{number}.txt").write_text(note, encoding="utf8")
    out = tmp_path / "small"
    result = CliRunner().invoke(
        app, ["trim", str(encoders["sentencepiece"]), str(out), "--texts", str(raw), "--lang", "es", "--float16"]
    )
    assert result.exit_code == 0, result.output
    pieces = len(json.loads((out / "tokenizer.json").read_text(encoding="utf8"))["model"]["vocab"])
    before = len(trained_tokenizer("sentencepiece"))
    assert f"{before:,} -> {pieces:,}" in result.output
    assert "carcinoma" not in result.output


def test_rank_of_merges_decides_whatever_stands_around(tmp_path):
    """BPE: a piece that is kept is still made, by the same steps, when pieces beside it are gone."""
    folder = make_encoder("bpe", tmp_path / "whole", layers=1)
    rng = random.Random(1)
    trim(str(folder), tmp_path / "small", ["infiltrante ceftriaxone"])
    old, new = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(tmp_path / "small")
    kept = [piece for piece in new.get_vocab() if piece.isascii() and piece.isalpha()]
    same = 0
    for _ in range(300):
        text = "".join(rng.choices(kept, k=3))
        if set(old.tokenize(text)) <= set(kept):
            same += 1
            assert new.tokenize(text) == old.tokenize(text)
    assert same > 100
