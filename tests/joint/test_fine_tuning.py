"""What `joint_extractor` takes from `transformers/`: recomputing, halving of batches, freezing and rates by layer."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import load_model_from_config
from thinc.api import Optimizer

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.joint import joint_architectures
from spacy_clinical_ner.joint.joint_architectures import network
from spacy_clinical_ner.layers.focused_attention import FocusedEncoder
from tests.joint.pipelines import TINY, joint_pipeline, model_config
from tests.relations.pipelines import make_docs, make_examples
from tests.transformers.encoders import make_encoder

DROPS_OUT = {**TINY, "dropout": 0.2}
ENCODER = "encoder.model."


def initialized(**settings: Any) -> Language:
    nlp = joint_pipeline(model=model_config(**settings))
    nlp.initialize(lambda: make_examples(make_docs(nlp, 3), mentions=False))
    return nlp


def module_of(nlp: Language) -> torch.nn.Module:
    return network(nlp.get_pipe("joint_extractor").model)


def everything(doc: Doc) -> list[tuple]:
    """Entities and relations, each with its probability at the end."""
    entities = [(span.start, span.end, span.label_, span._.confidence) for span in doc.ents]
    return entities + [(r.label, r.head.start, r.head.end, r.tail.start, r.tail.end, r.score) for r in doc._.relations]


def gradients(nlp: Language, notes: int = 3) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one update, always with the same dropout."""
    module = module_of(nlp)
    module.zero_grad()
    torch.manual_seed(0)
    losses = nlp.get_pipe("joint_extractor").update(make_examples(make_docs(nlp, notes), mentions=False))
    return losses["joint_extractor"], {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def assert_same(one: tuple, other: tuple, atol: float = 1e-6) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=atol, rtol=1e-4)


@pytest.mark.parametrize("mask", ["eq13", "eq14"])
def test_recomputing_changes_no_gradient(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = initialized(encoder=DROPS_OUT, dropout=0.1, mask=mask)
    kept = gradients(nlp)
    calls = []
    full = FocusedEncoder._full
    monkeypatch.setattr(FocusedEncoder, "_full", lambda *inputs: calls.append(1) or full(*inputs))
    gradients(nlp)
    once = len(calls)
    module_of(nlp).encoder.recompute = True
    calls.clear()
    assert_same(gradients(nlp), kept)
    assert len(calls) == 2 * once > 0


class Memory:
    """Makes an encoder run out of memory over more than so many word pieces, or while it keeps its activations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pieces: int, recomputed: bool = False) -> None:
        self.failures = 0
        shared = FocusedEncoder.shared

        def limited(encoder: FocusedEncoder, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            if ids.numel() > pieces or (recomputed and encoder.training and not encoder.recompute):
                self.failures += 1
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return shared(encoder, ids, mask)

        monkeypatch.setattr(FocusedEncoder, "shared", limited)


def test_batches_are_halved_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    nlp = initialized(window=60)
    docs = make_docs(nlp, 12, seed=3)
    wanted = [everything(doc) for doc in nlp.pipe([doc.copy() for doc in docs])]
    trained = gradients(nlp, 12)
    for training in (False, True):
        nlp.get_pipe("joint_extractor").model.attrs["max_batch_pieces"] = 8192
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            memory = Memory(patch, 100)
            if training:
                assert_same(gradients(nlp, 12), trained, atol=1e-5)
            else:
                found = [everything(doc) for doc in nlp.pipe([doc.copy() for doc in docs])]
                for one, other in zip(found, wanted):
                    assert len(one) == len(other)
                    for (*what, how_sure), (*wanted_what, as_sure) in zip(one, other):
                        assert what == wanted_what
                        assert how_sure == pytest.approx(as_sure, abs=1e-5)
            assert memory.failures > 1
        assert nlp.get_pipe("joint_extractor").model.attrs["max_batch_pieces"] <= 128
    assert "Out of memory" in caplog.text


def test_activations_are_given_up_before_batches_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = initialized(encoder=DROPS_OUT)
    kept = gradients(nlp)
    memory = Memory(monkeypatch, 10**6, recomputed=True)
    assert_same(gradients(nlp), kept)
    assert memory.failures == 1 and module_of(nlp).encoder.recompute
    assert nlp.get_pipe("joint_extractor").model.attrs["max_batch_pieces"] == 8192


def test_memory_that_runs_out_in_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass is done again with the same dropout, and nothing of the failed one is left."""
    nlp = initialized(encoder=DROPS_OUT)
    kept = gradients(nlp)
    add = joint_architectures.add_gradients
    failures = []

    def failing(*inputs: Any) -> None:
        if not failures:
            failures.append(1)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        add(*inputs)

    monkeypatch.setattr(joint_architectures, "add_gradients", failing)
    assert_same(gradients(nlp), kept)
    assert failures


def test_a_single_window_without_memory_and_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = initialized()
    with monkeypatch.context() as patch:
        Memory(patch, 0)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            nlp.get_pipe("joint_extractor").predict(make_docs(nlp, 1))
    monkeypatch.setattr(FocusedEncoder, "shared", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nlp.get_pipe("joint_extractor").predict(make_docs(nlp, 1))


class Sgd(Optimizer):
    """Steps of exactly learning rate times gradient."""

    def __init__(self) -> None:
        super().__init__(0.5, beta1=0.0, beta2=0.0, grad_clip=0.0, use_averages=False)


def steps_taken(nlp: Language) -> dict[str, float]:
    """How far each parameter moves for a gradient of one."""
    module = module_of(nlp)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    nlp.get_pipe("joint_extractor").finish_update(Sgd())
    moved = {}
    for name, parameter in module.named_parameters():
        (moved[name],) = {round(value, 5) for value in (before[name] - parameter).flatten().tolist()}
    return moved


def test_rates_fall_layer_by_layer_and_both_output_layers_keep_theirs() -> None:
    for name, step in steps_taken(initialized(rate=0.2, layer_decay=0.5)).items():
        below = 2 - int(name.split(".")[4]) if name.startswith(f"{ENCODER}encoder.layer.") else 3
        wanted = 0.1 / 2**below if name.startswith(ENCODER) else 0.5
        assert step == pytest.approx(wanted), name
    assert set(steps_taken(initialized()).values()) == {0.5}


def test_freezing() -> None:
    nlp = initialized(freeze_embeddings=True, freeze_layers=2)
    frozen = tuple(ENCODER + part for part in ("embeddings.", "encoder.layer.0.", "encoder.layer.1."))
    still = {name for name, step in steps_taken(nlp).items() if step == 0.0}
    assert still == {name for name, _ in module_of(nlp).named_parameters() if name.startswith(frozen)}
    _, found = gradients(nlp)
    assert still.isdisjoint(found) and f"{ENCODER}encoder.layer.2.output.dense.weight" in found
    again = load_model_from_config(nlp.config, auto_fill=False).from_bytes(nlp.to_bytes())
    assert {name for name, step in steps_taken(again).items() if step == 0.0} == still


def test_settings_survive_the_config_and_an_old_one_has_the_defaults() -> None:
    settings = {"recompute": True, "rate": 0.5, "layer_decay": 0.9, "freeze_embeddings": True, "freeze_layers": 1}
    config = joint_pipeline(model=model_config(**settings)).config
    again = load_model_from_config(config.from_str(config.to_str()), auto_fill=False, validate=True)
    model = again.config["components"]["joint_extractor"]["model"]
    assert {name: model[name] for name in settings} == settings
    held = again.get_pipe("joint_extractor").model.shims[0].settings
    assert held[2:7] == (True, 0.5, 0.9, True, 1)
    old = joint_pipeline().get_pipe("joint_extractor").model.shims[0].settings
    assert old[2:7] == (False, 1.0, 1.0, False, 0)


def test_impossible_settings_are_told() -> None:
    with pytest.raises(ClinicalNerError, match="freeze_layers is 4, but the encoder has 3 layers"):
        initialized(freeze_layers=4)
    with pytest.raises(ValueError, match="max_batch_pieces must be at least 1"):
        joint_pipeline(model=model_config(layer_decay=0.0))


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_pretrained_encoders(kind: str, tmp_path: Any) -> None:
    """A BERT and a RoBERTa, with the weights of their folder, which is not needed any more afterwards."""
    folder = make_encoder(kind, tmp_path / kind, layers=2)
    source = {"@misc": "spacy-clinical-ner.PretrainedEncoder.v1", "name": str(folder)}
    nlp = initialized(encoder=source, task_layers=1)
    module = module_of(nlp)
    from transformers import AutoModel

    published = AutoModel.from_pretrained(folder).state_dict()
    for name, value in module.encoder.model.state_dict().items():
        assert torch.equal(value, published[name]), name
    assert module.capacity == 64 - 2  # positions that a RoBERTa never uses aside
    assert (module.pieces.pad, module.pieces.unk, *module.pieces.special) == (0, 1, [2], [3])
    doc = make_docs(nlp, 1)[0]
    wanted = nlp.get_pipe("joint_extractor").score_pairs([doc])[0].probabilities
    folder.rename(tmp_path / "elsewhere")
    loaded = load_model_from_config(nlp.config, auto_fill=False).from_bytes(nlp.to_bytes())
    found = loaded.get_pipe("joint_extractor").score_pairs([doc])[0].probabilities
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_encoders_that_do_not_fit_are_told(tmp_path: Any) -> None:
    albert = make_encoder("sentencepiece", tmp_path / "albert")
    for name, reason in ((albert, "the encoder is of type 'albert'"), (tmp_path / "no", "cannot be fetched")):
        with pytest.raises((ValueError, ClinicalNerError), match=reason):
            initialized(encoder={"@misc": "spacy-clinical-ner.PretrainedEncoder.v1", "name": str(name)})
