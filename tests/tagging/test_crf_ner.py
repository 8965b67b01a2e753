import numpy as np
import pytest
import spacy
from spacy.tokens import Doc
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
    train,
)

TEXT = "paciente con carcinoma ductal y dolor por metástasis y tos . \n sin fiebre"


@pytest.fixture(scope="module")
def trained():
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)))
    return nlp


@pytest.mark.parametrize(
    "scheme, encoder",
    [("BIO", None), ("BIO", BILSTM), ("BIO", IDCNN), ("BIOES", None), ("BIOES", IDCNN)],
    ids=lambda part: part if isinstance(part, str) else "none" if part is None else part["@architectures"],
)
def test_learns_ten_documents_by_heart(scheme, encoder):
    """BIOES over a BiLSTM is the case of `tests/components`."""
    nlp = crf_pipeline(model=model_config(encoder, scheme=scheme))
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=120, learn_rate=0.005)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
    assert set(nlp.evaluate(examples)["ents_per_type"]) == {"TUMOUR", "SITE"}


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


def test_gold_on_other_tokens_is_aligned():
    nlp = crf_pipeline()
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=1)
    reference = Doc(nlp.vocab, words=["con", "carci", "noma", "y"], spaces=[True, False, True, False])
    reference.set_ents([spacy.tokens.Span(reference, 1, 3, label="TUMOUR")])
    example = Example(nlp.make_doc(reference.text), reference)
    pipe = nlp.get_pipe("crf_ner")
    names = pipe.scheme.tags(pipe.labels)
    assert [names[tag] for tag in pipe._gold_tags(example)[0]] == ["O", "S-TUMOUR", "O"]


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
