"""`clinical-ner search`: hyperparameters of a config."""

from __future__ import annotations

from pathlib import Path
from typing import List

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_SEED


def search(
    context: typer.Context,
    config: Path = typer.Argument(..., metavar="CONFIG", help="Config of the training (.cfg)."),
    train: Path = typer.Option(..., metavar="FOLDER", help="BRAT folder of the training notes."),
    dev: Path = typer.Option(..., metavar="FOLDER", help="BRAT folder of the notes that are scored."),
    param: List[str] = typer.Option(
        ..., "--param", help="NAME=LOW..HIGH, NAME='LOW..HIGH log' or NAME=A,B,C; repeat it. NAME as in the config."
    ),
    trials: int = typer.Option(20, min=1, max=MAX_COUNT, help="Trainings in all, those of earlier calls included."),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of the sampler."),
    output: Path = typer.Option(Path("search"), "--output", "-o", help="Folder for study, pipelines and plot."),
    gpu_id: int = typer.Option(-1, "--gpu-id", min=-1, help="GPU, -1 for the CPU."),
) -> None:
    """Search the settings of a config with Optuna, by strict micro F on the --dev notes.

    The study is a database in --output: stopped in any way, the same command goes on, and --trials may be raised later.
    The best score is one that was chosen: measure it again on notes that no trial has seen.

    Example: clinical-ner search configs/maccrobat.cfg --train notes/train --dev notes/dev
    --param components.crf_ner.model.dropout=0.1..0.6 --param training.optimizer.learn_rate='1e-4..1e-2 log'
    """
    from wasabi import msg

    from spacy_clinical_ner.cli.learning_curve import make_trial
    from spacy_clinical_ner.errors import ClinicalNerError
    from spacy_clinical_ner.outputs import PICTURE, check_output
    from spacy_clinical_ner.plotting import require_plots
    from spacy_clinical_ner.training.curve_plots import plot_search
    from spacy_clinical_ner.training.search import Finished, parse_parameter
    from spacy_clinical_ner.training.search import search as run

    def report(trial: Finished, reason: str) -> None:
        settings = ", ".join(f"{name} = {value}" for name, value in trial.params.items())
        if trial.value is None:
            msg.fail(f"trial {trial.number} failed ({settings}): {reason}")
        else:
            msg.good(f"trial {trial.number}: strict micro F {100 * trial.value:.2f} ({settings})")

    require_plots("matplotlib.figure")  # before hours of training, not after them
    check_output(output / "search.png", PICTURE, inputs=[config, train, dev])
    parameters = [parse_parameter(text) for text in param]
    tried = run(make_trial(context, config, train, dev, gpu_id), output, parameters, trials, seed, report)
    finished = sorted((each for each in tried if each.value is not None), key=lambda each: -(each.value or 0))
    if not finished:
        raise ClinicalNerError(f"{output}: not one training came to an end; try the config with spacy train first")
    header = ("trial", "F", *(parameter.name for parameter in parameters))
    rows = [
        (each.number, f"{100 * (each.value or 0):.2f}", *(each.params.get(row.name, "") for row in parameters))
        for each in finished
    ]
    msg.table(rows, header=header, divider=True)
    plot_search(finished, output / "search.png")
    msg.good(f"Best: {output / f'trial-{finished[0].number}' / 'model-best'}; table and plot in {output}")
