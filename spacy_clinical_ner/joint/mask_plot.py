"""A picture of the masks of focused attention: who may look at whom in the task of the entities and in that of a pair.

It shows the tokens: note text, because it was asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Sequence, Tuple, Union

import torch
from torch import Tensor

from spacy_clinical_ner import plotting
from spacy_clinical_ner.layers.focused_attention import MASKS, PairBatch, task_mask

TITLES = {"eq13": "a pair, Eq. 13", "eq14": "a pair, Eq. 14"}
# Of a picture for which nothing else was given: an invented finding, with its degree and its vessel.
EXAMPLE = ("LAD", "proximal", "stenosis", "about", "90%", ",", "no", "plaque")
EXAMPLE_HEAD, EXAMPLE_TAIL = (2, 3), (0, 1)


def mask_matrices(length: int, head: Tuple[int, int], tail: Tuple[int, int]) -> Dict[str, Tensor]:
    """(1 + length, 1 + length) bool for each task, [CLS] first: [i, j] = i attends to j.

    length: tokens, one word piece each. head, tail: (first token, the one behind the last).
    Raises ValueError for a mention that is empty or outside.
    """
    for start, end in (head, tail):
        if not 0 <= start < end <= length:
            raise ValueError(f"no tokens {start} to {end} in a sentence of {length}")
    whole = torch.ones((1, 1 + length), dtype=torch.bool)
    members = sorted({0, *(1 + i for start, end in (head, tail) for i in range(start, end))})
    inside = torch.ones((1, len(members)), dtype=torch.bool)
    pairs = PairBatch(torch.zeros(1, dtype=torch.long), torch.tensor([members]), inside)
    matrices = {"entities": whole.expand(1 + length, -1)}
    matrices.update({TITLES[form]: task_mask(whole, pairs, form)[0] for form in MASKS})
    return matrices


def plot_masks(tokens: Sequence[str], head: Tuple[int, int], tail: Tuple[int, int], path: Union[str, Path]) -> None:
    """Draw the masks (PNG) side by side: a row's position attends to the columns that are filled.

    Raises ClinicalNerError if matplotlib is missing, ValueError for mentions that are not there.
    """
    matrices = mask_matrices(len(tokens), head, tail)
    names = ["[CLS]", *(token if token.strip() else repr(token)[1:-1] for token in tokens)]
    marked = {0, *(1 + i for start, end in (head, tail) for i in range(start, end))}
    side = 1.6 + 0.26 * len(names)
    figure = plotting.new_figure(len(matrices) * side + 0.8, side + 1.0, names)
    for number, (title, allowed) in enumerate(matrices.items(), 1):
        axes = figure.add_subplot(1, len(matrices), number)
        axes.imshow(allowed.numpy(), cmap="Blues", vmin=0.0, vmax=1.4)
        axes.set_title(f"Task of {title}", fontsize=10)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
        axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            if label.get_text() in {names[i] for i in marked}:
                label.set_fontweight("bold")
        axes.set_xticks([i - 0.5 for i in range(1, len(names))], minor=True)
        axes.set_yticks([i - 0.5 for i in range(1, len(names))], minor=True)
        axes.grid(which="minor", color="white", linewidth=1)
        axes.tick_params(which="both", length=0)
    figure.supylabel("attends", fontsize=9)
    figure.supxlabel("to", fontsize=9)
    plotting.save_figure(figure, path)
