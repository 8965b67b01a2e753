"""The `clinical-ner` command: thin typer commands over the functions of the package."""

from __future__ import annotations

import sys

import typer

from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    name="clinical-ner",
    help="Turn BRAT-annotated clinical notes into spaCy pipelines, and back.\n\n"
    "Exit status: 0 done; 1 done, but a threshold was crossed; 2 bad input or usage.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    from spacy_clinical_ner.cli import (
        annotate,
        calibrate,
        convert,
        distill,
        evaluate,
        import_ccks,
        learning_curve,
        masks,
        pool,
        pretrain,
        project,
        refit,
        report,
        search,
        stats,
        trim,
        vectors,
    )

    app.command("convert")(convert.convert)
    app.command("import-ccks")(import_ccks.import_ccks)
    app.command("stats")(stats.stats)
    app.command("vectors")(vectors.vectors)
    app.command("pretrain")(pretrain.pretrain)
    app.command("trim")(trim.trim)
    app.command("pool")(pool.pool)
    app.command("refit")(refit.refit)
    app.command("distill")(distill.distill)
    app.command("annotate")(annotate.annotate)
    app.command("evaluate")(evaluate.evaluate)
    app.command("report")(report.report)
    app.command("learning-curve", context_settings=learning_curve.CONTEXT)(learning_curve.learning_curve)
    app.command("search", context_settings=learning_curve.CONTEXT)(search.search)
    app.command("calibrate")(calibrate.calibrate)
    app.command("masks")(masks.masks)
    app.add_typer(project.app, name="project")


def main() -> None:
    """Run the command line; bad input ends with one line on stderr and status 2."""
    _register()
    try:
        app()
    except ClinicalNerError as error:
        print(f"clinical-ner: {error}", file=sys.stderr)
        sys.exit(2)
