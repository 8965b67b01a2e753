"""Windows over word pieces, against plain definitions; and pieces mapped to tokens."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import spacy
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from spacy_clinical_ner.transformers.piece_windows import WordPieceWindows
from spacy_clinical_ner.transformers.pieces import NotePieces, collapse, split_notes
from spacy_clinical_ner.transformers.special_pieces import special_pieces
from tests.transformers.encoders import base64_text, train_tokenizer, trained_tokenizer, trf_pipeline


def note_of(token_lengths):
    """A note whose tokens have these numbers of pieces."""
    tokens = np.repeat(np.arange(len(token_lengths)), token_lengths)
    ends = np.cumsum([length for length in token_lengths if length])
    home = np.concatenate([[0], np.cumsum(token_lengths)[:-1]]) if len(token_lengths) else np.zeros(0, dtype="int64")
    ids = np.arange(len(tokens))
    return NotePieces(ids, [str(i) for i in ids], tokens, ids, ends, home)


def random_notes(seed):
    rng = random.Random(seed)
    return [
        note_of([rng.choice([0, 1, 1, 1, 2, 3, 5, 40]) for _ in range(rng.randint(1, 60))])
        for _ in range(rng.randint(1, 4))
    ]


@pytest.mark.parametrize("seed", range(40))
def test_every_piece_keeps_its_most_central_occurrence(seed):
    rng = random.Random(seed)
    notes = random_notes(seed)
    overlap = rng.choice([0, 1, 2, 4, 7])
    room = overlap + rng.randint(1, 20)
    windows = WordPieceWindows(room + 2, overlap).plan(notes, room)
    assert [w.note for w in windows] == sorted(w.note for w in windows)
    for number, note in enumerate(notes):
        mine = [w for w in windows if w.note == number]
        length = len(note.ids)
        assert [w.core_start for w in mine] == [0, *(w.core_end for w in mine[:-1])]
        assert mine[-1].core_end == length
        for window in mine:
            assert 0 <= window.start <= window.core_start <= window.core_end <= window.end <= length
            assert window.end - window.start <= room
            torn = window.core_end not in {*note.ends.tolist(), 0}
            if torn:  # a token that is longer than a core
                token = note.tokens[window.core_end]
                assert (note.tokens == token).sum() > room - overlap

        def centrality(window, piece, length=length):
            """Pieces to the nearer edge of the window; the note's own edges hide nothing."""
            left = piece - window.start if window.start else length
            right = window.end - 1 - piece if window.end < length else length
            return min(left, right)

        for piece in range(length):
            (home,) = [w for w in mine if w.core_start <= piece < w.core_end]
            others = [w for w in mine if w.start <= piece < w.end]
            assert centrality(home, piece) >= max(centrality(w, piece) for w in others)


def test_a_token_that_just_fits_is_in_the_core():
    windows = WordPieceWindows(8, 2).plan([note_of([2, 3, 2, 3, 3])], 6)
    assert windows[0].core_end == 5  # of six pieces, one is context


def test_a_note_without_pieces_has_one_window():
    assert [tuple(w) for w in WordPieceWindows(8, 2).plan([note_of([0, 0])], 6)] == [(0, 0, 0, 0, 0)]


def test_settings_are_checked():
    for window, overlap in [(8, 8), (4, 9), (8, -1)]:
        with pytest.raises(ValueError, match="longer than the overlap"):
            WordPieceWindows(window, overlap)
    with pytest.raises(ValueError, match=r"spacy-clinical-ner\.TransformerModel\.v1"):
        WordPieceWindows()([])
    with pytest.raises(ValueError, match="cannot overlap"):
        WordPieceWindows(8, 6).plan([note_of([1])], 6)


def slowly_collapsed(text):
    """The view and, for every character of the text, its place in the view."""
    view, places = "", []
    for index, character in enumerate(text):
        if character.isspace() and index and text[index - 1].isspace():
            if character in "\n\r\v\f\x85\u2028\u2029":
                view = view[:-1] + "\n"
        elif character.isspace():
            view += "\n" if character in "\n\r\v\f\x85\u2028\u2029" else " "
        else:
            view += character
        places.append(len(view) - 1)
    return view, places


@pytest.mark.parametrize("seed", range(50))
def test_collapse_against_one_character_at_a_time(seed):
    rng = random.Random(seed)
    text = "".join(rng.choices("ab é\t\n\r\u00a0\u2028  \u200b😀", k=rng.randint(0, 60)))
    view = collapse(text)
    expected, places = slowly_collapsed(text)
    assert view.text == expected
    assert view.positions(np.arange(len(text))).tolist() == places


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "sentencepiece"])
@pytest.mark.parametrize("seed", range(10))
def test_pieces_of_tokens_against_one_character_at_a_time(kind, seed):
    rng = random.Random(seed)
    parts = ["dolor", " ", "  ", "\n", "\t\n", "糖尿病", "😀", "G3|pT2", "8mg", ",", "\u200b", "carcinoma"]
    text = "".join(rng.choices(parts, k=30))
    tokenizer = trained_tokenizer(kind)
    doc = spacy.blank("es")(text)
    (note,) = split_notes([doc], tokenizer)
    view, places = slowly_collapsed(text)
    offsets = tokenizer(view, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    expected = set()
    for piece, (start, end) in enumerate(offsets):
        covered = {i for i in range(start, end) if not view[i].isspace()} or set(range(start, end))
        expected |= {
            (token.i, piece) for token in doc for c in range(token.idx, token.idx + len(token)) if places[c] in covered
        }
    assert set(zip(note.tokens.tolist(), note.pieces.tolist())) == expected
    assert note.tokens.tolist() == sorted(note.tokens.tolist())


def test_vectors_are_those_of_the_window_that_keeps_them(encoders):
    """Against the encoder run by hand, window by window."""
    nlp = trf_pipeline(encoders["bpe"], window=20, overlap=6)
    model = nlp.get_pipe("transformer").model
    doc = nlp("Paciente con carcinoma ductal, " + base64_text(60) + " y fiebre leve en control.")
    (note,) = split_notes([doc], model.tokenizer)
    special = special_pieces(model.tokenizer)
    windows = model.attrs["get_spans"].plan([note], 20 - special.size)
    assert len(windows) > 3
    rows = []
    for window in windows:
        ids = [*special.prefix, *note.ids[window.start : window.end], *special.suffix]
        with torch.no_grad():
            hidden = model.transformer(torch.tensor([ids])).last_hidden_state[0].numpy()
        first = 1 + window.core_start - window.start
        rows += [hidden[0], *hidden[first : first + window.core_end - window.core_start]]
    np.testing.assert_allclose(doc._.trf_data.model_output.last_hidden_state[0], rows, atol=1e-5)
    long = next(token for token in doc if len(token) > 50)
    assert len(doc._.trf_data.align[long.i].dataXd) > 20, "a token longer than a window keeps all of its pieces"


def test_special_pieces_of_tokenizers():
    tokenizer = train_tokenizer("bpe")
    assert special_pieces(tokenizer) == ([2], [3])
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["post_processor"] = None
    bare = Tokenizer.from_str(json.dumps(spec))
    assert special_pieces(PreTrainedTokenizerFast(tokenizer_object=bare, cls_token="[CLS]")) == ([2], [])


def test_the_window_is_as_long_as_the_encoder_allows(encoders):
    for encoder in encoders.values():
        nlp = trf_pipeline(encoder, window=10_000, overlap=8)
        doc = nlp("dolor leve " * 200)
        assert len(doc._.trf_data.align.lengths) == 400
    with pytest.raises(ValueError, match="choose a longer window or a smaller overlap"):
        trf_pipeline(encoders["bpe"], window=100, overlap=62)
