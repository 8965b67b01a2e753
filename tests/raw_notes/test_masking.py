from __future__ import annotations

from collections import defaultdict

import numpy
import pytest

from spacy_clinical_ner.raw_notes.masking import mask_words

MASK, FIRST, LAST = 4, 5, 1000
REPLACEMENTS = numpy.arange(FIRST, LAST, dtype=numpy.int32)


def random_rows(generator: numpy.random.Generator, rows: int = 40, length: int = 64):
    ids = generator.integers(FIRST, LAST, size=(rows, length)).astype(numpy.int32)
    starts = generator.random((rows, length)) < 0.5
    words = (starts.cumsum(axis=1) - starts[:, :1]).astype(numpy.int32)
    words[:, 0] = words[:, -1] = -1
    return ids, words


def masked(seed: int, **options: float):
    generator = numpy.random.default_rng(seed)
    ids, words = random_rows(generator)
    shown, selected = mask_words(ids, words, generator, mask=MASK, replacements=REPLACEMENTS, **options)
    return ids, words, shown, selected


@pytest.mark.parametrize("seed", range(5))
def test_words_are_selected_and_treated_whole(seed: int) -> None:
    ids, words, shown, selected = masked(seed)
    fates = defaultdict(set)
    for row, column in numpy.ndindex(*ids.shape):
        if words[row, column] >= 0:
            fates[row, words[row, column]].add((selected[row, column], shown[row, column] == MASK))
    assert all(len(fate) == 1 for fate in fates.values())
    assert {fate for (fate,) in fates.values()} == {(False, False), (True, True), (True, False)}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_not_selected_stays_and_special_pieces_never_are(seed: int) -> None:
    ids, words, shown, selected = masked(seed)
    assert (shown == ids)[~selected].all()
    assert not selected[words < 0].any()


def test_shares_are_those_of_bert() -> None:
    count = chosen = as_mask = as_is = 0
    for seed in range(40):
        ids, words, shown, selected = masked(seed)
        count += int((words >= 0).sum())
        chosen += int(selected.sum())
        as_mask += int((shown == MASK)[selected].sum())
        as_is += int((shown == ids)[selected].sum())
    # About 100,000 pieces; words have two on average, which doubles the variance: five standard deviations.
    assert chosen / count == pytest.approx(0.15, abs=0.01)
    assert as_mask / chosen == pytest.approx(0.8, abs=0.025)
    assert as_is / chosen == pytest.approx(0.1, abs=0.02)


def test_same_generator_same_masks_and_another_others() -> None:
    one, again, other = masked(0), masked(0), masked(1)
    assert (one[2] == again[2]).all() and (one[3] == again[3]).all()
    assert (one[3] != other[3]).any()


def test_at_least_one_word_is_selected() -> None:
    _, words, _, selected = masked(0, share=0.0)
    ((row, word),) = {(row, words[row, column]) for row, column in zip(*selected.nonzero())}
    assert selected.sum() == (words[row] == word).sum()


def test_nothing_to_select() -> None:
    ids = numpy.full((2, 3), 7, dtype=numpy.int32)
    shown, selected = mask_words(
        ids, numpy.full_like(ids, -1), numpy.random.default_rng(0), mask=MASK, replacements=REPLACEMENTS
    )
    assert (shown == ids).all() and not selected.any()
