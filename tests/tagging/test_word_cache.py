import pickle

import numpy as np
import pytest
from spacy.util import fix_random_seed, registry
from thinc.api import Adam

from spacy_clinical_ner.tagging.embeddings import word_cache
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import EMBED, make_docs


@pytest.fixture
def nlp():
    return blank_pipeline("es")


def distinct_words(docs, **settings):
    fix_random_seed(0)
    model = registry.resolve({"model": {**EMBED, **settings}})["model"]
    model.initialize(X=docs)
    return model


def assert_equal(one, other):
    for y, z in zip(one, other):
        np.testing.assert_allclose(y, z, atol=1e-6)


def looked_up(model, docs, monkeypatch):
    """The words that a prediction hands to the embedding."""
    words = []
    embed = model.layers[0]
    inner = embed._func

    def spy(layer, given, is_train):
        words.extend(token.text for doc in given for token in doc)
        return inner(layer, given, is_train)

    monkeypatch.setattr(embed, "_func", spy)
    Y = model.predict(docs)
    monkeypatch.undo()
    return words, Y


def test_words_are_embedded_once_and_come_back_the_same(nlp, monkeypatch):
    first, second = make_docs(nlp, 3, seed=1), [*make_docs(nlp, 3, seed=2), nlp.make_doc("una palabra nueva")]
    model = distinct_words(first)
    plain = model.layers[0]
    words, Y = looked_up(model, first, monkeypatch)
    assert sorted(words) == sorted({token.text for doc in first for token in doc})
    assert_equal(Y, plain.predict(first))
    again, Y = looked_up(model, second, monkeypatch)
    assert sorted(again) == sorted({token.text for doc in second for token in doc} - set(words))
    assert again
    assert_equal(Y, plain.predict(second))


@pytest.mark.parametrize("max_words", [0, 1, 7, 20])
def test_a_full_cache_keeps_its_words(nlp, max_words):
    docs = make_docs(nlp, 12)
    model = distinct_words(docs, max_words=max_words)
    plain, cache = model.layers[0], word_cache(model)
    for start in range(0, 12, 3):
        kept = dict(cache._rows)
        assert_equal(model.predict(docs[start : start + 3]), plain.predict(docs[start : start + 3]))
        assert len(cache._rows) <= max_words
        assert kept.items() <= cache._rows.items()
    assert len(cache._rows) == max_words


def test_a_full_cache_starts_anew_when_most_words_are_others(nlp, monkeypatch):
    model = distinct_words(make_docs(nlp, 2), max_words=4)
    plain = model.layers[0]

    def new_words(text):
        words, Y = looked_up(model, [nlp.make_doc(text)], monkeypatch)
        assert_equal(Y, plain.predict([nlp.make_doc(text)]))
        return " ".join(sorted(words))

    assert new_words("a b c d") == "a b c d"
    assert new_words("a b c e") == "e"
    assert new_words("a b f g") == "f g", "as many are known as are not"
    assert new_words("a f g h") == "a f g h", "most are not"
    assert new_words("a f g h") == ""
    assert new_words("b") == "b"


def test_an_update_and_averaged_parameters_are_seen(nlp):
    docs = make_docs(nlp, 4)
    model = distinct_words(docs)
    plain = model.layers[0]
    optimizer = Adam(0.1, use_averages=True)
    before = model.predict(docs)
    for _ in range(3):
        Y, backprop = model.begin_update(docs)
        backprop([y - 1.0 for y in Y])
        model.finish_update(optimizer)
        assert_equal(model.predict(docs), plain.predict(docs))
    after = model.predict(docs)
    assert not np.allclose(before[0], after[0], atol=1e-3)
    with model.use_params(optimizer.averages):
        averaged = model.predict(docs)
        assert_equal(averaged, plain.predict(docs))
    assert not np.allclose(averaged[0], after[0], atol=1e-3)
    assert_equal(model.predict(docs), after)


def test_another_vocabulary_and_other_weights_are_seen(nlp):
    docs = make_docs(nlp, 2)
    model = distinct_words(docs)
    expected = model.predict(docs)
    other = distinct_words(docs)
    for node in other.walk():
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + 0.5)
    elsewhere = other.predict(docs)
    assert not np.allclose(elsewhere[0], expected[0])
    model.from_bytes(other.to_bytes())
    assert_equal(model.predict(docs), elsewhere)
    assert_equal(model.predict(make_docs(blank_pipeline("es"), 2)), elsewhere)


def test_the_cache_is_neither_copied_nor_stored(nlp):
    docs = make_docs(nlp, 2)
    model = distinct_words(docs)
    size = len(model.to_bytes())
    expected = model.predict(docs)
    assert len(word_cache(model)._rows) > 10
    assert len(model.to_bytes()) == size
    copied = model.copy()
    assert not word_cache(copied)._rows
    assert_equal(copied.predict(docs), expected)
    assert not pickle.loads(pickle.dumps(word_cache(model)))._rows


def test_fewer_than_no_words_are_refused():
    with pytest.raises(ValueError, match="max_words must be at least 0"):
        registry.resolve({"model": {**EMBED, "max_words": -1}})
