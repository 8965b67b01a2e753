import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam

from tests.tagging.pipelines import (
    BILSTM,
    IDCNN,
    crf_pipeline,
    ents,
    make_docs,
    make_examples,
    model_config,
    spans,
    train,
)

TEXT = "paciente con carcinoma ductal y dolor por metástasis y tos . \n sin fiebre"


@pytest.fixture(scope="module")
def trained():
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)))
    return nlp


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("encoder", [None, BILSTM, IDCNN], ids=["none", "BiLSTM", "IDCNN"])
def test_learns_ten_documents_by_heart(scheme, encoder):
    nlp = crf_pipeline(model=model_config(encoder, scheme=scheme))
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=120, learn_rate=0.005)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    assert set(nlp.evaluate(examples)["ents_per_type"]) == {"TUMOUR", "SITE"}


def test_learns_overlapping_mentions_by_heart():
    nlp = crf_pipeline(spans_key="sc", scorer={"@scorers": "spacy-clinical-ner.EntityScorer.v1", "spans_key": "sc"})
    docs = make_docs(nlp, spans_key="sc")
    examples = make_examples(nlp, docs)
    train(nlp, examples, steps=80)
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0
    predicted = nlp.get_pipe("crf_ner")(Doc(nlp.vocab, words=[t.text for t in docs[0]]))
    assert spans(predicted, "sc") == spans(docs[0], "sc")
    group = list(predicted.spans["sc"])
    overlapping = [s for s in group for o in group if s != o and s.start < o.end <= s.end]
    assert overlapping, "the corpus must have mentions that overlap"
    assert all(0 < span._.confidence <= 1 for span in predicted.spans["sc"])
    assert not predicted.ents


def test_same_seed_same_weights():
    runs = []
    for _ in range(2):
        nlp = crf_pipeline(seed=3, model=model_config(dropout=0.3))
        train(nlp, make_examples(nlp, make_docs(nlp)), steps=5)
        runs.append(nlp.get_pipe("crf_ner").model.predict([nlp.make_doc(TEXT)])[0])
    assert np.array_equal(*runs)


def test_confidence_is_a_probability(trained):
    doc = trained(TEXT)
    assert doc.ents
    assert all(0 < span._.confidence <= 1 for span in doc.ents)
    assert doc[0:1]._.confidence is None
    copy = next(DocBin(store_user_data=True, docs=[doc]).get_docs(trained.vocab))
    assert [s._.confidence for s in copy.ents] == [s._.confidence for s in doc.ents]


@pytest.mark.parametrize("how", ["disk", "bytes", "pickle", "config"])
def test_round_trip_gives_equal_predictions(trained, how, tmp_path):
    if how == "disk":
        trained.to_disk(tmp_path)
        other = spacy.load(tmp_path)
    elif how == "bytes":
        other = spacy.blank("es").from_config(trained.config).from_bytes(trained.to_bytes())
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(trained))
    else:
        config = trained.config.from_str(trained.config.to_str())
        other = spacy.util.load_model_from_config(config, auto_fill=False, validate=True)
        other.from_bytes(trained.to_bytes())
    assert other.get_pipe("crf_ner").labels == trained.get_pipe("crf_ner").labels
    for doc in make_docs(trained, seed=5):
        one, two = trained(doc.text), other(doc.text)
        assert ents(one) == ents(two)
        assert [s._.confidence for s in one.ents] == [s._.confidence for s in two.ents]


@pytest.mark.parametrize("text", ["", "a", " ", "\n\n\t ", "\u2028", "\ufeff", "😀"])
def test_survives_tiny_notes(trained, text):
    assert trained(text).text == text
    alone = [ents(trained(t)) for t in (text, TEXT, text)]
    assert [ents(doc) for doc in trained.pipe([text, TEXT, text])] == alone


def test_training_survives_tiny_notes():
    nlp = crf_pipeline()
    docs = make_docs(nlp, 3)
    for text in ("", "a", " \n"):
        doc = nlp.make_doc(text)
        doc.set_ents([])
        docs.append(doc)
    assert train(nlp, make_examples(nlp, docs), steps=3)["crf_ner"] > 0
    empty = nlp.make_doc("")
    empty.set_ents([])
    assert nlp.update(make_examples(nlp, [empty]))["crf_ner"] == 0


def test_white_space_at_the_edge_of_a_mention_is_learnt():
    nlp = crf_pipeline()
    docs = []
    for doc in make_docs(nlp):
        words = [t.text for t in doc] + ["tumor", "\n"]
        new = Doc(nlp.vocab, words=words)
        new.set_ents([spacy.tokens.Span(new, len(words) - 2, len(words), label="TUMOUR")])
        docs.append(new)
    examples = make_examples(nlp, docs)
    train(nlp, examples, steps=80)
    predicted = nlp.get_pipe("crf_ner")(Doc(nlp.vocab, words=[t.text for t in docs[0]]))
    assert ents(predicted) == ents(docs[0])


def test_result_does_not_depend_on_the_batch(trained):
    model = trained.get_pipe("crf_ner").model
    docs = [trained.make_doc(doc.text) for doc in make_docs(trained, 7, seed=9)]
    together = model.predict(docs)
    for doc, emissions in zip(docs, together):
        np.testing.assert_allclose(model.predict([doc])[0], emissions, atol=1e-5)


def test_mentions_at_every_position_across_window_edges():
    nlp = crf_pipeline(model=model_config(window=5, context=2))
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=80)
    for shift in range(12):
        words = ["dolor"] * shift + ["carcinoma", "ductal", "y"] + ["dolor"] * 12
        doc = nlp.get_pipe("crf_ner")(Doc(nlp.vocab, words=words))
        assert ents(doc) == [(shift, shift + 2, "TUMOUR")], shift


def test_illegal_sequences_are_impossible_without_training():
    nlp = crf_pipeline(model=model_config(scheme="BIOES"))
    docs = make_docs(nlp, 40, seed=1)
    nlp.initialize(lambda: make_examples(nlp, docs))
    pipe = nlp.get_pipe("crf_ner")
    for doc, mentions in zip(docs, pipe.predict([Doc(nlp.vocab, words=[t.text for t in d]) for d in docs])):
        taken = [i for mention in mentions for i in range(mention.start, mention.end)]
        assert len(taken) == len(set(taken))
        assert all(0 <= m.start < m.end <= len(doc) for m in mentions)


def test_n_process(trained):
    texts = [doc.text for doc in make_docs(trained, 6, seed=4)]
    one = [(ents(d), [s._.confidence for s in d.ents]) for d in trained.pipe(texts)]
    two = [(ents(d), [s._.confidence for s in d.ents]) for d in trained.pipe(texts, n_process=2, batch_size=2)]
    assert one == two


def test_label_added_too_late_says_what_to_do(trained):
    pipe = trained.get_pipe("crf_ner")
    assert pipe.add_label("SITE") == 0
    with pytest.raises(ValueError, match=r"NEW.*Initialize the pipeline again"):
        pipe.add_label("NEW")
    doc = trained.make_doc("dolor")
    doc.set_ents([spacy.tokens.Span(doc, 0, 1, label="NEW")])
    with pytest.raises(ValueError, match=r"NEW.*Initialize the pipeline again"):
        trained.update(make_examples(trained, [doc]))


def test_label_added_before_initialize_is_used():
    nlp = crf_pipeline()
    assert nlp.get_pipe("crf_ner").add_label("EXTRA") == 1
    nlp.initialize(lambda: make_examples(nlp, make_docs(nlp)))
    assert nlp.get_pipe("crf_ner").labels == ("EXTRA", "SITE", "TUMOUR")
    assert nlp.get_pipe("crf_ner").label_data == ["EXTRA", "SITE", "TUMOUR"]


def test_no_labels_is_a_clear_error():
    nlp = crf_pipeline()
    doc = nlp.make_doc("dolor")
    doc.set_ents([])
    with pytest.raises(ValueError, match="no labels"):
        nlp.initialize(lambda: make_examples(nlp, [doc]))


def test_prediction_before_initialize_is_a_clear_error():
    with pytest.raises(ValueError, match="initialize"):
        crf_pipeline()("dolor")


def test_given_entities_stay_unless_overwrite(trained):
    pipe = trained.get_pipe("crf_ner")
    doc = trained.make_doc("con carcinoma y tumor y dolor")
    predicted = ents(pipe(trained.make_doc(doc.text)))
    assert (1, 2, "TUMOUR") in predicted and (3, 4, "TUMOUR") in predicted
    doc.set_ents([spacy.tokens.Span(doc, 0, 2, label="RULE")])
    assert ents(pipe(doc)) == [(0, 2, "RULE"), (3, 4, "TUMOUR")]
    pipe.overwrite = True
    try:
        assert ents(pipe(doc)) == predicted
    finally:
        pipe.overwrite = False


def test_threshold_and_recall_bias(trained):
    pipe = trained.get_pipe("crf_ner")
    docs = make_docs(trained, 10, seed=11)

    def found():
        return sum(len(pipe(trained.make_doc(doc.text)).ents) for doc in docs)

    plain = found()
    try:
        pipe.recall_bias = 30.0
        assert found() > plain
        pipe.recall_bias = -30.0
        assert found() < plain
        pipe.recall_bias = 0.0
        pipe.threshold = 1.0
        assert found() < plain
    finally:
        pipe.recall_bias = pipe.threshold = 0.0
    with pytest.raises(ValueError, match="threshold"):
        crf_pipeline(threshold=1.5)


def test_temperature_changes_confidence_only(trained):
    pipe = trained.get_pipe("crf_ner")
    before = trained(TEXT)
    pipe.temperature = 5.0
    try:
        after = trained(TEXT)
        other = spacy.blank("es").from_config(trained.config).from_bytes(trained.to_bytes())
        assert other.get_pipe("crf_ner").temperature == 5.0
    finally:
        pipe.temperature = 1.0
    assert ents(before) == ents(after)
    assert all(a._.confidence < b._.confidence for a, b in zip(after.ents, before.ents))
    with pytest.raises(ValueError, match="temperature"):
        pipe.temperature = 0.0


def test_unannotated_examples_teach_nothing():
    nlp = crf_pipeline()
    examples = make_examples(nlp, make_docs(nlp))
    sgd = nlp.initialize(lambda: examples)
    before = nlp.to_bytes()
    doc = nlp.make_doc(TEXT)
    assert not doc.has_annotation("ENT_IOB")
    assert nlp.update([Example(nlp.make_doc(TEXT), doc)], sgd=sgd)["crf_ner"] == 0
    assert nlp.to_bytes() == before


def test_gold_on_other_tokens_is_aligned():
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=1)
    reference = Doc(nlp.vocab, words=["con", "carci", "noma", "y"], spaces=[True, False, True, False])
    reference.set_ents([spacy.tokens.Span(reference, 1, 3, label="TUMOUR")])
    example = Example(nlp.make_doc(reference.text), reference)
    pipe = nlp.get_pipe("crf_ner")
    assert [(s.start, s.end) for s in pipe._gold_on_predicted(example)] == [(1, 2)]


def test_loss_falls_and_averages_reach_the_torch_weights():
    nlp = crf_pipeline()
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.005, use_averages=True)
    history = []
    for _ in range(20):
        losses = {}
        nlp.update(examples, sgd=optimizer, losses=losses)
        history.append(losses["crf_ner"])
    assert history[-1] < history[0] / 2
    model = nlp.get_pipe("crf_ner").model
    docs = [eg.reference for eg in examples]
    plain = model.predict(docs)
    weight = model.shims[0].module.emission.weight.detach().clone()
    with nlp.use_params(optimizer.averages):
        assert not np.allclose(model.shims[0].module.emission.weight.detach(), weight)
        assert not np.allclose(model.predict(docs)[0], plain[0])
    assert np.array_equal(model.predict(docs)[0], plain[0])


def test_pipelines_saved_before_there_was_a_choice_of_decoder_still_load(trained):
    config = trained.config.copy()
    del config["components"]["crf_ner"]["model"]["decoder"]
    other = spacy.blank("es").from_config(config).from_bytes(trained.to_bytes())
    assert ents(other(TEXT)) == ents(trained(TEXT)) != []
    names = {name.partition(".")[0] for name in trained.get_pipe("crf_ner").model.shims[0].module.state_dict()}
    assert names == {"crf", "encoder", "emission"}
