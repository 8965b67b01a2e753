"""How sure is a score? Percentile bootstrap over documents (Efron & Tibshirani 1993, chapters 13 and 16).

Documents are what is drawn, because the mentions of one note are not independent of each other. A resample of n
documents is a vector of n whole numbers that sum to n, so a thousand resampled corpora are one matrix product of
these weights with the counts per document.
"""

from __future__ import annotations

from typing import Dict, Iterator, NamedTuple, Tuple

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.evaluation.metrics import AVERAGES, averages

_WEIGHTS_AT_ONCE = 2_000_000  # numbers (16 MB) of the weight matrix that are held at a time


class Difference(NamedTuple):
    """F1 of one system minus that of another on the same documents, its interval and a two-sided p-value."""

    difference: float
    ci_low: float
    ci_high: float
    p_value: float


def resampled_counts(counts: NDArray, samples: int, seed: int) -> NDArray[np.float64]:
    """(documents, labels, 3) counts -> (samples, labels, 3) counts of resampled corpora, whole numbers.

    Resample b holds the documents of row b of `default_rng(seed).integers(documents, size=(samples, documents))`. Each
    is then scored as if it were the corpus: its macro means are over the labels that it holds.
    """
    documents, labels, _ = counts.shape
    flat = counts.reshape(documents, labels * 3).astype("float64")
    sums = [weights @ flat for weights in _weights(documents, samples, seed)]
    return np.concatenate(sums).reshape(samples, labels, 3)


def _weights(documents: int, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each document stands in each resample, (some samples, documents) at a time."""
    generator = np.random.default_rng(seed)
    rows = max(1, _WEIGHTS_AT_ONCE // documents)
    for first in range(0, samples, rows):
        drawn = generator.integers(documents, size=(min(rows, samples - first), documents))
        shifted = drawn + documents * np.arange(len(drawn))[:, None]
        yield np.bincount(shifted.ravel(), minlength=drawn.size).reshape(drawn.shape).astype("float64")


def interval(values: NDArray, confidence: float = 0.95) -> Tuple[NDArray, NDArray]:
    """Lower and upper percentile of (samples, ...) values, linearly interpolated; each of shape (...)."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail], axis=0)
    return low, high


def paired_differences(
    counts: NDArray, other: NDArray, samples: int, seed: int, confidence: float = 0.95
) -> Dict[str, Difference]:
    """Paired bootstrap of the difference in F1 (first minus other); both (documents, labels, 3) on the same documents.

    Both systems are scored on the same resamples. The p-value is the smallest level at which the two-sided percentile
    interval leaves out 0: 2 * min(share of differences <= 0, share >= 0), with one added to counts and samples so that
    it is never 0 (Davison & Hinkley 1997, section 4.2), and at most 1.
    """
    ours, theirs = averages(counts.sum(axis=0)), averages(other.sum(axis=0))
    our_resamples, their_resamples = (averages(resampled_counts(table, samples, seed)) for table in (counts, other))
    result = {}
    for name in AVERAGES:
        differences = our_resamples[name][:, 2] - their_resamples[name][:, 2]
        low, high = interval(differences, confidence)
        fewer = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
        p_value = min(1.0, 2.0 * (fewer + 1) / (samples + 1))
        result[name] = Difference(float(ours[name][2] - theirs[name][2]), float(low), float(high), p_value)
    return result
