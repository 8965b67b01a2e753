"""Picture of a pre-training run: loss of the steps, perplexity on held-out notes."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from spacy_clinical_ner import plotting
from spacy_clinical_ner.raw_notes.checkpoint import Progress

_LOSS, _HELD_OUT = "#3b6ea5", "#c0504d"


def plot_loss(progress: Progress, path: Union[str, Path]) -> None:
    """Write a PNG: training loss (means of up to 200 stretches) and held-out perplexity, on a logarithmic axis."""
    figure = plotting.new_figure(8.0, 4.2)
    axes = figure.add_subplot()
    width = max(1, -(-len(progress.losses) // 200))
    stretches = [progress.losses[first : first + width] for first in range(0, len(progress.losses), width)]
    ends = [min(first + width, len(progress.losses)) for first in range(0, len(progress.losses), width)]
    axes.plot(ends, [sum(part) / len(part) for part in stretches], color=_LOSS, linewidth=1.2)
    axes.set_xlabel("steps")
    axes.set_ylabel("training loss, nats per masked piece", color=_LOSS)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.spines["top"].set_visible(False)
    other = axes.twinx()
    other.plot(
        [row["step"] for row in progress.evaluations],
        [row["perplexity"] for row in progress.evaluations],
        color=_HELD_OUT,
        marker="o",
        markersize=3,
    )
    other.set_yscale("log")
    other.set_ylabel("perplexity, held-out notes", color=_HELD_OUT)
    other.spines["top"].set_visible(False)
    axes.set_title("Masked language modelling")
    plotting.save_figure(figure, path)
