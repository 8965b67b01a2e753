"""The best tagger of CANTEMIST so far, and what each step to it adds: a pool, dev1/ too, a student on raw notes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import typer
from spacy.util import load_config

from benchmarks.common import WORK as TAGGER_WORK
from benchmarks.common import (
    annotate,
    digest,
    fingerprint,
    package_command,
    read_json,
    run_logged,
    score,
    show_difference,
    show_f,
    table,
    write_json,
)
from benchmarks.corpus import CANTEMIST, lay_out
from benchmarks.results import commit, interval
from benchmarks.results import difference as paired
from spacy_clinical_ner.errors import ClinicalNerError, InputError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PACKAGES = ("spacy-clinical-ner", "spacy", "spacy-transformers", "transformers", "thinc", "torch")
WORK = TAGGER_WORK.parent / "pool"
WORDS, ENCODER, POOL = "word vectors", "transformer", "pool"
REFIT, PASSES = ", trained on dev1/ too", ", as many passes"
STUDENT, ALL = "student of that pool on raw notes", "pool with the student"


@app.command()
def pool(
    words: Path = typer.Option(..., help="Trained crf_ner over word vectors.", exists=True, file_okay=False),
    transformers: List[Path] = typer.Option(
        ..., "--transformer", help="Trained crf_ner over a transformer; may be repeated.", exists=True, file_okay=False
    ),
    corpus: Path = typer.Option(..., help="Folder of CANTEMIST, as published.", exists=True, file_okay=False),
    refits: bool = typer.Option(True, help="Whether to train all on dev1/ too, and to pool those."),
    same_passes: bool = typer.Option(
        False, "--same-passes", help="Train them on dev1/ too in as many passes over the notes, not in as many updates."
    ),
    epochs: int = typer.Option(
        0, min=0, help="Passes over background/ in which the last pool teaches a student; 0: there is none."
    ),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/results/."),
) -> None:
    """CANTEMIST, dev2/: taggers that were trained on train/ alone, their pool, and the same trained on dev1/ too.

    The taggers are those that `benchmarks.papers` leaves below benchmarks/work/, or any others with a `crf_ner`. dev1/
    had stopped their training; `clinical-ner refit` trains them on it as well, for the steps of their configs or in
    proportion to the notes. Strict micro F over characters against the original .ann, with a bootstrap interval over
    documents; differences are paired, to the tagger over word vectors. With --epochs the last pool then teaches a new
    tagger over word vectors on the raw notes (`clinical-ner distill`), which joins it. What has finished is stored
    below benchmarks/work/ and not repeated, with the same taggers in another pool neither.

    Example: python -m benchmarks.tagger.pool --words PIPELINE --transformer PIPELINE --corpus ../shared/data/cantemist
    """
    given = [path.resolve() for path in (words, *transformers)]
    results = measure(given, corpus.resolve(), refits, same_passes, epochs)
    typer.echo("\n" + report(results))
    if record:
        from benchmarks.results import record as write

        path = write("tagger pool", figures(results), PACKAGES, setting=f"differences are those to {WORDS}")
        typer.echo(f"Recorded in {path}")


def measure(
    given: Sequence[Path], corpus: Path, refits: bool, same_passes: bool = False, epochs: int = 0
) -> List[Dict[str, Any]]:
    """A row for each tagger: {"name", "seconds", "scores" with the paired "comparison" to the first row, "commit"}.

    given: the tagger over word vectors, and those over transformers.
    """
    work = WORK / f"{CANTEMIST.name}-{fingerprint(corpus)}" / identity(given[0])
    parts = lay_out(CANTEMIST, corpus, work)
    plan = Plan(work)
    names = [WORDS, *(f"{ENCODER} {number}" if number > 1 else ENCODER for number in range(1, len(given)))]
    members = [plan.give(name, pipeline) for name, pipeline in zip(names, given)]
    together = plan.make(POOL, "pool", *members)
    if refits:
        suffix, options = REFIT, ["--also", parts.dev]
        if same_passes:
            suffix, options = REFIT + PASSES, [*options, "--same-passes"]
        members = [plan.make(old.name + suffix, "refit", old, parts.train, options=options) for old in members]
        together = plan.make(POOL + suffix, "pool", *members)
    if epochs:
        vectors = load_config(given[0] / "config.cfg", interpolate=True)["initialize"]["vectors"]
        options = ["--config", CANTEMIST.config, "--vectors", vectors, "--epochs", epochs]
        student = plan.make(STUDENT, "distill", together, corpus / "background", options=options)
        plan.make(ALL, "pool", *members, student)
    compare = plan.steps[0].folder / "predictions"
    return [finish(step, parts.test, compare) for step in plan.steps]


class Step(NamedTuple):
    """A tagger: the folder for its results, named for how it came about, its pipeline, and the command that makes it.

    The command is None for a tagger that was given.
    """

    name: str
    folder: Path
    model: Path
    command: Optional[Tuple[str, ...]]


class Plan:
    """The taggers in their order, with their results and pipelines below the folder `work`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.steps: List[Step] = []

    def give(self, name: str, pipeline: Path) -> Step:
        """A tagger that is there. Raises InputError if it is not a pipeline with one."""
        return self._add(Step(name, self.work / f"given-{identity(pipeline)}", pipeline, None))

    def make(self, name: str, command: str, *arguments: Any, options: Sequence[Any] = ()) -> Step:
        """A tagger that a command of the package makes from others and from notes."""
        made_from = [
            (each.folder if isinstance(each, Step) else Path(str(each))).name for each in (*arguments, *options)
        ]
        folder = self.work / f"{command}-{digest({command: made_from})}"
        sources = [each.model if isinstance(each, Step) else each for each in arguments]
        made_by = package_command(command, *sources, folder / "model", *options, "--overwrite")
        return self._add(Step(name, folder, folder / "model", made_by))

    def _add(self, step: Step) -> Step:
        self.steps.append(step)
        return step


def finish(step: Step, notes: Path, compare: Path) -> Dict[str, Any]:
    """Make and score a tagger, unless that is done; compare: predictions for the paired comparison."""
    done = read_json(step.folder / "result.json")
    if done is None:
        typer.echo(f"{step.name}: running, files in {step.folder}")
        made = run_logged(step.name, step.command, step.folder / "make.log") if step.command else None
        annotate(step.name, step.model, notes, step.folder)
        predictions = step.folder / "predictions"
        scores = score(notes, predictions, compare=None if predictions == compare else compare)
        done = {"seconds": made.seconds if made else 0.0, "scores": scores, "commit": commit()}
        write_json(step.folder / "result.json", done)
    typer.echo(f"{step.name}: F {done['scores']['f']:.4f}")
    return {**done, "name": step.name}


def identity(pipeline: Path) -> str:
    """Digits that change with a pipeline's tagger. Raises InputError if it has none."""
    model = pipeline / "crf_ner" / "model"
    if not model.is_file():
        raise InputError(model, None, "no such file; give a pipeline with a crf_ner")
    return hashlib.sha256(model.read_bytes()).hexdigest()[:8]


def report(results: Sequence[Mapping[str, Any]]) -> str:
    """A table for a person."""
    rows = [
        [
            result["name"],
            show_f(result["scores"]),
            f"{result['scores']['p']:.4f}",
            f"{result['scores']['r']:.4f}",
            difference(result),
            f"{result['seconds'] / 60:.1f}",
        ]
        for result in results
    ]
    header = ("tagger", "strict micro F [95% CI]", "P", "R", f"against {WORDS}", "training here, min")
    return table(header, rows)


def difference(result: Mapping[str, Any]) -> str:
    found = result["scores"].get("comparison")
    return show_difference(found) if found else ""


def figures(results: Sequence[Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows = []
    for result in results:
        found = result["scores"].get("comparison")
        row = {"name": result["name"], "f": interval(result["scores"])}
        row["difference"] = paired(found) if found else None
        minutes = round(result["seconds"] / 60, 1) or None
        rows.append({**row, "minutes": minutes, "trained_at": result["commit"]})
    return rows


def main() -> None:
    """Run the command line; what a person can put right ends with one line and status 2."""
    try:
        app()
    except ClinicalNerError as error:
        print(f"benchmarks.tagger.pool: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
