import numpy as np
from spacy.util import fix_random_seed, registry

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
