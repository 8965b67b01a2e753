"""Frozen layers that run once a window: what is trained above them is what it would be if they ran every time."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from spacy_clinical_ner.bridge.array_file import ArrayFile
from spacy_clinical_ner.transformers.encoding import FramedWindow, WindowEncoder
from spacy_clinical_ner.transformers.frozen_layers import FrozenLayers
from spacy_clinical_ner.transformers.transformer_architectures import encoder_shim
from tests.transformers.encoders import make_encoder, trf_pipeline

WIDTH = 16
LAYERS = 3


@pytest.fixture(scope="module", params=["wordpiece", "bpe"])
def folder(request, tmp_path_factory):
    return make_encoder(request.param, tmp_path_factory.mktemp(request.param), layers=LAYERS)


def shim_of(folder, freeze_layers=2, **settings):
    nlp = trf_pipeline(folder, freeze_embeddings=True, freeze_layers=freeze_layers, **settings)
    return encoder_shim(nlp.get_pipe("transformer").model)


def no_dropout(module):
    for each in module.modules():
        for name in ("p", "dropout_prob"):
            if hasattr(each, name):
                setattr(each, name, 0.0)
    return module


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    made, row = [], 0
    for length in [5, 40, 12, 40, 3, 33, 8]:
        kept = np.sort(rng.choice(length, size=max(1, length // 2), replace=False))
        made.append(FramedWindow(rng.integers(5, 100, length), kept, row))
        row += len(kept)
    return made


def update(encoder, windows):
    encoder.module.zero_grad(set_to_none=True)
    vectors, backprop = encoder.begin_update(windows, WIDTH)
    backprop(torch.arange(vectors.numel()).reshape(vectors.shape) % 7 - 3.0)
    return vectors, {name: p.grad.clone() for name, p in encoder.module.named_parameters() if p.grad is not None}


def count_calls(layer):
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("freeze_layers", [1, 2])
def test_vectors_and_gradients_are_those_of_the_whole_encoder(folder, windows, freeze_layers, recompute):
    plain = shim_of(folder, freeze_layers, frozen_cache_gb=0.0, recompute=recompute)
    kept = shim_of(folder, freeze_layers, recompute=recompute)
    assert plain.encoder.frozen is None and kept.encoder.frozen.count == freeze_layers
    for shim in (plain, kept):
        no_dropout(shim.module)
    for _ in range(2):
        # The second time everything is read from the file; a window that is new then runs beside those that are not.
        vectors, gradients = update(plain.encoder, windows)
        found, found_gradients = update(kept.encoder, windows)
        torch.testing.assert_close(found, vectors, atol=1e-6, rtol=1e-5)
        assert found_gradients.keys() == gradients.keys() and gradients
        for name, gradient in gradients.items():
            torch.testing.assert_close(found_gradients[name], gradient, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(kept.encoder.predict(windows, WIDTH), vectors, atol=1e-6, rtol=1e-5)
        windows = [*windows, FramedWindow(np.arange(5, 43), np.arange(38), windows[-1].row + len(windows[-1].kept))]


def test_a_window_runs_through_frozen_layers_once(folder, windows):
    encoder = shim_of(folder).encoder
    update(encoder, windows)
    layer = encoder.frozen.layers[0]
    original, calls = layer.forward, []
    layer.attention.register_forward_hook(lambda *_: calls.append(1))
    update(encoder, windows[:3])
    encoder.predict(windows, WIDTH)
    assert calls == []
    assert layer.forward.__func__ is original.__func__
    update(encoder, [FramedWindow(np.arange(5, 15), np.arange(10), 0)])
    assert len(calls) == 1


def test_dropout_only_above_frozen_layers(folder, windows):
    encoder = shim_of(folder).encoder
    one, _ = update(encoder, windows)
    two, _ = update(encoder, windows)
    assert (one - two).abs().max() > 1e-3
    encoder = shim_of(folder, LAYERS).encoder
    one, _ = update(encoder, windows)
    two, _ = update(encoder, windows)
    torch.testing.assert_close(one, two, atol=0.0, rtol=0.0)


def test_trained_layers_are_not_taken_for_frozen_ones(folder, windows):
    """What is kept stays right while the layers above change."""
    shim = shim_of(folder)
    no_dropout(shim.module)
    update(shim.encoder, windows)
    with torch.no_grad():
        for parameter in shim.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    fresh = WindowEncoder(shim.module, 0, 1000)
    torch.testing.assert_close(
        shim.encoder.predict(windows, WIDTH), fresh.predict(windows, WIDTH), atol=1e-6, rtol=1e-5
    )


def test_prediction_alone_keeps_nothing(folder, windows):
    encoder = shim_of(folder).encoder
    encoder.predict(windows, WIDTH)
    assert len(encoder.frozen.kept) == 0


def test_embeddings_that_are_trained_are_not_kept(folder):
    nlp = trf_pipeline(folder, freeze_layers=2)
    assert encoder_shim(nlp.get_pipe("transformer").model).encoder.frozen is None


def test_a_file_that_is_full_keeps_no_more(folder, windows):
    shim = shim_of(folder)
    no_dropout(shim.module)
    wanted = shim.encoder.predict(windows, WIDTH)
    room = 4 * WIDTH * 50
    encoder = WindowEncoder(shim.module, 0, 1000, frozen=FrozenLayers(shim.encoder.frozen.layers, 2, ArrayFile(room)))
    for _ in range(2):
        torch.testing.assert_close(update(encoder, windows)[0], wanted, atol=1e-6, rtol=1e-5)
    assert 0 < len(encoder.frozen.kept) < len(windows)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda file: pickle.loads(pickle.dumps(file))])
def test_copies_start_empty(duplicate):
    file = ArrayFile(10**6)
    source, array = b"ids", np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    file.put(source, array)
    other = duplicate(file)
    assert len(other) == 0 and other.get(source) is None
    np.testing.assert_array_equal(file.get(source), array)
    assert file.get(b"others") is None


def test_a_failure_above_leaves_the_layers_as_they_were(folder, windows):
    encoder = shim_of(folder).encoder
    update(encoder, windows)
    top = encoder.frozen.layers[-1]

    def fail(*_):
        raise KeyError("above")

    hook = top.register_forward_pre_hook(fail)
    with pytest.raises(KeyError):
        encoder.begin_update(windows, WIDTH)
    hook.remove()
    assert all("forward" not in vars(layer) for layer in encoder.frozen.layers)
