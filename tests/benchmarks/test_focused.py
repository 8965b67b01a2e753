import pytest
import torch

from benchmarks.relations.focused import make_case, measure
from spacy_clinical_ner.layers.focused_attention import MASKS


def test_case_is_as_described():
    encoder, (hidden, mask, pairs) = make_case(6, 40, 64, 2, 1, 3, seed=0)
    assert hidden.shape == (1, 40, 64) and mask.all() and encoder.task_layers == 1
    assert pairs.positions.shape == (6, 7)
    assert (pairs.positions[:, 0] == 0).all() and (pairs.positions.diff(dim=1) > 0).all()
    assert int(pairs.positions.max()) < 40


@pytest.mark.parametrize("form", MASKS)
def test_both_forms_are_timed_and_compared(form, monkeypatch):
    encoder, case = make_case(4, 20, 64, 2, 2, 2, seed=1)
    timing = measure(encoder, case, form, rounds=3)
    assert min(timing.packed, timing.naive, timing.by_clock) > 0 and timing.difference <= 1e-5
    right = encoder.pairs
    monkeypatch.setattr(encoder, "pairs", lambda *args: right(*args) + torch.tensor(0.01))
    with pytest.raises(ValueError, match=r"differs from the whole sequence by 1\.0e-02"):
        measure(encoder, case, form, rounds=3)
