"""The notes that other people's windows lose word pieces of: every token has a vector, and it is the right one."""

from __future__ import annotations

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.errors import ClinicalNerError
from tests.transformers.encoders import CHECK, base64_text, token_vectors, trf_pipeline

NOTES = {
    "table": "Hb" + " " * 2000 + "9.3\n" + "Leucocitos" + " \t" * 1000 + "12.0",
    "base64": "Imagen: " + base64_text(20_000) + " fin.",
    "base64 alone": base64_text(20_000).replace("+", "a").replace("/", "b"),
    "emoji": "😀",
    "emoji of several": "👩🏽‍⚕️",
    "Chinese": "患者男性，四十岁，因糖尿病入院，空腹血糖八点六。" * 30,
    "white space only": " \n\n \t ",
    "one space": " ",
    "control and zero width": "a\u200b\u200b \x00 \x1f b \ufeff c\u00a0d\u2028e",
    "ordinary": "Paciente con carcinoma ductal infiltrante, G3|pT2N1M0.\n\n" * 20,
    "special pieces": "[CLS] [SEP] <s> </s> [MASK] [PAD]",
}


def check(doc: Doc) -> None:
    """Every token is aligned to rows that exist, and their vectors are finite and not zero."""
    data = doc._.trf_data
    assert len(data.align.lengths) == len(doc)
    assert (np.asarray(data.align.lengths) > 0).all()
    rows = data.model_output.last_hidden_state
    assert rows.shape == (1, data.wordpieces.lengths[0], 16)
    assert data.align.dataXd.min() >= 0 and data.align.dataXd.max() < rows.shape[1]
    assert np.isfinite(rows).all() and np.abs(rows).sum(-1).min() > 0
    assert len(data.wordpieces.strings[0]) == data.wordpieces.input_ids.shape[1] == rows.shape[1]


@pytest.mark.parametrize("name", NOTES)
def test_every_token_has_a_vector(encoder, name):
    doc = trf_pipeline(encoder)(NOTES[name])
    assert len(doc)
    check(doc)


def test_empty_notes_among_others(encoder):
    nlp = trf_pipeline(encoder)
    docs = list(nlp.pipe(["", "dolor leve", "", " "]))
    assert [len(doc) for doc in docs] == [0, 2, 0, 1]
    assert "last_hidden_state" not in docs[0]._.trf_data.model_output
    check(docs[1])
    check(docs[3])
    assert len(nlp("")) == 0


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "sentencepiece"])
def test_a_hundred_thousand_tokens_in_one_note(encoders, kind):
    nlp = trf_pipeline(encoders[kind], window=64, overlap=16)
    nlp.max_length = 10**9
    words = ["paciente", "con", "dolor", ",", "carcinoma", "\n", "8", "糖", "fiebre", "    "] * 10_000
    doc = nlp.get_pipe("transformer")(Doc(nlp.vocab, words=words))
    assert len(doc) == 100_000
    check(doc)


def test_stock_windows_lose_tokens_of_which_the_check_tells(encoders):
    """If this fails, spacy-transformers has put right what the windows are for."""
    nlp = spacy.blank("es")
    stock = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(encoders["bpe"]),
        "get_spans": {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 16, "stride": 12},
    }
    nlp.add_pipe("transformer", config={"model": stock})
    nlp.get_pipe("transformer").model.initialize()
    text = "Hb" + " " * 2000 + "9.3 mg, dolor leve"
    doc = nlp(text)
    lost = [token.i for token in doc if not doc._.trf_data.align.lengths[token.i]]
    assert lost, "spacy-transformers drops the word pieces behind the white space"
    assert any(not doc[i].is_space for i in lost), "not of white space alone"
    check(trf_pipeline(encoders["bpe"])(text))

    def with_check() -> Language:
        checked = spacy.blank("es")
        checked.add_pipe("transformer", config={"model": stock, "set_extra_annotations": CHECK})
        checked.get_pipe("transformer").model.initialize()
        return checked

    with pytest.raises(
        ClinicalNerError, match=rf"document 0 of its batch: token {lost[0]}, at character \d+, "
    ) as info:
        with_check()(text)
    assert "dolor" not in str(info.value)


@pytest.mark.parametrize("window, overlap", [(8, 4), (32, 8), (64, 0)])
def test_alone_or_with_others_is_the_same(encoder, window, overlap):
    nlp = trf_pipeline(encoder, window, overlap, max_batch_pieces=256)
    texts = [text[:3000] for text in NOTES.values()]
    together = list(nlp.pipe(texts))
    for text, doc in zip(texts, together):
        for one, other in zip(token_vectors(nlp(text)), token_vectors(doc)):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_white_space_is_collapsed_for_the_model_alone(encoders):
    nlp = trf_pipeline(encoders["wordpiece"])
    short, long = nlp("Hb \n 9.3"), nlp("Hb" + " " * 500 + "\n" + "\t" * 500 + "9.3")
    assert long.text == "Hb" + " " * 500 + "\n" + "\t" * 500 + "9.3"
    assert short._.trf_data.wordpieces.strings == long._.trf_data.wordpieces.strings
    np.testing.assert_allclose(token_vectors(short)[0], token_vectors(long)[0], atol=1e-6)
    np.testing.assert_allclose(token_vectors(short)[-1], token_vectors(long)[-1], atol=1e-6)


def test_white_space_is_never_represented_by_the_word_beside_it(encoder):
    nlp = trf_pipeline(encoder)
    doc = nlp("dolor     leve\n\ncarcinoma")
    data = doc._.trf_data
    of_words = {row for token in doc if not token.is_space for row in data.align[token.i].dataXd.ravel().tolist()}
    of_spaces = {row for token in doc if token.is_space for row in data.align[token.i].dataXd.ravel().tolist()}
    assert of_spaces and not of_words & of_spaces
