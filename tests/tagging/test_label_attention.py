"""What is special to `label_attention_ner`: the attention that it stores, and its picture."""

import pickle

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_clinical_ner import plotting
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.attention_plot import plot_label_attention
from spacy_clinical_ner.extensions import LabelAttention
from tests.tagging.pipelines import (
    crf_pipeline,
    ents,
    label_attention_config,
    make_docs,
    make_examples,
    model_config,
    spans,
    train,
)

TEXT = "paciente con carcinoma ductal y dolor . \n sin fiebre"
TAGS = ["O", "B-SITE", "I-SITE", "E-SITE", "S-SITE", "B-TUMOUR", "I-TUMOUR", "E-TUMOUR", "S-TUMOUR"]


@pytest.fixture(scope="module")
def trained():
    nlp = crf_pipeline(factory="label_attention_ner", model=label_attention_config())
    train(nlp, make_examples(nlp, make_docs(nlp)))
    return nlp


@pytest.fixture()
def storing(trained):
    pipe = trained.get_pipe("label_attention_ner")
    pipe.store_attention = True
    yield trained
    pipe.store_attention = False


def test_nothing_is_stored_unless_asked_for(trained):
    doc = trained(TEXT)
    assert doc._.label_attention is None
    assert doc.ents


def test_the_last_layer_says_what_is_decoded(storing):
    doc = storing(TEXT)
    weights, tags = doc._.label_attention.weights, doc._.label_attention.tags
    assert tags == TAGS
    assert weights.shape == (2, 5, len(doc), len(TAGS)) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert ents(doc) == [(2, 4, "TUMOUR")]
    best = [tags[i] for i in weights[-1, 0].argmax(-1)]
    assert best == ["E-TUMOUR" if i == 3 else "B-TUMOUR" if i == 2 else "O" for i in range(len(doc))]
    confidence = weights[-1, 0, 2, 5] * weights[-1, 0, 3, 7]
    assert doc.ents[0]._.confidence == pytest.approx(confidence, rel=1e-4)


@pytest.mark.parametrize("how", ["bytes", "docbin", "pickle", "n_process"])
def test_stored_attention_survives(storing, how):
    doc = storing(TEXT)
    if how == "bytes":
        other = Doc(storing.vocab).from_bytes(doc.to_bytes())
    elif how == "docbin":
        other = next(
            DocBin(store_user_data=True)
            .from_bytes(DocBin(store_user_data=True, docs=[doc]).to_bytes())
            .get_docs(storing.vocab)
        )
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(doc))
    else:
        other = next(iter(storing.pipe([TEXT, TEXT], n_process=2, batch_size=1)))
    assert other._.label_attention.tags == TAGS
    np.testing.assert_allclose(other._.label_attention.weights, doc._.label_attention.weights, atol=1e-6)


def test_notes_of_a_batch_get_their_own_weights(storing):
    texts = [TEXT, "", "tumor renal y tos", " ", TEXT[:30]] + [doc.text for doc in make_docs(storing, 3, seed=2)]
    for text, doc in zip(texts, storing.pipe(texts)):
        weights = doc._.label_attention.weights
        assert weights.shape == (2, 5, len(doc), len(TAGS))
        np.testing.assert_allclose(weights, storing(text)._.label_attention.weights, atol=1e-5)


def test_the_setting_is_saved(storing, tmp_path):
    config = storing.config.copy()
    config["components"]["label_attention_ner"]["store_attention"] = True
    nlp = spacy.blank("es").from_config(config).from_bytes(storing.to_bytes())
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(TEXT)._.label_attention is not None


def test_a_chain_for_each_label_has_tags_of_its_own():
    config = {"spans_key": "sc", "store_attention": True, "model": label_attention_config(scheme="BIO")}
    nlp = crf_pipeline(factory="label_attention_ner", **config)
    train(nlp, make_examples(nlp, make_docs(nlp, spans_key="sc")), steps=60)
    doc = nlp(TEXT)
    weights, tags = doc._.label_attention.weights, doc._.label_attention.tags
    assert tags == ["O-SITE", "B-SITE", "I-SITE", "O-TUMOUR", "B-TUMOUR", "I-TUMOUR"]
    assert spans(doc, "sc") == {(3, 4, "SITE"), (2, 4, "TUMOUR")}
    assert tags[weights[-1, 0, 3, :3].argmax()] == "B-SITE" and tags[3 + weights[-1, 0, 3, 3:].argmax()] == "I-TUMOUR"
    np.testing.assert_allclose(weights[-1, 0].sum(-1), 2.0, rtol=1e-5)


def test_attention_of_other_tokens_is_no_attention(storing):
    doc = storing(TEXT)
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[2:4])
    assert doc._.label_attention is None
    with pytest.raises(ValueError, match="shape"):
        doc._.label_attention = LabelAttention(np.zeros((1, 1, len(doc), 2)), ["O"])


@pytest.mark.parametrize("settings", [{"layers": 0}, {"heads": 3}, {"heads": 0}, {"decoder": "beam"}, {"window": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=r"layer|decoder|window"):
        crf_pipeline(factory="label_attention_ner", model=label_attention_config(**settings))


def test_another_model_has_no_attention_to_store():
    nlp = crf_pipeline(factory="label_attention_ner", model=model_config(), store_attention=True)
    nlp.initialize(lambda: make_examples(nlp, make_docs(nlp, 2)))
    with pytest.raises(ValueError, match="LabelAttentionTagger"):
        nlp(TEXT)


def test_plot(storing, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    saved = []
    save = plotting.save_figure
    monkeypatch.setattr(
        plotting, "save_figure", lambda figure, path: (saved.append(figure.axes[0]), save(figure, path))
    )
    doc = storing("coste $5 y $6 con carcinoma ductal y tos \n leve")
    weights = doc._.label_attention.weights
    plot_label_attention(doc, tmp_path / "a.png", 1, len(doc))
    plot_label_attention(doc, tmp_path / "b.png", 0, 3, layer=0)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [label.get_text() for label in saved[0].get_xticklabels()] == TAGS
    shown = [label.get_text() for label in saved[0].get_yticklabels()]
    assert shown == [t.text if not t.is_space else "\\n" for t in doc][1:]
    np.testing.assert_allclose(saved[0].images[0].get_array(), weights[-1].mean(0)[1:])
    np.testing.assert_allclose(saved[1].images[0].get_array(), weights[0].mean(0)[:3])
    assert "layer 1 of 2" in saved[1].get_title()


def test_plot_of_what_is_not_there(trained, storing, tmp_path):
    doc = storing(TEXT)
    for arguments in [(0, 0), (3, 2), (0, len(doc) + 1), (0, 1, 2), (0, 1, -3)]:
        with pytest.raises(ValueError, match=r"no tokens|no layer"):
            plot_label_attention(doc, tmp_path / "a.png", *arguments)
    with pytest.raises(ClinicalNerError, match="store_attention"):
        plot_label_attention(trained.make_doc(TEXT), tmp_path / "a.png", 0, 1)
    assert not list(tmp_path.iterdir())
