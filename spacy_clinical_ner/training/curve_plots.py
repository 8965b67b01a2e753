"""Pictures of learning curves and of hyperparameter searches."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any, Dict, List, Sequence

from spacy_clinical_ner.plotting import new_figure, save_figure


def plot_learning_curve(points: Sequence[Any], path: Path) -> None:
    """Strict micro F over the number of notes: a dot a training, with its interval, and a line through the means."""
    figure, axes = _axes("training notes (logarithmic)", "strict micro F")
    by_notes: Dict[int, List[float]] = defaultdict(list)
    for point in points:
        micro = point.scores["micro"]
        by_notes[point.notes].append(micro["f"])
        error = None
        if micro["ci_low"] is not None:
            error = [[max(0.0, micro["f"] - micro["ci_low"])], [max(0.0, micro["ci_high"] - micro["f"])]]
        axes.errorbar([point.notes], [micro["f"]], yerr=error, fmt="o", color="#0072b2", capsize=3)
    notes = sorted(by_notes)
    axes.plot(notes, [mean(by_notes[count]) for count in notes], color="#0072b2")
    axes.set_xscale("log")
    axes.set_xticks(notes, [str(count) for count in notes])
    axes.minorticks_off()
    save_figure(figure, path)


def plot_search(finished: Sequence[Any], path: Path) -> None:
    """F of the trials in their order with the best so far, and F over each numeric parameter.

    finished: trials with `number`, `value` and `params`; see `search.Finished`.
    """
    in_order = sorted(finished, key=lambda trial: trial.number)
    names = sorted({name for trial in in_order for name in trial.params})
    figure, axes = _axes("trial", "strict micro F", columns=1 + len(names))
    numbers, values = [trial.number for trial in in_order], [trial.value for trial in in_order]
    axes[0].plot(numbers, values, "o", color="#0072b2")
    axes[0].plot(numbers, [max(values[: i + 1]) for i in range(len(values))], color="#b25000")
    for name, part in zip(names, axes[1:]):
        chosen = [trial for trial in in_order if name in trial.params]
        part.plot([trial.params[name] for trial in chosen], [trial.value for trial in chosen], "o", color="#0072b2")
        part.set_xlabel(name.rpartition(".")[2])
    save_figure(figure, path)


def _axes(x_label: str, y_label: str, columns: int = 0) -> Any:
    figure = new_figure(max(1, columns) * (3.4 if columns else 6.4), 3.6)
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)[0] if columns else figure.add_subplot()
    first = axes[0] if columns else axes
    first.set_xlabel(x_label)
    first.set_ylabel(y_label)
    for part in axes if columns else [axes]:
        part.grid(alpha=0.3)
    return figure, axes
