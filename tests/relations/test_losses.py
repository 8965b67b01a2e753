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


@pytest.mark.parametrize("multi_label", [False, True])
def test_members_learn_as_if_alone_and_vote_as_one(multi_label):
    rng = np.random.default_rng(0)
    gold = rng.random((5, 3)) < 0.3
    each = [rng.normal(scale=3, size=(5, 3 if multi_label else 4)).astype("float32") for _ in range(3)]
    beside = np.concatenate(each, axis=1)
    alone = [cross_entropy(scores, gold, multi_label) for scores in each]
    loss, gradient = cross_entropy(beside, gold, multi_label, members=3)
    assert loss == pytest.approx(sum(value for value, _ in alone), rel=1e-5)
    np.testing.assert_allclose(gradient, np.concatenate([array for _, array in alone], axis=1), atol=1e-6)
    voted = np.mean([probabilities(scores, multi_label) for scores in each], axis=0)
    np.testing.assert_allclose(probabilities(beside, multi_label, members=3), voted, atol=1e-6)
