"""From scores of pairs to probabilities and a loss: one label at most (softmax) or any number (a sigmoid each)."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def probabilities(scores: Floats, multi_label: bool) -> Floats:
    """scores: (pairs, labels) if `multi_label`, else (pairs, 1 + labels) with "no relation" first; same shape back."""
    if multi_label:
        return 1.0 / (1.0 + np.exp(-scores.clip(-50.0, 50.0)))
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def cross_entropy(scores: Floats, gold: NDArray[np.bool_], multi_label: bool) -> Tuple[float, Floats]:
    """Mean cross-entropy of the pairs in nats, and its gradient with respect to the scores.

    gold: (pairs, labels). With a softmax, a pair that has several labels is taught all of them to equal parts.
    """
    expected = gold.astype("float32")
    if multi_label:
        terms = np.logaddexp(0.0, scores) - expected * scores
    else:
        expected = np.concatenate([~gold.any(axis=1, keepdims=True), gold], axis=1).astype("float32")
        expected /= expected.sum(axis=1, keepdims=True)
        terms = expected * (np.logaddexp.reduce(scores, axis=1, keepdims=True) - scores)
    gradient = (probabilities(scores, multi_label) - expected) / np.float32(len(gold))
    return float(terms.sum() / len(gold)), gradient
