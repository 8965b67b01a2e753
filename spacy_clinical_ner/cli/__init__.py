"""The `clinical-ner` command: thin typer commands over the functions of the package."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn, Sequence

import typer

from spacy_clinical_ner.errors import ClinicalNerError, MalformedLineError

PROGRAM = "clinical-ner"

app = typer.Typer(
    name=PROGRAM,
    help="Turn BRAT-annotated clinical notes into spaCy pipelines, and back.\n\n"
    "Exit status: 0 done; 1 done, but a threshold was crossed; 2 bad input or usage.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    if app.registered_commands:  # once a process, however often `main` runs in it
        return
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
        serve,
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
    app.command("serve")(serve.serve)
    app.command("evaluate")(evaluate.evaluate)
    app.command("report")(report.report)
    app.command("learning-curve", context_settings=learning_curve.CONTEXT)(learning_curve.learning_curve)
    app.command("search", context_settings=learning_curve.CONTEXT)(search.search)
    app.command("calibrate")(calibrate.calibrate)
    app.command("masks")(masks.masks)
    app.add_typer(project.app, name="project")


def main() -> None:
    """Run the command line; bad input and wrong usage end with one line on stderr and status 2."""
    _register()
    before = signal.signal(signal.SIGTERM, _end)
    try:
        status = app(prog_name=PROGRAM, standalone_mode=False)
    except MalformedLineError as error:
        advice = "--lenient drops and names such lines" if _offers("lenient", sys.argv[1:]) else error.advice
        _fail(f"{error.path}:{error.line}: {error.reason}; {advice}")
    except ClinicalNerError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except typer.Abort:
        status = 1
    except Exception as error:
        # Errors of usage: typer brings a click of its own in some versions, so that no class is theirs in all.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        path = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
        _fail(f"{path.removeprefix(PROGRAM).strip()}: {error.format_message()} (see {path} --help)".removeprefix(": "))
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(status)


def _offers(option: str, words: Sequence[str]) -> bool:
    """Whether the command that these words call has an option of this name."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return any(parameter.name == option for parameter in command.params)


def _end(number: int, frame: Any) -> NoReturn:
    # As an exception, so that unfinished work is removed on the way out.
    sys.exit(128 + number)


def _fail(message: str) -> NoReturn:
    # Names of files need not be UTF-8, and what is read from files may hold a line end.
    line = " ".join(message.split("\n"))
    print("clinical-ner: " + line.encode("utf8", "backslashreplace").decode("utf8"), file=sys.stderr)
    sys.exit(2)
