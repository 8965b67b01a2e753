"""8-bit prediction: close to float32, turned on and off after training, never used in training; float16 on disk."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import spacy
import torch
from torch.ao.nn.quantized.dynamic import Linear as DynamicLinear

from spacy_clinical_ner.transformers.encoding import FramedWindow, WindowEncoder
from spacy_clinical_ner.transformers.int8 import to_int8, use_int8
from spacy_clinical_ner.transformers.transformer_architectures import encoder_shim
from tests.tagging.pipelines import ents, make_docs, make_examples, train
from tests.transformers.encoders import tagging_pipeline, trf_pipeline

WIDTH = 16


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    return [FramedWindow(rng.integers(5, 100, 20), np.arange(20), 20 * number) for number in range(6)]


@pytest.fixture
def module(encoders):
    return encoder_shim(trf_pipeline(encoders["wordpiece"]).get_pipe("transformer").model).module


def integer_layers(module):
    return [each for each in module.modules() if isinstance(each, DynamicLinear)]


def test_vectors_are_close_and_not_the_same(module, windows):
    exact = WindowEncoder(module, 0, 60).predict(windows, WIDTH)
    rounded = WindowEncoder(module, 0, 60, int8=True).predict(windows, WIDTH)
    assert torch.nn.functional.cosine_similarity(exact, rounded).min() > 0.99
    assert (exact - rounded).abs().max() > 1e-6
    linear = [each for each in module.modules() if isinstance(each, torch.nn.Linear)]
    assert len(integer_layers(to_int8(module))) == len(linear) > 0
    assert not integer_layers(module)


def test_training_is_that_of_float32(module, windows):
    results = []
    for int8 in (False, True):
        encoder = WindowEncoder(module, 0, 60, int8=int8)
        encoder.predict(windows, WIDTH)
        torch.manual_seed(0)
        module.zero_grad(set_to_none=True)
        vectors, backprop = encoder.begin_update(windows, WIDTH)
        backprop(torch.ones_like(vectors))
        results.append((vectors, [p.grad.clone() for p in module.parameters() if p.grad is not None]))
    torch.testing.assert_close(results[0], results[1], atol=0.0, rtol=0.0)
    assert results[0][1]


@pytest.mark.parametrize("how", ["in place", "other tensor"])
def test_the_copy_follows_the_weights(module, windows, how):
    encoder = WindowEncoder(module, 0, 60, int8=True)
    before = encoder.predict(windows, WIDTH)
    torch.testing.assert_close(encoder.predict(windows, WIDTH), before, atol=0.0, rtol=0.0)
    weight = module.encoder.layer[-1].output.dense.weight
    with torch.no_grad():
        if how == "in place":
            weight.mul_(100.0)
        else:
            weight.data = weight.data * 100.0
    after = encoder.predict(windows, WIDTH)
    assert (after - before).abs().max() > 1e-2
    assert torch.equal(after, WindowEncoder(module, 0, 60, int8=True).predict(windows, WIDTH))


def trained(encoders, **settings):
    nlp = tagging_pipeline(encoders["wordpiece"], **settings)
    examples = make_examples(nlp, make_docs(nlp))
    nlp.initialize(lambda: examples)
    train(nlp, examples, steps=60, learn_rate=0.01)
    return nlp, [example.reference.text for example in examples]


def encoder_vectors(nlp, text):
    doc = nlp.get_pipe("transformer")(nlp.make_doc(text))
    return doc._.trf_data.model_output.last_hidden_state


def test_a_trained_pipeline_turns_it_on_and_off(encoders, tmp_path):
    nlp, texts = trained(encoders)
    exact, found = encoder_vectors(nlp, texts[0]), [ents(nlp(text)) for text in texts]
    assert any(found)
    nlp.to_disk(tmp_path / "float")
    by_config = spacy.load(tmp_path / "float", config={"components.transformer.model.int8": True})
    assert use_int8(nlp) == 1
    rounded = encoder_vectors(nlp, texts[0])
    np.testing.assert_array_equal(encoder_vectors(by_config, texts[0]), rounded)
    assert np.abs(rounded - exact).max() > 0
    assert sum(ents(nlp(text)) == wanted for text, wanted in zip(texts, found)) >= len(texts) - 1
    nlp.to_disk(tmp_path / "int8")
    np.testing.assert_array_equal(encoder_vectors(spacy.load(tmp_path / "int8"), texts[0]), rounded)
    np.testing.assert_array_equal(encoder_vectors(copy.deepcopy(nlp), texts[0]), rounded)
    assert use_int8(nlp, on=False) == 1
    np.testing.assert_array_equal(encoder_vectors(nlp, texts[0]), exact)


def test_an_encoder_inside_a_component_too(encoders, tmp_path):
    nlp, texts = trained(encoders)
    nlp.replace_listeners("transformer", "crf_ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    found = [ents(nlp(text)) for text in texts]
    assert use_int8(nlp) == 1
    nlp.to_disk(tmp_path)
    other = spacy.load(tmp_path)
    assert other.config["components"]["crf_ner"]["model"]["tok2vec"]["int8"] is True
    assert [ents(other(text)) for text in texts] == [ents(nlp(text)) for text in texts]
    assert sum(ents(nlp(text)) == wanted for text, wanted in zip(texts, found)) >= len(texts) - 1


def test_weights_stored_in_half_precision_take_half_the_room(encoders, tmp_path):
    nlp, texts = trained(encoders)
    nlp.to_disk(tmp_path / "whole")
    spacy.load(tmp_path / "whole", config={"components.transformer.model.store_float16": True}).to_disk(
        tmp_path / "half"
    )
    sizes = [(tmp_path / name / "transformer" / "model").stat().st_size for name in ("whole", "half")]
    weights = sum(p.numel() for p in encoder_shim(nlp.get_pipe("transformer").model).module.parameters())
    assert sizes[0] - sizes[1] == pytest.approx(2 * weights, rel=0.1)  # and what aligns them in the file
    other = spacy.load(tmp_path / "half")
    np.testing.assert_allclose(encoder_vectors(other, texts[0]), encoder_vectors(nlp, texts[0]), atol=5e-3)
    assert encoder_shim(other.get_pipe("transformer").model).module.dtype == torch.float32
    assert [ents(other(text)) for text in texts] == [ents(nlp(text)) for text in texts]
