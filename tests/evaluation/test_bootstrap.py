"""The matrix products against documents that are drawn and counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_clinical_ner.evaluation import bootstrap
from spacy_clinical_ner.evaluation.bootstrap import interval, paired_differences, resampled_counts
from spacy_clinical_ner.evaluation.metrics import averages

SAMPLES, SEED = 60, 7


def corpus(seed, documents=9, labels=3):
    counts = np.random.default_rng(seed).integers(0, 6, size=(documents, labels, 3))
    counts[:, -1] *= (np.arange(documents) == 0)[:, None]  # a label that many resamples do not hold
    return counts


def score_one_by_one(counts, drawn):
    """Micro, macro and weighted P, R, F of the drawn documents in plain Python."""
    labels = range(counts.shape[1])
    sums = [[sum(int(counts[d][label][k]) for d in drawn) for k in range(3)] for label in labels]

    def prf(tp, fp, fn):
        p = tp / (tp + fp) if tp + fp else 0.0
        r = tp / (tp + fn) if tp + fn else 0.0
        return p, r, 2 * p * r / (p + r) if p + r else 0.0

    figures = [prf(*row) for row in sums]
    support = [tp + fn for tp, _, fn in sums]
    held = [label for label in labels if support[label]]
    return {
        "micro": prf(*(sum(row[k] for row in sums) for k in range(3))),
        "macro": [sum(figures[i][k] for i in held) / len(held) for k in range(3)],
        "weighted": [sum(figures[i][k] * support[i] for i in held) / sum(support) for k in range(3)],
    }


def brute_force(counts):
    draws = np.random.default_rng(SEED).integers(len(counts), size=(SAMPLES, len(counts)))
    return [score_one_by_one(counts, [int(d) for d in row]) for row in draws]


def test_resamples_equal_brute_force():
    counts = corpus(1)
    ours = averages(resampled_counts(counts, SAMPLES, SEED))
    theirs = brute_force(counts)
    for name in ("micro", "macro", "weighted"):
        assert ours[name].shape == (SAMPLES, 3)
        assert ours[name] == pytest.approx(np.array([row[name] for row in theirs]))


def test_little_memory_changes_nothing(monkeypatch):
    counts = corpus(1)
    whole = resampled_counts(counts, SAMPLES, SEED)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", 4 * len(counts))
    assert (resampled_counts(counts, SAMPLES, SEED) == whole).all()


def test_interval_is_the_percentile_interval():
    low, high = interval(np.arange(101.0)[:, None] * [1.0, 2.0])
    assert low == pytest.approx([2.5, 5.0])
    assert high == pytest.approx([97.5, 195.0])


def test_same_seed_same_figures():
    counts = corpus(2)
    first, again = (resampled_counts(counts, SAMPLES, SEED) for _ in range(2))
    assert (first == again).all()
    assert (first != resampled_counts(counts, SAMPLES, SEED + 1)).any()


def test_paired_differences_equal_brute_force():
    ours, theirs = corpus(3), corpus(4)
    result = paired_differences(ours, theirs, SAMPLES, SEED)
    everything = list(range(len(ours)))
    for name in ("micro", "macro", "weighted"):
        rows = [a[name][2] - b[name][2] for a, b in zip(brute_force(ours), brute_force(theirs))]
        whole = score_one_by_one(ours, everything)[name][2] - score_one_by_one(theirs, everything)[name][2]
        fewer = min(sum(d <= 0 for d in rows), sum(d >= 0 for d in rows))
        assert result[name].difference == pytest.approx(whole)
        assert (result[name].ci_low, result[name].ci_high) == pytest.approx(np.quantile(rows, [0.025, 0.975]))
        assert result[name].p_value == pytest.approx(min(1, 2 * (fewer + 1) / (SAMPLES + 1)))


def test_a_system_does_not_differ_from_itself():
    counts = corpus(5)
    for difference in paired_differences(counts, counts, SAMPLES, SEED).values():
        assert difference == (0.0, 0.0, 0.0, 1.0)


def test_a_system_that_is_better_in_every_document_differs():
    better = np.tile([[8, 1, 1]], (20, 1, 1))
    worse = np.tile([[5, 4, 4]], (20, 1, 1))
    difference = paired_differences(better, worse, 1000, SEED)["micro"]
    assert difference.difference == pytest.approx(8 / 9 - 5 / 9)
    assert difference.ci_low > 0
    assert difference.p_value == pytest.approx(2 / 1001)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # 200 corpora of 60 documents with micro F of 0.8 in truth; 95 % intervals must hold it in most of them.
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(200):
        tp = generator.binomial(10, 0.8, size=60)
        counts = np.stack([tp, 10 - tp, 10 - tp], axis=-1)[:, None, :]
        low, high = interval(averages(resampled_counts(counts, 200, SEED))["micro"][:, 2])
        held += low <= 0.8 <= high
    assert 0.88 <= held / 200 <= 0.99
