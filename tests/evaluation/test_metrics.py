"""Averages by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spacy_clinical_ner.evaluation.matching import Counts
from spacy_clinical_ner.evaluation.metrics import aligned, averages, count_table, precision_recall_f


def test_count_table_lays_out_documents_and_sorted_labels():
    table = count_table([{"b": Counts(1, 2, 3)}, {}, {"a": Counts(4, 5, 6), "b": Counts(7, 8, 9)}])
    assert table.labels == ("a", "b")
    assert table.values.tolist() == [
        [[0, 0, 0], [1, 2, 3]],
        [[0, 0, 0], [0, 0, 0]],
        [[4, 5, 6], [7, 8, 9]],
    ]


def test_aligned_tables_have_the_labels_of_all():
    first, second = aligned([count_table([{"c": Counts(1, 2, 3)}]), count_table([{"a": Counts(4, 5, 6)}])])
    assert first.labels == second.labels == ("a", "c")
    assert first.values.tolist() == [[[0, 0, 0], [1, 2, 3]]]
    assert second.values.tolist() == [[[4, 5, 6], [0, 0, 0]]]


def test_precision_recall_f_and_zero_division():
    figures = precision_recall_f(np.array([[3, 1, 2], [0, 4, 0], [0, 0, 5], [0, 0, 0]]))
    assert figures[0] == pytest.approx([3 / 4, 3 / 5, 2 / 3])
    assert figures[1:].tolist() == [[0, 0, 0]] * 3


def test_averages_by_hand():
    # a: P 1, R 1/2, F 2/3, support 4; b: P 1/4, R 1, F 2/5, support 1; c: two false positives, no gold support.
    counts = np.array([[2, 0, 2], [1, 3, 0], [0, 2, 0]])
    result = averages(counts)
    assert result["micro"] == pytest.approx([3 / 8, 3 / 5, 6 / 13])
    assert result["macro"] == pytest.approx([5 / 8, 3 / 4, (2 / 3 + 2 / 5) / 2])
    assert result["weighted"] == pytest.approx([(4 * 1 + 1 / 4) / 5, (4 / 2 + 1) / 5, (4 * 2 / 3 + 2 / 5) / 5])


def test_averages_of_nothing_are_zero():
    assert all((figures == 0).all() for figures in averages(np.zeros((0, 3))).values())
    assert all((figures == 0).all() for figures in averages(np.array([[0, 3, 0]])).values())


def test_leading_axes_are_independent():
    first, second = np.array([[2, 0, 2], [1, 3, 0]]), np.array([[0, 1, 1], [5, 0, 0]])
    together = averages(np.stack([first, second]))
    for name, figures in together.items():
        assert figures[0] == pytest.approx(averages(first)[name])
        assert figures[1] == pytest.approx(averages(second)[name])
