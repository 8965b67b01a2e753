from __future__ import annotations

import random
from typing import List

import numpy
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from spacy_clinical_ner.raw_notes.packing import EncodedNotes, count_sequences, encode_notes, frame_pieces, pack
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer
from tests.raw_notes.corpora import make_notes
from tests.transformers.encoders import trained_tokenizer

CLS, SEP, PAD, UNK = 2, 3, 0, 1
SPECIAL = {"cls": CLS, "sep": SEP, "pad": PAD, "special": [PAD, UNK, CLS, SEP, 4]}


def random_notes(generator: random.Random) -> EncodedNotes:
    sizes = [generator.choice([0, 1, 3, 17, 40]) for _ in range(generator.randrange(1, 9))]
    ids = numpy.arange(10, 10 + sum(sizes), dtype=numpy.int32)  # all different, so that each can be counted
    starts = numpy.array([generator.random() < 0.6 for _ in ids], dtype=bool)
    bounds = numpy.concatenate([[0], numpy.cumsum(sizes)])
    starts[bounds[:-1][numpy.diff(bounds) > 0]] = True
    return EncodedNotes(ids, starts, bounds)


@pytest.mark.parametrize("seed", range(60))
def test_every_piece_stands_in_one_row_and_only_the_last_is_padded(seed: int) -> None:
    generator = random.Random(seed)
    notes = random_notes(generator)
    order = generator.sample(range(notes.notes), notes.notes)
    length = generator.choice([3, 4, 8, 16])
    packed = pack(notes, order, length, **SPECIAL)
    assert len(packed) == count_sequences(notes, length)
    bodies: List[int] = []
    for number, (ids, size) in enumerate(zip(packed.ids.tolist(), packed.lengths.tolist())):
        assert size == length or number == len(packed) - 1
        assert ids[0] == CLS and ids[size - 1] == SEP and ids[size:] == [PAD] * (length - size)
        bodies += ids[1 : size - 1]
    expected: List[int] = []
    for index in order:
        note = notes.ids[notes.bounds[index] : notes.bounds[index + 1]].tolist()
        expected += [SEP, *note] if expected and note else note
    assert bodies == expected
    assert sorted(piece for piece in bodies if piece != SEP) == notes.ids.tolist()


@pytest.mark.parametrize("seed", range(20))
def test_words_are_numbered_within_their_row(seed: int) -> None:
    generator = random.Random(seed)
    notes = random_notes(generator)
    begins = dict(zip(notes.ids.tolist(), notes.starts.tolist()))
    packed = pack(notes, range(notes.notes), 8, **SPECIAL)
    for ids, words in zip(packed.ids.tolist(), packed.words.tolist()):
        for position in range(8):
            if ids[position] in SPECIAL["special"]:
                assert words[position] == -1
            elif ids[position - 1] in SPECIAL["special"] or begins[ids[position]]:
                assert words[position] not in words[:position]
            else:
                assert words[position] == words[position - 1]
    assert packed.words.max(initial=-1) < 8


def test_unknown_words_are_never_predicted() -> None:
    notes = EncodedNotes(numpy.array([10, UNK, 11], numpy.int32), numpy.ones(3, bool), numpy.array([0, 3]))
    assert pack(notes, [0], 5, **SPECIAL).words.tolist() == [[-1, 0, -1, 2, -1]]


def test_nothing_to_pack() -> None:
    notes = EncodedNotes(numpy.zeros(0, numpy.int32), numpy.zeros(0, bool), numpy.array([0, 0, 0]))
    assert len(pack(notes, [0, 1], 8, **SPECIAL)) == count_sequences(notes, 8) == 0


def test_words_begin_where_the_tokenizer_says() -> None:
    tokenizer = train_tokenizer(make_notes(), 80)
    texts = ["Lesión de próstata,pT2N1M0 糖尿", "", "mama"]
    notes = encode_notes(tokenizer, texts)
    pieces = tokenizer.convert_ids_to_tokens(notes.ids.tolist())
    expected = [tokenizer.tokenize(text) for text in texts]
    assert pieces == [piece for note in expected for piece in note]
    assert numpy.diff(notes.bounds).tolist() == list(map(len, expected))
    assert notes.starts.tolist() == [not piece.startswith("##") for piece in pieces]


@pytest.mark.parametrize("split", [True, False])
def test_words_of_sentencepiece_are_no_clauses(split: bool) -> None:
    """Behind each space a word begins, and each Chinese character is one, however the tokenizer cuts a text."""
    pieces = ["<unk>", "<s>", "</s>", "\u2581", "\u2581car", "cinoma", "\u2581de", "患者", "男", "性", "，"]
    backend = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    notes = encode_notes(tokenizer, ["carcinoma de carcinoma", "患者男，性"])
    assert [pieces[i] for i in notes.ids] == [*pieces[4:7], *pieces[4:6], "\u2581", "患者", "男", "，", "性"]
    assert notes.starts.tolist() == [True, False, True, True, False, True, True, True, False, True]


def test_tokenizers_that_name_their_frame_otherwise() -> None:
    """<s> and </s> may be known as begin and end of a sequence alone, and padding be missing."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<s>": 2, "</s>": 3}, unk_token="<unk>"))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    assert frame_pieces(tokenizer) == {"cls": 2, "sep": 3, "pad": 3}
    assert frame_pieces(trained_tokenizer("bpe")) == {"cls": 2, "sep": 3, "pad": 0}
