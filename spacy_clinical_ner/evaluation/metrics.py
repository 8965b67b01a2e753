"""From counts to precision, recall and F: micro, macro, weighted and per label.

Arrays of counts have the last axes (labels, 3), the 3 being true positives, false positives and false negatives.
All functions take any number of leading axes, so that one call serves a corpus or a thousand resamples of it.

Zero division: 0/0 is 0. A label without gold support is listed with its false positives, which count in the micro
figures, but it is no part of the macro mean (over the labels with gold support) and has weight 0 in the weighted one.
"""

from __future__ import annotations

from typing import Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.evaluation.matching import Counts

AVERAGES = ("micro", "macro", "weighted")


class CountTable(NamedTuple):
    """Counts of a corpus. `values`: int64, shape (documents, labels, 3); `labels` are sorted."""

    labels: Tuple[str, ...]
    values: NDArray[np.int64]


def count_table(documents: Iterable[Mapping[str, Counts]]) -> CountTable:
    """Lay out counts per document and label as one array."""
    rows: List[Mapping[str, Counts]] = list(documents)
    labels = tuple(sorted({label for row in rows for label in row}))
    column = {label: index for index, label in enumerate(labels)}
    values = np.zeros((len(rows), len(labels), 3), dtype="int64")
    for index, row in enumerate(rows):
        for label, counts in row.items():
            values[index, column[label]] = counts
    return CountTable(labels, values)


def aligned(tables: Sequence[CountTable]) -> List[CountTable]:
    """The same tables with the labels of all of them, so that arrays of different systems line up."""
    labels = tuple(sorted({label for table in tables for label in table.labels}))
    result = []
    for table in tables:
        values = np.zeros((len(table.values), len(labels), 3), dtype="int64")
        values[:, [labels.index(label) for label in table.labels]] = table.values
        result.append(CountTable(labels, values))
    return result


def precision_recall_f(counts: NDArray) -> NDArray[np.float64]:
    """(..., 3) counts -> (..., 3) precision, recall and F1 in [0, 1]."""
    tp, fp, fn = np.moveaxis(np.asarray(counts, dtype="float64"), -1, 0)
    return np.stack([_ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn)], axis=-1)


def averages(counts: NDArray) -> Dict[str, NDArray[np.float64]]:
    """(..., labels, 3) counts -> for each of AVERAGES the (..., 3) precision, recall and F1.

    micro: from the summed counts. macro: mean of the labels' own figures over labels with gold support (so macro F is
    the mean of F, not the F of the means). weighted: the same mean weighted with gold support.
    """
    counts = np.asarray(counts)
    per_label = precision_recall_f(counts)
    support = (counts[..., 0] + counts[..., 2]).astype("float64")[..., None]
    present = (support > 0).astype("float64")
    return {
        "micro": precision_recall_f(counts.sum(axis=-2)),
        "macro": _ratio((per_label * present).sum(axis=-2), present.sum(axis=-2)),
        "weighted": _ratio((per_label * support).sum(axis=-2), support.sum(axis=-2)),
    }


def _ratio(numerator: NDArray, denominator: NDArray) -> NDArray[np.float64]:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)
