"""The windows inside pipelines: listeners, training, saving, and what is freed when."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.loop import train_while_improving
from thinc.api import Adam

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.tagging.pooled_pipelines import pool_pipelines
from spacy_clinical_ner.tokenization import blank_pipeline
from spacy_clinical_ner.transformers.transformer_architectures import encoder_shim
from tests.tagging.pipelines import (
    crf_pipeline,
    ents,
    label_attention_config,
    make_docs,
    make_examples,
    model_config,
    train,
)
from tests.transformers.encoders import CHECK, LISTENER, tagging_pipeline, trained_tokenizer, trf_model

HARD = ["", " ", "\n\n", "😀", "carcinoma ductal", "tumor" + " " * 300 + "renal y tos", "x" * 500]


def add_tagger(nlp: Language, factory: str) -> None:
    if factory == "ner":
        model = {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 32,
            "maxout_pieces": 2,
            "use_upper": False,
            "tok2vec": LISTENER,
        }
    else:
        model = {"crf_ner": model_config, "label_attention_ner": label_attention_config}[factory](tok2vec=LISTENER)
    nlp.add_pipe(factory, config={"model": model})


@pytest.mark.parametrize("factory", ["crf_ner", "label_attention_ner", "ner"])
def test_taggers_learn_through_their_listener_and_round_trip(encoders, factory, tmp_path):
    nlp = tagging_pipeline(encoders["wordpiece"])
    nlp.remove_pipe("crf_ner")
    add_tagger(nlp, factory)
    examples = make_examples(nlp, make_docs(nlp))
    shim = encoder_shim(nlp.get_pipe("transformer").model)
    nlp.initialize(lambda: examples)
    before = {name: p.detach().clone() for name, p in shim.module.named_parameters()}
    train(nlp, examples, steps=80, learn_rate=0.01)
    # spaCy's ner learns more slowly here; that it learns at all is the point.
    assert nlp.evaluate(examples)["ents_f"] >= (0.5 if factory == "ner" else 1.0)
    moved = {name for name, p in shim.module.named_parameters() if not np.allclose(before[name], p.detach())}
    assert "embeddings.word_embeddings.weight" in moved, "the gradient must reach the encoder"
    texts = [*(doc.text for doc in make_docs(nlp, 3, seed=2)), *(HARD[1:] if factory == "ner" else HARD)]
    expected = [ents(nlp(text)) for text in texts]
    assert any(expected)
    assert [ents(doc) for doc in nlp.pipe(texts)] == expected
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    assert other.config["components"]["transformer"] == nlp.config["components"]["transformer"]
    assert [ents(doc) for doc in other.pipe(texts)] == expected
    again = tagging_pipeline(encoders["wordpiece"])
    if factory == "crf_ner":
        assert [ents(doc) for doc in again.from_bytes(nlp.to_bytes()).pipe(texts)] == expected
    component = pickle.loads(pickle.dumps(nlp.get_pipe("transformer")))
    doc = component(nlp.make_doc(texts[0]))
    one = nlp.get_pipe("transformer")(nlp.make_doc(texts[0]))
    np.testing.assert_array_equal(doc._.trf_data.tensors[0], one._.trf_data.tensors[0])


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_other_tokenizers_survive_saving_and_other_processes(encoders, kind, tmp_path):
    nlp = tagging_pipeline(encoders[kind])
    examples = make_examples(nlp, make_docs(nlp))
    train(nlp, examples, steps=5)
    nlp.to_disk(tmp_path)
    texts = [*(doc.text for doc in make_docs(nlp, 3, seed=2)), *HARD]
    expected = [ents(nlp(text)) for text in texts]
    other = spacy.load(tmp_path)
    assert [ents(doc) for doc in other.pipe(texts)] == expected
    assert [ents(doc) for doc in other.pipe(texts, n_process=2, batch_size=4)] == expected


def test_emissions_are_the_same_alone_and_with_others(encoder):
    nlp = tagging_pipeline(encoder, max_batch_pieces=128)
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    texts = [*HARD[1:], *(doc.text * 5 for doc in make_docs(nlp, 4, seed=3))]
    transformer, model = nlp.get_pipe("transformer"), nlp.get_pipe("crf_ner").model
    alone = [model.predict([transformer(nlp.make_doc(text))])[0] for text in texts]
    together = model.predict(list(transformer.pipe(nlp.make_doc(text) for text in texts)))
    for one, other in zip(alone, together):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_examples_without_annotations_pass_the_listener(encoders):
    nlp = tagging_pipeline(encoders["wordpiece"])
    docs = make_docs(nlp, 3)
    nlp.initialize(lambda: make_examples(nlp, docs))
    bare = Doc(nlp.vocab, words=["dolor", "leve"])
    unknown = Example(bare.copy(), bare)
    both, alone, nothing = {}, {}, {}
    examples = make_examples(nlp, docs)
    nlp.update([examples[0], unknown, *examples[1:]], sgd=False, losses=both)
    nlp.update(make_examples(nlp, docs), sgd=False, losses=alone)
    nlp.update([Example(bare.copy(), bare)], sgd=False, losses=nothing)
    assert both["crf_ner"] > 0
    assert both["crf_ner"] == pytest.approx(alone["crf_ner"], rel=0.2)  # but for dropout
    assert nothing["crf_ner"] == 0.0


def test_two_listeners_and_empty_notes_in_training(encoders):
    nlp = tagging_pipeline(encoders["wordpiece"])
    add_tagger(nlp, "label_attention_ner")
    examples = make_examples(nlp, make_docs(nlp, 3))
    examples.insert(1, Example(Doc(nlp.vocab), Doc(nlp.vocab)))
    blank = Doc(nlp.vocab, words=["\n"])
    blank.set_ents([])
    examples.append(Example(Doc(nlp.vocab, words=["\n"]), blank))
    losses = train(nlp, examples, steps=2)
    assert set(losses) == {"transformer", "crf_ner", "label_attention_ner"}


def test_replace_listeners(encoders, tmp_path):
    nlp = tagging_pipeline(encoders["bpe"], max_batch_pieces=512, rate=0.5)
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=30)
    texts = [*(doc.text for doc in make_docs(nlp, 3, seed=2)), *HARD]
    expected = [ents(nlp(text)) for text in texts]
    nlp.replace_listeners("transformer", "crf_ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    config = nlp.config["components"]["crf_ner"]["model"]["tok2vec"]
    assert config["@architectures"] == "spacy-clinical-ner.Tok2VecTransformer.v1"
    assert (config["rate"], config["max_batch_pieces"]) == (0.5, 512)
    assert [ents(nlp(text)) for text in texts] == expected
    nlp.to_disk(tmp_path)
    assert [ents(doc) for doc in spacy.load(tmp_path).pipe(texts)] == expected
    assert nlp.get_pipe("crf_ner").model.get_ref("tok2vec").layers[0].layers[0].copy().tokenizer is not None


BESIDE_WORDS = {
    "@architectures": "spacy-clinical-ner.Concatenate.v1",
    "*": {
        "words": {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": 8,
            "attrs": ["NORM"],
            "rows": [100],
            "include_static_vectors": False,
        },
        "transformer": {**LISTENER, "grad_factor": 0.5},
    },
}


def test_characters_behind_a_listener_and_an_empty_note(encoders):
    characters = {"@architectures": "spacy-clinical-ner.CharCNN.v1", "embed": LISTENER, "filters": 6}
    nlp = tagging_pipeline(encoders["wordpiece"], tagger={"tok2vec": characters})
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=2)
    docs = list(nlp.get_pipe("transformer").pipe(nlp.make_doc(text) for text in ("tumor renal", "")))
    assert [y.shape for y in nlp.get_pipe("crf_ner").model.get_ref("tok2vec").predict(docs)] == [(2, 22), (0, 22)]


def test_a_listener_beside_words_learns_and_can_be_replaced(encoders, tmp_path):
    nlp = tagging_pipeline(encoders["wordpiece"], tagger={"tok2vec": BESIDE_WORDS})
    before = encoder_shim(nlp.get_pipe("transformer").model).to_bytes()
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=30)
    assert encoder_shim(nlp.get_pipe("transformer").model).to_bytes() != before
    texts = [*(doc.text for doc in make_docs(nlp, 3, seed=2)), *HARD]
    expected = [ents(nlp(text)) for text in texts]
    assert any(expected)
    nlp.replace_listeners("transformer", "crf_ner", ["model.tok2vec.*.transformer"])
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert [ents(doc) for doc in loaded.pipe(texts)] == expected
    assert loaded.config["components"]["crf_ner"]["model"]["tok2vec"]["*"]["transformer"]["grad_factor"] == 0.5


@pytest.mark.parametrize("tok2vec", [LISTENER, BESIDE_WORDS])
def test_a_pool_takes_the_encoder_along(encoders, tmp_path, tok2vec):
    over_encoder = tagging_pipeline(encoders["wordpiece"], tagger={"tok2vec": tok2vec})
    over_encoder.add_pipe("trf_data_cleaner")
    over_words = crf_pipeline(1)
    for nlp in (over_encoder, over_words):
        train(nlp, make_examples(nlp, make_docs(nlp)), steps=15)
    texts = [doc.text for doc in make_docs(over_words, 3, seed=2)] + HARD
    docs = list(over_encoder.get_pipe("transformer").pipe(over_encoder.make_doc(text) for text in texts))
    expected = [
        (one + other) / 2
        for one, other in zip(
            over_encoder.get_pipe("crf_ner").model.predict(docs), over_words.get_pipe("crf_ner").model.predict(docs)
        )
    ]
    nlp = pool_pipelines([over_encoder, over_words])
    assert nlp.pipe_names == ["crf_ner"]
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    for array, other in zip(loaded.get_pipe("crf_ner").model.predict([loaded.make_doc(t) for t in texts]), expected):
        np.testing.assert_allclose(array, other, atol=1e-4)
    assert any(ents(doc) for doc in loaded.pipe(texts))


def test_a_pool_takes_an_encoder_and_a_tok2vec_along(encoders):
    tok2vec_listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 96}
    both = {"@architectures": "spacy-clinical-ner.Concatenate.v1", "*": {"one": LISTENER, "other": tok2vec_listener}}
    listening = tagging_pipeline(encoders["wordpiece"], tagger={"tok2vec": both})
    listening.add_pipe("tok2vec", before="crf_ner")
    over_words = crf_pipeline(1)
    for nlp in (listening, over_words):
        train(nlp, make_examples(nlp, make_docs(nlp)), steps=5)
    docs = [listening.make_doc(doc.text) for doc in make_docs(over_words, 3, seed=2)]
    for name in ("transformer", "tok2vec"):
        docs = list(listening.get_pipe(name).pipe(docs))
    taggers = [nlp.get_pipe("crf_ner").model for nlp in (listening, over_words)]
    expected = [(one + other) / 2 for one, other in zip(*(tagger.predict(docs) for tagger in taggers))]
    nlp = pool_pipelines([listening, over_words])
    assert nlp.pipe_names == ["crf_ner"]
    for array, other in zip(nlp.get_pipe("crf_ner").model.predict([nlp.make_doc(doc.text) for doc in docs]), expected):
        np.testing.assert_allclose(array, other, atol=1e-4)


def test_averaged_parameters_are_used(encoders):
    """spacy-transformers' own shim leaves them out: it looks for them under another key."""
    nlp = tagging_pipeline(encoders["wordpiece"])
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    optimizer = Adam(0.01, use_averages=True)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    module = nlp.get_pipe("transformer").model.transformer
    present = module.embeddings.word_embeddings.weight.detach().clone()
    with nlp.use_params(optimizer.averages):
        assert not np.allclose(module.embeddings.word_embeddings.weight.detach(), present)
    assert np.array_equal(module.embeddings.word_embeddings.weight.detach(), present)


def test_gradients_accumulate_over_the_parts_of_a_batch(encoders):
    """spaCy's accumulate_gradient = 2 moves the encoder once, by the sum of the gradients of both halves."""

    class Remember(Adam().__class__):
        def __call__(self, key, weights, gradient, *, lr_scale=1.0):
            seen.setdefault(key[1], []).append(gradient.copy())
            return weights, gradient

    def run(parts):
        nlp = tagging_pipeline(encoders["wordpiece"], {"dropout": 0.0})
        examples = sorted(make_examples(nlp, make_docs(nlp, 4)), key=lambda eg: len(eg.predicted))
        nlp.initialize(lambda: examples)
        for module in nlp.get_pipe("transformer").model.transformer.modules():
            for name in ("p", "dropout_prob"):
                if hasattr(module, name):
                    setattr(module, name, 0.0)
        optimizer = Remember(0.01, use_averages=False)
        if parts is None:
            for half in (examples[:2], examples[2:]):
                nlp.update(half, sgd=False)
            nlp.get_pipe("transformer").finish_update(optimizer)
            return
        loop = train_while_improving(
            nlp, optimizer, [(0, examples)], lambda: (0.0, {}), dropout=0.0, eval_frequency=10**6, patience=0,
            max_steps=1, accumulate_gradient=parts, exclude=[], annotating_components=[], before_update=None,
        )  # fmt: skip
        list(loop)

    seen: dict = {}
    run(2)
    accumulated, seen = seen, {}
    name = "encoder.layer.0.output.dense.weight"
    assert len(accumulated[name]) == 1
    run(None)
    np.testing.assert_allclose(accumulated[name][0], seen[name][0], atol=1e-5)
    seen = {}
    run(1)
    # Each half counts as a batch of its own, so the sum is about twice the gradient of the whole.
    np.testing.assert_allclose(accumulated[name][0], 2 * seen[name][0], atol=1e-4, rtol=1e-3)


def test_stored_vectors_are_freed_behind_the_last_listener(encoders):
    nlp = tagging_pipeline(encoders["wordpiece"])
    train(nlp, make_examples(nlp, make_docs(nlp)), steps=30)
    texts = [doc.text for doc in make_docs(nlp, 5, seed=2)]
    kept = list(nlp.pipe(texts))
    assert all(doc._.trf_data is not None for doc in kept)
    nlp.add_pipe("trf_data_cleaner")
    freed = list(nlp.pipe(texts))
    assert all(doc._.trf_data is None for doc in freed)
    assert [ents(doc) for doc in freed] == [ents(doc) for doc in kept] and any(map(ents, kept))
    examples = make_examples(nlp, make_docs(nlp))
    assert nlp.evaluate(examples)["ents_f"] > 0
    losses: dict = {}
    nlp.update(make_examples(nlp, make_docs(nlp)), losses=losses, annotates=["transformer"])
    assert losses["crf_ner"] > 0
    assert pickle.loads(pickle.dumps(nlp.get_pipe("trf_data_cleaner"))).name == "trf_data_cleaner"


def test_freeing_too_early_is_an_error_not_zeros(encoders, tmp_path):
    nlp = tagging_pipeline(encoders["wordpiece"])
    nlp.add_pipe("trf_data_cleaner", before="crf_ner")
    nlp.initialize(lambda: make_examples(nlp, make_docs(nlp, 2)))
    with pytest.raises(ClinicalNerError, match="'crf_ner' listens to the transformer: put 'trf_data_cleaner' behind"):
        nlp("dolor")


def test_batches_of_word_pieces(encoders):
    nlp = blank_pipeline("es")
    docs = [nlp.make_doc(text) for text in ["dolor " * 10, "x" * 300, "leve", "tos " * 40, "Hb" + " " * 900 + "9", ""]]
    examples = [Example(doc, doc.copy()) for doc in docs]
    tokenizer = trained_tokenizer("bpe")
    collapsed = ["Hb 9" if doc.text.startswith("Hb") else doc.text for doc in docs]
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in collapsed]
    assert counts[1] > 100 > counts[4]
    batcher = spacy.registry.batchers.get("spacy-clinical-ner.BatchByWordPieces.v1")(
        size=100, tokenizer=str(encoders["bpe"]), tolerance=0.0
    )
    for _ in range(2):  # the second time from memory
        batches = list(batcher(examples))
        assert sorted(examples.index(eg) for batch in batches for eg in batch) == list(range(len(docs)))
        for batch in batches:
            assert len(batch) == 1 or sum(counts[examples.index(eg)] for eg in batch) <= 100
        assert any(len(batch) > 1 for batch in batches)


def test_other_span_getters_are_refused(encoders):
    nlp = blank_pipeline("es")
    model = trf_model(encoders["bpe"])
    model["get_spans"] = {"@span_getters": "spacy-transformers.doc_spans.v1"}
    with pytest.raises(ValueError, match=r"WordPieceWindows\.v1"):
        nlp.add_pipe("transformer", config={"model": model, "set_extra_annotations": CHECK})


def test_other_models_refuse_these_windows(encoders):
    nlp = blank_pipeline("es")
    model = {**trf_model(encoders["bpe"]), "@architectures": "spacy-transformers.TransformerModel.v3"}
    nlp.add_pipe("transformer", config={"model": model})
    with pytest.raises(ValueError, match="use it as the get_spans of"):
        nlp.get_pipe("transformer").model.initialize([nlp.make_doc("hola")])


def test_the_same_seed_gives_the_same_result(encoders):
    def run():
        nlp = tagging_pipeline(encoders["wordpiece"], {"dropout": 0.2})
        train(nlp, make_examples(nlp, make_docs(nlp)), steps=3)
        return encoder_shim(nlp.get_pipe("transformer").model).module.state_dict()

    one, other = run(), run()
    assert all(np.array_equal(one[name], other[name]) for name in one)
