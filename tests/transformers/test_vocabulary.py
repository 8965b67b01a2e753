from __future__ import annotations

import random

import pytest

from spacy_clinical_ner.transformers.vocabulary import SPECIAL, train_tokenizer
from tests.raw_notes.corpora import make_notes


def test_case_and_accents_are_kept() -> None:
    tokenizer = train_tokenizer(make_notes(), 300)
    assert tokenizer.tokenize("Niña Lesión próstata") == ["Niña", "Lesión", "próstata"]
    assert "niña" not in tokenizer.get_vocab()
    ids = tokenizer("Niña con úlcera")["input_ids"]
    assert tokenizer.decode(ids) == "[CLS] Niña con úlcera [SEP]"
    assert tokenizer.decode(tokenizer("NIÑA", add_special_tokens=False)["input_ids"]) != "Niña"


def test_chinese_characters_are_words() -> None:
    notes = ["患者有糖尿病,空腹血糖7mmol/L。", "糖尿病患者血糖高。", "患者血糖7mmol。"]
    tokenizer = train_tokenizer(notes, 200, min_notes=2)
    assert tokenizer.tokenize("糖尿病患者") == list("糖尿病患者")
    assert tokenizer.tokenize("血糖7mmol") == ["血", "糖", "7mmol"]
    assert not any(piece.startswith("##") and "\u4e00" <= piece[2] <= "\u9fff" for piece in tokenizer.get_vocab())


def test_special_pieces_come_first_and_size_is_kept() -> None:
    tokenizer = train_tokenizer(make_notes(), 120, max_length=64)
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(5)] == SPECIAL
    assert 100 < len(tokenizer) == len(tokenizer.get_vocab()) <= 120
    assert tokenizer.model_max_length == 64
    assert tokenizer.pad_token_id == 0
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))


def test_word_of_few_notes_gives_no_piece() -> None:
    notes = make_notes()
    notes[3] += " Zurbarán Zurbarán" * 100
    for note in (4, 5):
        notes[note] += " Quintanilla" * 50
    pieces = {piece.replace("##", "") for piece in train_tokenizer(notes, 2000, min_notes=3).get_vocab()}
    common = {word for note in make_notes() for word in note.split()}
    assert not [p for p in pieces if len(p) > 1 and p not in SPECIAL and not any(p in word for word in common)]
    assert "Quintanilla" in train_tokenizer(notes, 2000, min_notes=2).get_vocab()


def test_characters_of_rare_words_are_known() -> None:
    notes = [*make_notes(), "Wxk kxW"]
    tokenizer = train_tokenizer(notes, 300)
    assert tokenizer.tokenize("kW xx") == ["k", "##W", "x", "##x"]
    assert tokenizer.tokenize("Ж") == ["[UNK]"]


def test_alphabet_leaves_room_for_words() -> None:
    generator = random.Random(0)
    notes = ["".join(chr(0x4E00 + generator.randrange(2000)) for _ in range(3000)) + " lesión" for _ in range(3)]
    tokenizer = train_tokenizer(notes, 500)
    singles = [piece for piece in tokenizer.get_vocab() if len(piece.replace("##", "")) == 1]
    assert len(singles) <= 250
    assert len(tokenizer) <= 500


def test_same_notes_give_the_same_vocabulary() -> None:
    # Without care they do not: the trainer goes through hash maps with seeds of their own.
    vocabularies = [train_tokenizer(make_notes(), 100).get_vocab() for _ in range(5)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)


def test_no_word_in_enough_notes() -> None:
    with pytest.raises(ValueError, match="no word is in 3 notes"):
        train_tokenizer(["uno dos", "dos tres"], 100)
