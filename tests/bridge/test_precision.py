from __future__ import annotations

import pytest
import torch

from spacy_clinical_ner.bridge import precision
from spacy_clinical_ner.bridge.precision import has_bfloat16, mixed_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("avx512, amx", [(False, False), (True, False), (False, True)])
def test_a_cpu_needs_instructions_for_it(avx512: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert has_bfloat16(CPU) == (avx512 or amx)


def test_a_torch_that_cannot_tell_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not has_bfloat16(CPU)
    assert not has_bfloat16(torch.device("meta"))


def test_a_gpu_that_only_emulates_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_bfloat16(GPU)


def test_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert has_bfloat16(GPU)
    with mixed_precision(GPU, False):
        assert not torch.is_autocast_enabled()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        context = mixed_precision(GPU, True)
    assert isinstance(context, torch.autocast)
    assert (context.device, context.fast_dtype) == ("cuda", torch.bfloat16)


@pytest.mark.parametrize("able", [True, False])
def test_a_torch_that_does_not_emulate_it(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: able)
    assert has_bfloat16(GPU) == able


@pytest.mark.parametrize("wanted, able", [(True, True), (True, False), (False, True)])
def test_computes_in_it_where_wanted_and_possible(wanted: bool, able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: able)
    with mixed_precision(CPU, wanted):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if wanted and able else torch.float32)
