"""Which rows of vectors a token is aligned to, told by the strings of the word pieces that stand in these rows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tagging.pipelines import make_docs, model_config
from tests.transformers.encoders import LISTENER, token_vectors, trf_pipeline

ANCHOR = "[CLS]"


def rows_of(data, token):
    return data.align[token.i].dataXd.ravel().tolist()


def window_of(strings, row):
    """Number of the window that a row lies in: each begins with the row of its special piece."""
    return strings[: row + 1].count(ANCHOR)


@pytest.mark.parametrize("window, overlap", [(8, 2), (11, 6), (20, 0)])
def test_tokens_are_aligned_to_the_pieces_that_spell_them(encoders, window, overlap):
    """Behind every edge of a window, too, where the row of its special piece comes between."""
    nlp = trf_pipeline(encoders["wordpiece"], window, overlap)
    ordinary = " ".join(doc.text for doc in make_docs(nlp, 3, seed=4))
    for text in (ordinary, "dolor " + "carcinoma" * 8 + " leve"):
        doc = nlp(text)
        data = doc._.trf_data
        (strings,) = data.wordpieces.strings
        assert strings.count(ANCHOR) > 2
        for token in doc:
            rows = rows_of(data, token)
            if token.is_space:
                assert [strings[row] for row in rows] == [ANCHOR]
            else:
                assert "".join(strings[row].removeprefix("##") for row in rows) == token.text
        taken = {row for token in doc for row in rows_of(data, token)}
        assert {row for row, piece in enumerate(strings) if piece != ANCHOR} <= taken


def test_white_space_is_aligned_to_the_window_it_lies_in(encoders):
    nlp = trf_pipeline(encoders["wordpiece"], 8, 2)
    doc = nlp("dolor \n leve \n tos \n fiebre \n" * 12)
    data = doc._.trf_data
    (strings,) = data.wordpieces.strings
    for left, token, right in zip(doc, doc[1:], doc[2:]):
        if token.is_space:
            (row,) = rows_of(data, token)
            beside = [window_of(strings, rows_of(data, each)[0]) for each in (left, right)]
            assert beside[0] <= window_of(strings, row) <= beside[1]


def test_a_batch_is_aligned_as_its_notes_are_and_a_listener_hears_that(encoders):
    nlp = trf_pipeline(encoders["wordpiece"], 8, 2)
    transformer = nlp.get_pipe("transformer")
    docs = [nlp.make_doc(text) for text in ("tumor renal \n y tos", "", "carcinoma ductal " * 9)]
    batch = transformer.predict(docs)
    rows = batch.model_output.last_hidden_state.reshape(-1, 16)
    transformer.set_annotations(docs, batch)
    filled = [doc for doc in docs if len(doc)]
    expected = np.array([vector for doc in filled for vector in token_vectors(doc)])
    found = [rows[batch.align[i].dataXd.ravel().tolist()].mean(0) for i in range(len(expected))]
    np.testing.assert_allclose(np.array([np.asarray(each) for each in found]), expected, atol=1e-6)
    nlp.add_pipe("crf_ner", config={"model": model_config(tok2vec=LISTENER)})
    listener = nlp.get_pipe("crf_ner").model.get_ref("tok2vec")
    np.testing.assert_allclose(np.concatenate(listener.predict(filled)), expected, atol=1e-6)
