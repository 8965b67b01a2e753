"""Loss and gradient against torch's own."""

import numpy as np
import pytest
import torch

from spacy_clinical_ner.relations.losses import cross_entropy, probabilities


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("multi_label", [False, True])
def test_against_torch(seed, multi_label):
    rng = np.random.default_rng(seed)
    gold = rng.random((6, 3)) < 0.3
    scores = rng.normal(scale=5, size=(6, 3 if multi_label else 4)).astype("float32")
    leaf = torch.tensor(scores, requires_grad=True)
    if multi_label:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(leaf, torch.tensor(gold).float(), reduction="sum")
        expected = torch.sigmoid(leaf)
    else:
        target = torch.tensor(np.column_stack([~gold.any(1), gold])).float()
        target = target / target.sum(1, keepdim=True)
        loss = torch.nn.functional.cross_entropy(leaf, target, reduction="sum")
        expected = leaf.softmax(1)
    loss = loss / 6
    loss.backward()
    found, gradient = cross_entropy(scores, gold, multi_label)
    assert found == pytest.approx(loss.item(), rel=1e-4)
    np.testing.assert_allclose(gradient, leaf.grad, atol=1e-6)
    np.testing.assert_allclose(probabilities(scores, multi_label), expected.detach(), atol=1e-6)


def test_large_scores_stay_finite():
    scores = np.array([[1000.0, -1000.0]], dtype="float32")
    for multi_label in (False, True):
        gold = np.array([[False, True]]) if multi_label else np.array([[True]])
        loss, gradient = cross_entropy(scores, gold, multi_label)
        assert np.isfinite(loss) and np.isfinite(gradient).all()
