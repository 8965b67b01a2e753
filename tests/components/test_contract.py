"""What every trainable component must do, whatever it learns; the rooms' own tests have what is special to each."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, Span
from spacy.training import Example

from tests.components.cases import CASES, Case, outcome, places

TINY = ["", "a", " ", "\n\n\t ", "\u2028", "\ufeff", "😀", " " * 500, "x" * 3000]


class Trained:
    """A case with its component trained on ten documents."""

    def __init__(self, case: Case, folder):
        self.case, self.folder = case, folder
        self.nlp = case.pipeline(folder)
        self.docs = case.docs(self.nlp)
        case.train(self.nlp, self.docs)

    @property
    def pipe(self):
        return self.nlp.get_pipe(self.case.factory)

    def fresh(self, **model):
        return self.case.pipeline(self.folder, **model)

    def blanks(self, count, seed):
        return [self.case.blank(doc) for doc in self.case.docs(self.nlp, count, seed)]


@pytest.fixture(scope="module", params=list(CASES))
def trained(request, tmp_path_factory):
    return Trained(CASES[request.param], tmp_path_factory.mktemp("encoder"))


def test_learns_ten_documents_by_heart(trained):
    case, nlp = trained.case, trained.nlp
    scores = nlp.evaluate(case.examples(trained.docs))
    assert {name: scores[name] for name in case.scores} == dict.fromkeys(case.scores, 1.0)
    for doc in trained.docs:
        found = nlp(case.blank(doc))
        assert places(found) == places(doc)
        assert case.spans_key is None or not found.ents
    if case.spans_key:
        groups = [list(doc.spans[case.spans_key]) for doc in trained.docs]
        assert any(one.start < other.start < one.end for group in groups for one in group for other in group)


def test_probabilities_are_probabilities_and_survive_a_docbin(trained):
    doc = trained.nlp(trained.case.blank(trained.docs[0]))
    entities, relations = outcome(doc)
    least = 0.5 if trained.case.learns_relations else 0.0
    if trained.case.finds_entities:
        assert entities and all(least < confidence <= 1 for *_, confidence in entities)
    assert bool(relations) == trained.case.learns_relations
    assert all(0.5 <= score <= 1 for *_, score in relations)
    assert doc[:]._.confidence is None
    stored = DocBin(store_user_data=True, docs=[doc]).to_bytes()
    assert outcome(next(DocBin().from_bytes(stored).get_docs(trained.nlp.vocab))) == outcome(doc)


@pytest.mark.parametrize("how", ["disk", "bytes", "pickle", "config"])
def test_round_trip_gives_equal_predictions(trained, how, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nlp = trained.nlp
    if how == "disk":
        nlp.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    elif how == "bytes":
        other = spacy.blank("es").from_config(nlp.config).from_bytes(nlp.to_bytes())
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(nlp))
    else:
        config = nlp.config.from_str(nlp.config.to_str())
        other = spacy.util.load_model_from_config(config, auto_fill=False, validate=True).from_bytes(nlp.to_bytes())
    one, two = trained.pipe, other.get_pipe(trained.case.factory)
    assert (one.cfg, one.labels, one.label_data) == (two.cfg, two.labels, two.label_data)
    assert other.config["components"] == nlp.config["components"]
    blanks = [trained.blanks(10, seed=5) for _ in range(2)]
    assert [outcome(other(doc)) for doc in blanks[0]] == [outcome(nlp(doc)) for doc in blanks[1]]


def test_survives_tiny_and_odd_notes_alone_and_among_others(trained):
    nlp, (whole,) = trained.nlp, trained.docs[:1]
    expected = places(nlp(trained.case.blank(whole)))
    assert any(expected)
    docs = []
    for text in TINY:
        doc = nlp(text)
        assert doc.text == text
        docs += [nlp.make_doc(text), trained.case.blank(whole)]
    together = [places(doc) for doc in nlp.pipe(docs)]
    assert together[0::2] == [places(nlp(text)) for text in TINY]
    assert together[1::2] == [expected] * len(TINY)
    assert together[0] == (set(), set())


def test_training_survives_tiny_notes_and_learns_nothing_from_none(trained):
    case, nlp = trained.case, trained.fresh()
    docs = case.docs(nlp, 3)
    for text in ("", "a", " \n", " " * 300):
        doc = nlp.make_doc(text)
        doc.set_ents([])
        doc._.relations = []
        if case.spans_key:
            doc.spans[case.spans_key] = []
        docs.append(doc)
    assert case.train(nlp, docs, steps=2)[case.factory] > 0
    assert nlp.update(case.examples(docs[3:4]))[case.factory] == 0


def test_a_reference_that_says_nothing_teaches_nothing(trained):
    case, nlp = trained.case, trained.fresh()
    optimizer = nlp.initialize(lambda: case.examples(trained.docs))
    before = nlp.get_pipe(case.factory).model.to_bytes()
    bare = nlp.make_doc("paciente con carcinoma ductal en pulmón y dolor")
    assert not bare.has_annotation("ENT_IOB")
    assert nlp.update([Example(nlp.make_doc(bare.text), bare)], sgd=optimizer)[case.factory] == 0
    if not case.encoder:  # whose listener has to give a gradient, be it zero
        assert nlp.get_pipe(case.factory).model.to_bytes() == before


def test_the_same_seed_gives_the_same_weights(trained):
    case, runs = trained.case, []
    for seed in (3, 3, 4):
        nlp = trained.fresh(seed=seed, dropout=0.3) if "*" not in case.model() else trained.fresh(seed=seed)
        case.train(nlp, case.docs(nlp), steps=2)
        runs.append(nlp.get_pipe(case.factory).model.to_bytes())
    assert runs[0] == runs[1] != runs[2]


def test_two_processes_find_what_one_finds(trained):
    expected = [outcome(trained.nlp(doc)) for doc in trained.blanks(6, seed=4)]
    found = [outcome(doc) for doc in trained.nlp.pipe(trained.blanks(6, seed=4), n_process=2, batch_size=2)]
    assert any(map(any, expected))
    for one, other in zip(expected, found):
        for alone, together in zip(one, other):
            assert [each[:-1] for each in alone] == [each[:-1] for each in together]
            if trained.case.finds_entities or alone is one[1]:
                np.testing.assert_allclose([p for *_, p in alone], [p for *_, p in together], atol=1e-4)


def test_labels_are_fixed_once_the_model_is_built(trained):
    case, pipe = trained.case, trained.pipe
    assert pipe.add_label(pipe.labels[0]) == 0
    with pytest.raises(ValueError, match=r"NEW.*Initialize the pipeline again"):
        pipe.add_label("NEW")
    (doc,) = case.docs(trained.nlp, 1)
    if case.finds_entities:
        span = Span(doc, 0, 1, label="NEW")
        doc.set_ents([span])
        doc._.relations = []
        if case.spans_key:
            doc.spans[case.spans_key] = [span]
    else:
        doc._.relations = [doc._.relations[0]._replace(label="NEW")]
    with pytest.raises(ValueError, match=r"cannot train on the label.*NEW.*Initialize the pipeline again"):
        trained.nlp.update(case.examples([doc]))


def test_a_label_added_before_initialize_is_used(trained):
    nlp = trained.fresh()
    pipe = nlp.get_pipe(trained.case.factory)
    assert pipe.add_label("EXTRA") == 1
    nlp.initialize(lambda: trained.case.examples(trained.docs))
    assert pipe.labels == ("EXTRA", *trained.pipe.labels)
    assert nlp.evaluate(trained.case.examples(trained.docs[:2]))


def test_no_labels_and_prediction_before_initialize_are_clear_errors(trained):
    case, nlp = trained.case, trained.fresh()
    # A relation classifier without type pairs has no candidates, and so nothing to ask a model about.
    if case.finds_entities and not case.encoder:
        with pytest.raises(ValueError, match="initialize"):
            nlp(case.blank(trained.docs[0]))
    docs = case.docs(nlp, 2)
    for doc in docs:
        doc.set_ents([])
        doc._.relations = []
        doc.spans.clear()
    with pytest.raises(ValueError, match="no labels"):
        nlp.initialize(lambda: case.examples(docs))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.listeners])
def test_learns_through_a_listener_that_can_be_replaced(name, tmp_path):
    case = CASES[name]
    nlp = case.listening_pipeline()
    docs = case.docs(nlp)
    case.train(nlp, docs, case.listening_steps)
    before = [_untaught(case) for _ in range(2)]
    assert np.array_equal(*before), "all begin with the same weights"
    after = nlp.get_pipe("tok2vec").model.predict([docs[0]])[0]
    assert not np.allclose(before[0], after), "the gradient must reach the shared tok2vec"
    if case.listening_steps >= case.steps:
        scores = nlp.evaluate(case.examples(docs))
        assert [scores[name] for name in case.scores] == [1.0] * len(case.scores)
    others = case.docs(nlp, seed=3)
    expected = [places(nlp(case.blank(doc))) for doc in others]
    assert any(map(any, expected))
    nlp.replace_listeners("tok2vec", case.factory, list(case.listeners))
    nlp.remove_pipe("tok2vec")
    assert [places(nlp(case.blank(doc))) for doc in others] == expected
    nlp.to_disk(tmp_path)
    assert [places(doc) for doc in spacy.load(tmp_path).pipe(map(case.blank, others))] == expected


def _untaught(case):
    """What a shared tok2vec makes of a document before anything is learnt."""
    nlp = case.listening_pipeline()
    docs = case.docs(nlp)
    case.train(nlp, docs, 0)
    return nlp.get_pipe("tok2vec").model.predict([docs[0]])[0]
