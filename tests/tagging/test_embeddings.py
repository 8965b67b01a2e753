import numpy as np
import pytest
from spacy.util import fix_random_seed, registry
from thinc.api import Adam

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import EMBED, make_docs


def test_distinct_words_equal_the_plain_embedding_and_its_gradient():
    nlp = blank_pipeline("es")
    docs = [nlp.make_doc(""), *make_docs(nlp, 4), nlp.make_doc(" \n")]
    fix_random_seed(0)
    model = registry.resolve({"model": EMBED})["model"]
    model.initialize(X=docs)
    plain = model.layers[0]
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(len(doc), 32)).astype("float32") for doc in docs]

    def run(m):
        Y, backprop = m(docs, is_train=True)
        backprop([g.copy() for g in gradients])
        collected = {}
        for i, node in enumerate(plain.walk()):
            for name in node.param_names:
                if node.has_grad(name):
                    collected[i, name] = node.get_grad(name).copy()
                    node.set_grad(name, np.zeros_like(node.get_grad(name)))
        return Y, collected

    Y, d = run(model)
    Z, e = run(plain)
    for y, z in zip(Y, Z):
        np.testing.assert_allclose(y, z, atol=1e-5)
    assert d.keys() == e.keys() and d
    for key in d:
        np.testing.assert_allclose(d[key], e[key], atol=1e-3)


def test_distinct_words_of_nothing():
    nlp = blank_pipeline("es")
    model = registry.resolve({"model": EMBED})["model"]
    model.initialize(X=make_docs(nlp, 1))
    assert [y.shape for y in model.predict([nlp.make_doc(""), nlp.make_doc("")])] == [(0, 32), (0, 32)]


def hash_embed(width, attr):
    return {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": width,
        "attrs": [attr],
        "rows": [100],
        "include_static_vectors": False,
    }


def concatenated(*parts):
    fix_random_seed(0)
    config = {
        "@architectures": "spacy-clinical-ner.Concatenate.v1",
        "*": {f"part{i}": part for i, part in enumerate(parts)},
    }
    return registry.resolve({"model": config})["model"]


def test_concatenated_vectors_stand_side_by_side_and_each_gets_its_gradient():
    nlp = blank_pipeline("es")
    docs = [nlp.make_doc(""), *make_docs(nlp, 3), nlp.make_doc(" ")]
    model = concatenated(hash_embed(8, "NORM"), hash_embed(5, "SHAPE"))
    model.initialize(X=docs)
    assert model.get_dim("nO") == 13
    Y, backprop = model(docs, is_train=True)
    plain = [part(docs, is_train=True) for part in model.layers]
    for doc, y, *parts in zip(docs, Y, *(vectors for vectors, _ in plain)):
        assert y.shape == (len(doc), 13)
        np.testing.assert_array_equal(y, np.hstack(parts))
    rng = np.random.default_rng(0)
    d_Y = [rng.normal(size=y.shape).astype("float32") for y in Y]

    def gradients(run):
        run()
        found = [
            node.get_grad(name).copy() for node in model.walk() for name in node.param_names if node.has_grad(name)
        ]
        for node in model.walk():
            for name in node.param_names:
                if node.has_grad(name):
                    node.set_grad(name, np.zeros_like(node.get_grad(name)))
        return found

    def apart():
        for (_, backprop_part), columns in zip(plain, (slice(0, 8), slice(8, 13))):
            backprop_part([np.ascontiguousarray(d[:, columns]) for d in d_Y])

    together, alone = gradients(lambda: backprop(d_Y)), gradients(apart)
    assert together and any(np.abs(each).max() > 0 for each in together)
    for one, other in zip(together, alone):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_concatenating_nothing():
    nlp = blank_pipeline("es")
    with pytest.raises(ValueError, match="one tok2vec at least"):
        concatenated()
    model = concatenated(hash_embed(8, "NORM"), hash_embed(5, "SHAPE"))
    model.initialize(X=make_docs(nlp, 1))
    assert [y.shape for y in model.predict([nlp.make_doc(""), nlp.make_doc("")])] == [(0, 13), (0, 13)]


def char_model(max_chars=30, embed=None):
    fix_random_seed(0)
    config = {"@architectures": "spacy-clinical-ner.CharCNN.v1", "dropout": 0.0, "max_chars": max_chars}
    if embed is not None:
        config["embed"] = embed
    model = registry.resolve({"model": config})["model"]
    model.initialize(X=make_docs(blank_pipeline("es"), 1))
    return model


def test_char_cnn_equals_a_convolution_written_out():
    model = char_model()
    nlp = blank_pipeline("es")
    doc = nlp.make_doc("carcinoma de Hürthle 4")
    module = model.shims[0].module
    table = module.embedding.weight.detach().numpy()
    weight, bias = (p.detach().numpy() for p in (module.convolution.weight, module.convolution.bias))
    (Y,) = model.predict([doc])
    for token, y in zip(doc, Y):
        x = np.stack([np.zeros(30), *(table[1 + ord(c) % 1023] for c in token.text), np.zeros(30)])
        windows = [np.tensordot(weight, x[i : i + 3].T, axes=2) + bias for i in range(len(token))]
        np.testing.assert_allclose(y, np.tanh(np.max(windows, axis=0)), atol=1e-5)


def test_char_cnn_reads_both_ends_of_a_long_word():
    model, nlp = char_model(max_chars=6), blank_pipeline("es")

    def vector(word):
        return model.predict([nlp.make_doc(word)])[0][0]

    assert np.array_equal(vector("abcXXXdef"), vector("abcYYdef"))
    assert not np.array_equal(vector("abcXXXdef"), vector("abcXXXdeg"))


def test_char_cnn_joins_another_embedding_and_learns():
    nlp = blank_pipeline("es")
    docs = [nlp.make_doc(""), *make_docs(nlp, 3)]
    model = char_model(embed=EMBED["embed"])
    assert [y.shape for y in model.predict(docs)] == [(len(doc), 32 + 50) for doc in docs]
    optimizer = Adam(0.01)
    losses = []
    for _ in range(20):
        Y, backprop = model.begin_update(docs)
        backprop([y - 0.5 for y in Y])
        model.finish_update(optimizer)
        losses.append(sum(float(((y - 0.5) ** 2)[:, 32:].sum()) for y in Y))
    assert losses[-1] < losses[0] / 10
    other = char_model(embed=EMBED["embed"]).from_bytes(model.to_bytes())
    for one, two in zip(model.predict(docs), other.predict(docs)):
        assert np.array_equal(one, two)
