"""Two systems on the same notes: differences with intervals, a paired test for each label, notes that differ most."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

import numpy as np

from spacy_clinical_ner.evaluation.bootstrap import paired_differences
from spacy_clinical_ner.evaluation.metrics import CountTable, aligned, precision_recall_f

_NOTES = 20


def compare_labels(ours: CountTable, theirs: CountTable, samples: int, seed: int) -> List[Dict[str, Any]]:
    """F of each label by both systems, the difference (first minus second), its interval, and p by Holm's correction.

    The p-values are those of a paired bootstrap over documents (`bootstrap.paired_differences`).
    """
    ours, theirs = aligned([ours, theirs])
    rows = []
    for index, label in enumerate(ours.labels):
        left, right = ours.values[:, [index]], theirs.values[:, [index]]
        found = paired_differences(left, right, samples, seed)["micro"]
        rows.append(
            {
                "label": label,
                "f": float(precision_recall_f(left.sum(axis=(0, 1)))[2]),
                "other_f": float(precision_recall_f(right.sum(axis=(0, 1)))[2]),
                "support": int(left[..., 0].sum() + left[..., 2].sum()),
                **found._asdict(),
            }
        )
    for row, corrected in zip(rows, holm([row["p_value"] for row in rows])):
        row["p_holm"] = corrected
    return rows


def holm(p_values: Sequence[float]) -> List[float]:
    """Holm's step-down correction for as many tests as there are p-values (Holm 1979, section 3), in their order."""
    order = np.argsort(p_values, kind="stable")
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def most_different(ours: Sequence[Dict[str, Any]], theirs: Sequence[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The notes in whose number of errors the systems differ most, the largest difference first."""
    rows = [
        {
            "name": left["name"],
            "gold": left["tp"] + left["fn"],
            "errors": left["fp"] + left["fn"],
            "other_errors": right["fp"] + right["fn"],
        }
        for left, right in zip(ours, theirs)
    ]
    rows = [row for row in rows if row["errors"] != row["other_errors"]]
    rows.sort(key=lambda row: (-abs(row["errors"] - row["other_errors"]), row["name"]))
    return rows[:_NOTES]
