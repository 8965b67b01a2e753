"""Batches of windows, memory that runs out, recomputing, freezing and learning rates: none of them changes a result."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import pytest
import torch
from thinc.api import Optimizer

from spacy_clinical_ner.bridge import memory, precision
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.transformers import encoding, shim
from spacy_clinical_ner.transformers.encoding import FramedWindow, WindowEncoder, is_out_of_memory
from spacy_clinical_ner.transformers.transformer_architectures import encoder_shim
from tests.transformers.encoders import make_encoder, trained_tokenizer, trf_pipeline

WIDTH = 16


@pytest.fixture(scope="module")
def module(encoders):
    return trf_pipeline(encoders["wordpiece"]).get_pipe("transformer").model.transformer


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    made, row = [], 0
    for length in [5, 40, 12, 40, 3, 33, 8, 40, 21, 2]:
        kept = np.sort(rng.choice(length, size=max(1, length // 2), replace=False))
        made.append(FramedWindow(rng.integers(5, 100, length), kept, row))
        row += len(kept)
    return made


def gradients(module):
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def train_step(encoder):
    """Vectors and gradients of one update, whose gradient is that of a fixed weighted sum."""

    def step(windows):
        encoder.module.zero_grad(set_to_none=True)
        vectors, backprop = encoder.begin_update(windows, WIDTH)
        backprop(torch.arange(vectors.numel()).reshape(vectors.shape) % 7 - 3.0)
        return vectors, gradients(encoder.module)

    return step


def assert_same(one, other, atol=1e-4):
    assert one.keys() == other.keys() and one
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=atol, rtol=1e-4)


@pytest.fixture
def no_dropout(module):
    places = [(each, name) for each in module.modules() for name in ("p", "dropout_prob") if hasattr(each, name)]
    probabilities = [getattr(*place) for place in places]
    for each, name in places:
        setattr(each, name, 0.0)
    yield
    for (each, name), value in zip(places, probabilities):
        setattr(each, name, value)


def expected(module, windows):
    """One window after the other, by plain autograd."""
    module.train()
    parts = [
        module(input_ids=torch.from_numpy(w.ids)[None]).last_hidden_state[0][torch.from_numpy(w.kept)] for w in windows
    ]
    vectors = torch.cat(parts)
    vectors.backward(torch.arange(vectors.numel()).reshape(vectors.shape) % 7 - 3.0)
    return vectors.detach(), gradients(module)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("max_pieces", [1, 80, 10_000])
def test_any_batches_give_the_same_vectors_and_gradients(module, windows, no_dropout, max_pieces, recompute):
    vectors, wanted = expected(module, windows)
    encoder = WindowEncoder(module, 0, max_pieces, recompute)
    found, gradient = train_step(encoder)(windows)
    torch.testing.assert_close(found, vectors, atol=1e-5, rtol=1e-4)
    assert_same(gradient, wanted)
    torch.testing.assert_close(encoder.predict(windows, WIDTH), vectors, atol=1e-5, rtol=1e-4)


def test_recomputing_drops_out_the_same(module, windows):
    """With dropout, the recomputed forward pass must be the one whose vectors were handed out."""
    results = []
    for recompute in (False, True):
        torch.manual_seed(3)
        results.append(train_step(WindowEncoder(module, 0, 80, recompute))(windows))
        after = torch.rand(1)
    torch.testing.assert_close(results[0][0], results[1][0])
    assert_same(results[0][1], results[1][1], atol=1e-5)
    torch.manual_seed(3)
    train_step(WindowEncoder(module, 0, 80))(windows)
    torch.testing.assert_close(torch.rand(1), after)


def test_gradients_of_several_updates_add_up(module, windows, no_dropout):
    encoder = WindowEncoder(module, 0, 80)
    _, one = train_step(encoder)(windows)
    module.zero_grad(set_to_none=True)
    for _ in range(2):
        vectors, backprop = encoder.begin_update(windows, WIDTH)
        backprop(torch.arange(vectors.numel()).reshape(vectors.shape) % 7 - 3.0)
    assert_same(gradients(module), {name: 2 * value for name, value in one.items()}, atol=1e-3)


class Memory:
    """Makes a module run out of memory as one with room for so many windows of activations would."""

    def __init__(self, module, room, error=torch.cuda.OutOfMemoryError, held=False):
        self.module = module
        self.room = room
        self.error = error
        self.held = held  # whether the activations of earlier batches count, too
        self.failures = 0
        self.largest = 0
        self.taken = 0

    def __enter__(self):
        forward = self.module.forward

        def limited(input_ids, attention_mask):
            taken = self.taken if self.held and torch.is_grad_enabled() else 0
            if len(input_ids) + taken > self.room:
                self.failures += 1
                raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
            self.largest = max(self.largest, len(input_ids))
            if torch.is_grad_enabled():
                self.taken += len(input_ids)
            return forward(input_ids=input_ids, attention_mask=attention_mask)

        self.module.forward = limited
        return self

    def __exit__(self, *exception):
        del self.module.forward


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, RuntimeError, MemoryError])
@pytest.mark.parametrize("room", [1, 2])
def test_a_batch_without_memory_is_halved_and_tried_again(module, windows, no_dropout, error, room, caplog):
    vectors, wanted = expected(module, windows)
    with Memory(module, room, error) as memory:
        encoder = WindowEncoder(module, 0, 10_000)
        torch.testing.assert_close(encoder.predict(windows, WIDTH), vectors, atol=1e-5, rtol=1e-4)
        assert memory.failures and memory.largest == room
        assert encoder.max_pieces < 10_000
        failures = memory.failures
        encoder.predict(windows, WIDTH)
        assert memory.failures - failures < failures, "what was learned must last"
        encoder = WindowEncoder(module, 0, 10_000)
        found, gradient = train_step(encoder)(windows)
    torch.testing.assert_close(found, vectors, atol=1e-5, rtol=1e-4)
    assert_same(gradient, wanted)
    assert "Out of memory" in caplog.text


def test_activations_are_given_up_before_a_run_is(module, windows, no_dropout):
    """Room for three windows of activations in all: the update is only possible if earlier batches are let go."""
    vectors, wanted = expected(module, windows)
    with Memory(module, 3, held=True) as memory:
        encoder = WindowEncoder(module, 0, 80)
        module.zero_grad(set_to_none=True)
        found, backprop = encoder.begin_update(windows, WIDTH)
        assert memory.failures and encoder.recompute
        memory.held = False  # from here on, each batch is gone before the next comes
        backprop(torch.arange(found.numel()).reshape(found.shape) % 7 - 3.0)
    torch.testing.assert_close(found, vectors, atol=1e-5, rtol=1e-4)
    assert_same(gradients(module), wanted)


def test_memory_that_runs_out_in_the_backward_pass(module, windows, no_dropout, monkeypatch):
    _, wanted = expected(module, windows)
    grad = torch.autograd.grad
    failures = []

    def failing(outputs, *args, **kwargs):
        if len(outputs) > 30:
            failures.append(len(outputs))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return grad(outputs, *args, **kwargs)

    monkeypatch.setattr(encoding.torch.autograd, "grad", failing)
    _, gradient = train_step(WindowEncoder(module, 0, 10_000))(windows)
    assert len(failures) > 1
    assert_same(gradient, wanted)


def test_a_single_window_without_memory_and_other_errors_are_raised(module, windows):
    with Memory(module, 0), pytest.raises(torch.cuda.OutOfMemoryError):
        WindowEncoder(module, 0, 10_000).predict(windows, WIDTH)
    with Memory(module, 0), pytest.raises(torch.cuda.OutOfMemoryError):
        WindowEncoder(module, 0, 10_000).begin_update(windows, WIDTH)
    bad = [FramedWindow(np.array([10**6]), np.array([0]), 0)] * 2
    with pytest.raises(IndexError):
        WindowEncoder(module, 0, 10_000).predict(bad, WIDTH)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_mixed_precision_is_for_training_where_the_device_has_it(module, windows, monkeypatch):
    def vectors(mixed, bfloat16, train=False):
        monkeypatch.setattr(precision, "has_bfloat16", lambda device: bfloat16)
        encoder = WindowEncoder(module, 0, 80, mixed_precision=mixed)
        torch.manual_seed(0)  # of dropout
        return encoder.begin_update(windows, WIDTH)[0] if train else encoder.predict(windows, WIDTH)

    plain = vectors(False, True)
    assert torch.equal(vectors(True, True), plain)  # oneDNN is what would use it, and is not used to predict
    plain = vectors(False, True, train=True)
    assert torch.equal(vectors(True, False, train=True), plain)
    rough = vectors(True, True, train=True)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, plain)
    torch.testing.assert_close(rough, plain, atol=0.1, rtol=0.1)


def test_gradients_in_mixed_precision_are_near_those_in_full(module, windows, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    found = []
    for mixed in (False, True):
        torch.manual_seed(0)  # of dropout
        found.append(train_step(WindowEncoder(module, 0, 80, mixed_precision=mixed))(windows)[1])
    assert found[0].keys() == found[1].keys()
    plain, mixed = (torch.cat([each.flatten() for each in gradients.values()]) for gradients in found)
    assert mixed.dtype == torch.float32
    assert not torch.equal(mixed, plain)
    assert torch.cosine_similarity(mixed, plain, dim=0) > 0.99


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return {
        kind: make_encoder(kind, tmp_path_factory.mktemp(kind), layers=3) for kind in ("wordpiece", "sentencepiece")
    }


class Sgd(Optimizer):
    """Steps of exactly learning rate times gradient."""

    def __init__(self):
        super().__init__(0.5, beta1=0.0, beta2=0.0, grad_clip=0.0, use_averages=False)


def steps_taken(nlp):
    """How far each parameter moves for a gradient of one."""
    shim = encoder_shim(nlp.get_pipe("transformer").model)
    before = {name: p.detach().clone() for name, p in shim.module.named_parameters()}
    for parameter in shim.module.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    nlp.get_pipe("transformer").finish_update(Sgd())
    moved = {}
    for name, parameter in shim.module.named_parameters():
        (step,) = {round(value, 5) for value in (before[name] - parameter).flatten().tolist()}
        moved[name] = step
    return moved


def test_rates_fall_layer_by_layer(deep):
    moved = steps_taken(trf_pipeline(deep["wordpiece"], rate=0.2, layer_decay=0.5))
    base = 0.5 * 0.2
    for name, step in moved.items():
        if name.startswith("embeddings."):
            assert step == pytest.approx(base / 8), name
        elif name.startswith("encoder.layer."):
            assert step == pytest.approx(base / 2 ** (2 - int(name.split(".")[2]))), name
        else:
            assert step == pytest.approx(base), name
    assert {name.split(".")[2] for name in moved if name.startswith("encoder.layer.")} == {"0", "1", "2"}


def test_without_settings_the_optimizers_rate_is_everybodys(deep):
    for folder in deep.values():
        assert set(steps_taken(trf_pipeline(folder)).values()) == {0.5}


def test_freezing(deep):
    moved = steps_taken(trf_pipeline(deep["wordpiece"], freeze_embeddings=True, freeze_layers=2))
    still = {name for name, step in moved.items() if step == 0.0}
    assert still == {name for name in moved if name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))}
    moved = steps_taken(trf_pipeline(deep["sentencepiece"], freeze_embeddings=True))
    still = {name for name, step in moved.items() if step == 0.0}
    assert still and all("embedding" in name for name in still)


@pytest.mark.parametrize("name", ["DistilBert", "Deberta", "DebertaV2"])
def test_other_encoders(name, tmp_path):
    """Their layers and positions are found, too."""
    import transformers

    trained_tokenizer("wordpiece").save_pretrained(tmp_path)
    sizes = {"vocab_size": 700, "max_position_embeddings": 40, "relative_attention": True, "pos_att_type": ["p2c"]}
    sizes |= (
        {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}
        if name == "DistilBert"
        else {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    )
    getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes)).save_pretrained(tmp_path)
    nlp = trf_pipeline(tmp_path, window=1000, overlap=8, rate=0.5, layer_decay=0.5, freeze_embeddings=True)
    doc = nlp("carcinoma ductal y fiebre leve " * 50)
    assert encoder_shim(nlp.get_pipe("transformer").model).room == 40
    assert min(doc._.trf_data.align.lengths) > 0
    rates = encoder_shim(nlp.get_pipe("transformer").model).rates
    assert not any(name.startswith("embeddings.") for name in rates)
    layers = {name.split("layer.")[1].split(".")[0]: rate for name, rate in rates.items() if "layer." in name}
    assert layers == {"0": 0.125, "1": 0.25, "2": 0.5}
    assert nlp.from_bytes(nlp.to_bytes())("dolor")._.trf_data.tensors[0].shape[-1] == 16


def test_impossible_settings_are_told(deep):
    with pytest.raises(ClinicalNerError, match="freeze_layers is 4, but the encoder has 3 layers"):
        trf_pipeline(deep["wordpiece"], freeze_layers=4)
    for settings in ({"freeze_layers": 1}, {"layer_decay": 0.9}):
        with pytest.raises(ClinicalNerError, match="layers of AlbertModel cannot be told apart"):
            trf_pipeline(deep["sentencepiece"], **settings)
    with pytest.raises(ValueError, match="max_batch_pieces must be at least 1"):
        trf_pipeline(deep["wordpiece"], max_batch_pieces=0)
    with pytest.raises(ClinicalNerError, match="no/such/encoder' is no folder with one and cannot be fetched"):
        trf_pipeline("no/such/encoder")


def test_predicting_leaves_no_code_of_onednn_behind(module, windows, monkeypatch):
    enabled = []
    forward = type(module).forward

    def watched(self, *args, **kwargs):
        enabled.append(torch.backends.mkldnn.enabled)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(module), "forward", watched)
    encoder = WindowEncoder(module, 0, 64)
    vectors = encoder.predict(windows, WIDTH)
    assert enabled and not any(enabled)
    assert torch.backends.mkldnn.enabled
    with torch.no_grad():
        torch.testing.assert_close(encoder._forward(windows[:1]), vectors[: len(windows[0].kept)], atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(type(module), "forward", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        encoder.predict(windows, WIDTH)
    assert torch.backends.mkldnn.enabled


def test_freed_memory_goes_back_to_the_system_now_and_then(encoders, monkeypatch):
    calls = []
    monkeypatch.setattr(shim, "give_back_memory", lambda: calls.append(1))
    held = encoder_shim(trf_pipeline(encoders["wordpiece"]).get_pipe("transformer").model)
    optimizer = Optimizer(0.001)
    for _ in range(2 * shim.UPDATES_TO_TRIM):
        held.finish_update(optimizer)
    assert len(calls) == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to give memory back")
def test_what_was_freed_in_pieces_is_given_back():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    memory.give_back_memory()
    before = resident()
    blocks = [np.ones(12_500) for _ in range(2000)]  # 100 kB each, which glibc takes from its heap: 190 MiB
    del blocks[:-1]  # the last one keeps the heap from shrinking by itself
    memory.give_back_memory()
    assert resident() - before < 60
