"""From scores of pairs to probabilities and a loss: one label at most (softmax) or any number (a sigmoid each)."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def probabilities(scores: Floats, multi_label: bool, members: int = 1) -> Floats:
    """scores: (pairs, labels) if `multi_label`, else (pairs, 1 + labels) with "no relation" first; same shape back.

    members: networks whose scores stand beside each other, (pairs, members * ...); their probabilities are averaged.
    """
    if members > 1:
        return probabilities(_split(scores, members), multi_label).reshape(len(scores), members, -1).mean(axis=1)
    if multi_label:
        return 1.0 / (1.0 + np.exp(-scores.clip(-50.0, 50.0)))
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def cross_entropy(scores: Floats, gold: NDArray[np.bool_], multi_label: bool, members: int = 1) -> Tuple[float, Floats]:
    """Mean cross-entropy of the pairs in nats, and its gradient with respect to the scores.

    gold: (pairs, labels). With a softmax, a pair that has several labels is taught all of them to equal parts.
    members: as in `probabilities`; each learns as if it were alone, and the loss is the sum of theirs.
    """
    if members > 1:
        loss, gradient = cross_entropy(_split(scores, members), gold.repeat(members, axis=0), multi_label)
        return members * loss, (members * gradient).reshape(scores.shape)
    expected = gold.astype("float32")
    if multi_label:
        terms = np.logaddexp(0.0, scores) - expected * scores
    else:
        expected = np.concatenate([~gold.any(axis=1, keepdims=True), gold], axis=1).astype("float32")
        expected /= expected.sum(axis=1, keepdims=True)
        terms = expected * (np.logaddexp.reduce(scores, axis=1, keepdims=True) - scores)
    gradient = (probabilities(scores, multi_label) - expected) / np.float32(len(gold))
    return float(terms.sum() / len(gold)), gradient


def _split(scores: Floats, members: int) -> Floats:
    """(pairs, members * outputs) -> (pairs * members, outputs)."""
    return scores.reshape(len(scores) * members, scores.shape[1] // members)
