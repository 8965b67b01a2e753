"""Whole-word masking, drawn anew for every batch.

BERT's masked language modelling (Devlin et al. 2019): 15 % of the pieces are to be predicted; of these 80 % are
shown as the mask, 10 % as a random piece, 10 % as they are. All pieces of a word share its fate.
"""

from __future__ import annotations

from typing import Tuple

import numpy

SHARE, MASKED, RANDOM = 0.15, 0.8, 0.1


def mask_words(
    ids: numpy.ndarray,
    words: numpy.ndarray,
    generator: numpy.random.Generator,
    *,
    mask: int,
    replacements: numpy.ndarray,
    share: float = SHARE,
) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """(what the model sees, which positions it is to predict), both like `ids`: (sequences, length).

    words: the word within its row that a piece belongs to, -1 for pieces that are never predicted. Each word is drawn
    by itself with probability `share`; if none is, the one closest to it is taken, as there must be a loss.
    replacements: ids to draw random pieces from.
    """
    drawn = generator.random(ids.shape)
    fate = generator.random(ids.shape)
    rows = numpy.arange(len(ids))[:, None]
    of_word = numpy.where(words >= 0, drawn[rows, words], 2.0)
    selected = of_word < share
    if not selected.any() and of_word.size and of_word.min() < 1:
        selected = of_word == of_word.min()
    treatment = fate[rows, words]
    random_pieces = replacements[generator.integers(len(replacements), size=ids.shape)]
    shown = numpy.where(selected & (treatment < MASKED), mask, ids)
    shown = numpy.where(selected & (treatment >= MASKED) & (treatment < MASKED + RANDOM), random_pieces, shown)
    return shown.astype(ids.dtype), selected
