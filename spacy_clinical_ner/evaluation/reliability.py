"""How far is a confidence from the share of what was right? Binned, after Guo et al. 2017."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Sequence

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """How far confidence is from the share of right mentions, over `mentions` predicted mentions.

    ece: expected calibration error over equal-width bins, 0 to 1 (Guo et al. 2017, Eq. 3).
    log_loss: mean negative log-likelihood of right and wrong under the confidence, nats.
    accuracy, confidence, count: one value a bin; nan where a bin is empty.
    """

    mentions: int
    ece: float
    log_loss: float
    accuracy: list[float]
    confidence: list[float]
    count: list[int]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: empty bins become None."""
        row = asdict(self)
        for name in ("accuracy", "confidence"):
            row[name] = [None if math.isnan(value) else value for value in row[name]]
        return row


def reliability(confidence: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Reliability:
    """Bin mentions by confidence. Raises ValueError for lengths that differ or no mention at all."""
    p = np.asarray(confidence, dtype="float64")
    right = np.asarray(correct, dtype="float64")
    if p.shape != right.shape or not p.size:
        raise ValueError(f"need as many confidences as outcomes, and one at least: {p.size} and {right.size}")
    which = np.clip((p * bins).astype(int), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(which, weights=right, minlength=bins) / count
        mean = np.bincount(which, weights=p, minlength=bins) / count
    filled = count > 0
    ece = float(np.sum(count[filled] * np.abs(accuracy - mean)[filled]) / p.size)
    return Reliability(p.size, ece, _log_loss(p, right), accuracy.tolist(), mean.tolist(), count.tolist())


def _log_loss(p: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-np.mean(right * np.log(p) + (1 - right) * np.log1p(-p)))
