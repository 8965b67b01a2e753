"""`relation_classifier` over a tok2vec that others share, and ensembles of its networks."""

from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.relations.pipelines import (
    LISTENER,
    given,
    make_docs,
    make_examples,
    model_config,
    relation_pipeline,
    train,
    triples,
)
from tests.tagging.pipelines import model_config as tagger_config
from tests.tagging.test_listeners import TOK2VEC


def listening_pipeline(**settings: Any) -> Language:
    spacy.util.fix_random_seed(0)
    nlp = blank_pipeline("es")
    nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
    nlp.add_pipe("relation_classifier", config={"model": model_config(tok2vec=LISTENER, **settings)})
    return nlp


def test_listens_in_a_batch_with_documents_that_teach_nothing():
    nlp = listening_pipeline()
    docs = make_docs(nlp, 3)
    docs[0].user_data.clear()
    docs[1]._.relations = []
    docs.append(nlp.make_doc(""))
    nlp.initialize(lambda: make_examples(docs))
    assert nlp.update(make_examples(docs))["relation_classifier"] > 0
    assert nlp.update(make_examples(docs[:1]))["relation_classifier"] == 0


def test_what_others_taught_the_tok2vec_is_kept_where_there_are_no_relations():
    nlp = listening_pipeline()
    nlp.add_pipe("crf_ner", before="relation_classifier", config={"model": tagger_config(tok2vec=LISTENER)})
    docs = make_docs(nlp)
    optimizer = nlp.initialize(lambda: make_examples(docs, mentions=False))
    silent = make_docs(nlp, 3, seed=1)
    for doc in silent:
        doc.user_data.clear()
    before = nlp.get_pipe("tok2vec").model.predict([docs[0]])[0].copy()
    for _ in range(2):  # the first step moves the tagger's output only, which begins at 0
        losses = nlp.update(make_examples(silent, mentions=False), sgd=optimizer)
    assert losses["crf_ner"] > 0 and losses["relation_classifier"] == 0
    assert not np.allclose(before, nlp.get_pipe("tok2vec").model.predict([docs[0]])[0])


def test_an_ensemble_averages_members_that_differ():
    nlp = relation_pipeline(model=model_config(members=3))
    docs = make_docs(nlp)
    train(nlp, make_examples(docs), steps=50, learn_rate=0.02)
    assert nlp.evaluate(make_examples(docs))["rel_micro_f"] == 1.0
    pipe = nlp.get_pipe("relation_classifier")
    doc = given(make_docs(nlp, 1, seed=5)[0])
    together = pipe.score_pairs([doc])[0].probabilities
    ensemble, attrs = pipe.model.shims[0].module, pipe.model.attrs
    members, attrs["members"] = list(ensemble.members), 1
    embeddings = list(pipe.model.layers)
    assert len(embeddings) == 3 and not np.allclose(*(layer.predict([doc])[0] for layer in embeddings[:2]))
    alone = []
    for member, embedding in zip(members, embeddings):
        ensemble.members = type(ensemble.members)([member])
        pipe.model._layers = [embedding]
        alone.append(pipe.score_pairs([doc])[0].probabilities)
    np.testing.assert_allclose(np.mean(alone, axis=0), together, atol=1e-6)
    assert all(abs(one - other).max() > 1e-5 for one, other in zip(alone, alone[1:]))


def test_an_ensemble_survives_the_disk(tmp_path):
    nlp = relation_pipeline(model=model_config(members=2))
    docs = make_docs(nlp)
    train(nlp, make_examples(docs), steps=10, learn_rate=0.02)
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    for doc in make_docs(nlp, 3, seed=5):
        one, two = (each.get_pipe("relation_classifier").score_pairs([given(doc)])[0] for each in (nlp, other))
        np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_members_of_an_ensemble_share_a_listener_and_survive_without_it(tmp_path):
    with pytest.raises(ValueError, match="set share_tok2vec = true"):
        listening_pipeline(members=2)
    listening = listening_pipeline(members=2, share_tok2vec=True)
    train(listening, make_examples(make_docs(listening)), steps=50, learn_rate=0.02)
    assert len(listening.get_pipe("relation_classifier").model.layers) == 1
    assert listening.evaluate(make_examples(make_docs(listening)))["rel_micro_f"] == 1.0
    expected = [triples(listening(given(doc))) for doc in make_docs(listening, seed=3)]
    listening.replace_listeners("tok2vec", "relation_classifier", ["model.tok2vec"])
    listening.remove_pipe("tok2vec")
    listening.to_disk(tmp_path)
    assert [triples(doc) for doc in spacy.load(tmp_path).pipe(map(given, make_docs(listening, seed=3)))] == expected
