"""`clinical-ner learning-curve`: does more annotation help?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import typer

from spacy_clinical_ner.errors import ClinicalNerError

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True}


def learning_curve(
    context: typer.Context,
    config: Path = typer.Argument(..., metavar="CONFIG", help="Config of the training (.cfg)."),
    train: Path = typer.Option(..., metavar="FOLDER", help="BRAT folder of the training notes."),
    dev: Path = typer.Option(..., metavar="FOLDER", help="BRAT folder of the notes that are scored."),
    shares: str = typer.Option("0.1,0.25,0.5,1", help="Shares of the training notes, between commas."),
    seeds: str = typer.Option("0", help="Seeds of each training, between commas: several show the spread."),
    output: Path = typer.Option(Path("learning-curve"), "--output", "-o", help="Folder for pipelines, table and plot."),
    gpu_id: int = typer.Option(-1, "--gpu-id", min=-1, help="GPU, -1 for the CPU."),
) -> None:
    """Train a config on growing shares of the notes and score each: if F still rises at the end, annotate more.

    Each share is part of the next. Scores are strict micro F over characters of the --dev notes, with 95% intervals.
    Stopped in any way, the same command goes on where it was. Settings of the config follow as in `spacy train`.

    Example: clinical-ner learning-curve config.cfg --train notes/train --dev notes/dev --training.max_steps 300
    """
    import srsly
    from wasabi import msg

    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import LINES, PICTURE, check_output
    from spacy_clinical_ner.plotting import require_plots
    from spacy_clinical_ner.training.curve_plots import plot_learning_curve
    from spacy_clinical_ner.training.learning_curve import Point
    from spacy_clinical_ner.training.learning_curve import learning_curve as run

    require_plots("matplotlib.figure")  # before hours of training, not after them
    for file, kind in (("learning-curve.json", LINES), ("learning-curve.png", PICTURE)):
        check_output(output / file, kind, inputs=[config, train, dev])
    trial = make_trial(context, config, train, dev, gpu_id)
    lines: List[Dict[str, Any]] = []

    def report(point: Point, before: bool) -> None:
        f = 100 * point.scores["micro"]["f"]
        note = " (done before)" if before else ""
        msg.good(f"{point.share:g} of the notes ({point.notes}), seed {point.seed}: strict micro F {f:.2f}{note}")
        lines.append({**point._asdict(), "scores": point.scores["micro"]})

    points = run(trial, output, _numbers(shares, float, "shares"), _numbers(seeds, int, "seeds"), report)
    with replacing(output / "learning-curve.json") as temporary:
        srsly.write_json(temporary, lines)
    header = ("share", "notes", "seed", "P", "R", "F", "95% CI of F")
    rows = [
        (
            f"{point.share:g}",
            point.notes,
            point.seed,
            *(f"{100 * point.scores['micro'][key]:.2f}" for key in "prf"),
            "{:.2f} to {:.2f}".format(*(100 * point.scores["micro"][key] for key in ("ci_low", "ci_high"))),
        )
        for point in points
    ]
    msg.table(rows, header=header, divider=True, aligns=("r",) * len(header))
    plot_learning_curve(points, output / "learning-curve.png")
    msg.good(f"Saved table and plot to {output}")


def make_trial(context: typer.Context, config: Path, train: Path, dev: Path, gpu_id: int) -> Any:
    """What is trained, with what follows the command's own options as settings of the config.

    Raises InputError for a config that cannot be read with them, before anything is written.
    """
    from contextlib import redirect_stdout
    from io import StringIO

    from spacy.cli._util import parse_config_overrides

    from spacy_clinical_ner.training.learning_curve import Trial
    from spacy_clinical_ner.training.spacy_train import training_config

    try:
        with redirect_stdout(StringIO()):  # spaCy prints lines of its own
            overrides = parse_config_overrides(context.args, env_var=None)
    except (SystemExit, Exception):  # typer's NoSuchOption and the like
        words = " ".join(context.args)
        raise ClinicalNerError(f"settings of the config look like --training.max_steps 100, not {words}") from None
    training_config(config, {"paths.train": str(train), "paths.dev": str(dev), **overrides})
    return Trial(config, train, dev, overrides, gpu_id)


def _numbers(text: str, kind: type, name: str) -> List[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ClinicalNerError(f"--{name} are numbers between commas, not {text}") from None
