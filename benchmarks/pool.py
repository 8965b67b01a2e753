"""The best tagger of CANTEMIST so far, and what each step to it adds: a pool, dev1/ too, a student on raw notes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import typer
from results import commit
from spacy.util import load_config
from tagger_common import WORK as TAGGER_WORK
from tagger_common import (
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
from tagger_corpus import CANTEMIST, lay_out

from spacy_clinical_ner.errors import ClinicalNerError, InputError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PACKAGES = ("spacy-clinical-ner", "spacy", "spacy-transformers", "transformers", "thinc", "torch")
WORK = TAGGER_WORK.parent / "pool"
WORDS, ENCODER, POOL = "word vectors", "transformer", "pool of both"
REFIT = ", trained on dev1/ too"
SEEDS = "pool of both in {} seeds" + REFIT
STUDENT, ALL = "student of the pool of both on raw notes", "pool of both and the student"


@app.command()
def pool(
    words: Path = typer.Option(..., help="Trained crf_ner over word vectors.", exists=True, file_okay=False),
    transformer: Path = typer.Option(..., help="Trained crf_ner over a transformer.", exists=True, file_okay=False),
    corpus: Path = typer.Option(..., help="Folder of CANTEMIST, as published.", exists=True, file_okay=False),
    refits: bool = typer.Option(True, help="Whether to train both on dev1/ too, and to pool those."),
    seeds: int = typer.Option(
        1, min=1, help="Train both on dev1/ too in so many seeds, and pool them all; 1: in that of their configs only."
    ),
    epochs: int = typer.Option(
        0, min=0, help="Passes over background/ in which the pool of both teaches a student; 0: there is none."
    ),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/RESULTS.md."),
) -> None:
    """CANTEMIST, dev2/: two taggers that were trained on train/ alone, their pool, and the same trained on dev1/ too.

    The taggers are those that `tagger.py cantemist` and `pretrained.py` leave below benchmarks/work/, or any others
    with a `crf_ner`. dev1/ had stopped their training; `clinical-ner refit` trains them on it as well, for the steps of
    their configs. Strict micro F over characters against the original .ann, with a bootstrap interval over documents;
    differences are paired, to the tagger over word vectors. With --seeds 2 there are two more of them, with seed 1, and
    a pool of the four. With --epochs the pool of both teaches a new tagger over word vectors on the raw notes
    (`clinical-ner distill`), which joins the two. What has finished is stored below benchmarks/work/ and not repeated.

    Example: python benchmarks/pool.py --words PIPELINE --transformer PIPELINE --corpus ../shared/data/cantemist
    """
    if seeds > 1 and not refits:
        raise typer.BadParameter("other seeds are trained on dev1/ too: leave out --no-refits")
    results = measure(words.resolve(), transformer.resolve(), corpus.resolve(), refits, seeds, epochs)
    typer.echo("\n" + report(results))
    if record:
        from results import RESULTS
        from results import record as write

        write("pool: CANTEMIST, two taggers and what they find together (benchmarks/pool.py)", line(results), PACKAGES)
        typer.echo(f"Recorded in {RESULTS}")


def measure(
    words: Path, transformer: Path, corpus: Path, refits: bool, seeds: int = 1, epochs: int = 0
) -> List[Dict[str, Any]]:
    """A row for each tagger: {"name", "seconds", "scores" with the paired "comparison" to the first row, "commit"}."""
    chosen = digest({WORDS: identity(words), ENCODER: identity(transformer)})
    work = WORK / f"{CANTEMIST.name}-{fingerprint(corpus)}" / chosen
    parts = lay_out(CANTEMIST, corpus, work)
    given = {WORDS: words, ENCODER: transformer}
    plan = Plan(work, given)
    members = list(given.values())
    both = plan.add(POOL, "pool", *members)
    if refits:
        too = ("--also", parts.dev)
        members = [plan.add(name + REFIT, "refit", old, parts.train, options=too) for name, old in given.items()]
        both = plan.add(POOL + REFIT, "pool", *members)
        others = [
            plan.add(f"{name}{REFIT}, seed {seed}", "refit", old, parts.train, options=(*too, "--seed", seed))
            for seed in range(1, seeds)
            for name, old in given.items()
        ]
        if others:
            plan.add(SEEDS.format(seeds), "pool", *members, *others)
    if epochs:
        vectors = load_config(words / "config.cfg", interpolate=True)["initialize"]["vectors"]
        options = ("--config", CANTEMIST.config, "--vectors", vectors, "--epochs", epochs)
        by = f"-of-{both.name}-{epochs}"
        student = plan.add(STUDENT, "distill", both, corpus / "background", options=options, variant=by)
        plan.add(ALL, "pool", *members, student, variant=by)
    return [finish(step, parts.test, work / slug(WORDS) / "predictions") for step in plan.steps]


class Step(NamedTuple):
    """A tagger: the folder for its results, the pipeline, and the command that makes it if it was not given."""

    name: str
    folder: Path
    model: Path
    command: Optional[Tuple[str, ...]]


class Plan:
    """The taggers in their order. work: their results lie below it, and the models that are made below work/models."""

    def __init__(self, work: Path, given: Mapping[str, Path]) -> None:
        self.work = work
        self.steps = [Step(name, work / slug(name), model, None) for name, model in given.items()]

    def add(self, name: str, command: str, *arguments: Any, options: Sequence[Any] = (), variant: str = "") -> Path:
        """Plan a tagger that a command of the package makes; the folder that its pipeline will be in.

        variant: for the names of its folders, where the name does not tell how it is made.
        """
        folder = slug(name) + variant
        model = self.work / "models" / folder
        made_by = package_command(command, *arguments, model, *options, "--overwrite")
        self.steps.append(Step(name, self.work / folder, model, made_by))
        return model


def finish(step: Step, notes: Path, compare: Path) -> Dict[str, Any]:
    """Make and score a tagger, unless that is done; compare: predictions for the paired comparison."""
    done = read_json(step.folder / "result.json")
    if done is None:
        typer.echo(f"{step.name}: running, files in {step.folder}")
        made = run_logged(step.name, step.command, step.folder / "make.log") if step.command else None
        annotate(step.name, step.model, notes, step.folder)
        predictions = step.folder / "predictions"
        scores = score(notes, predictions, compare=None if predictions == compare else compare)
        done = {"name": step.name, "seconds": made.seconds if made else 0.0, "scores": scores, "commit": commit()}
        write_json(step.folder / "result.json", done)
    typer.echo(f"{step.name}: F {done['scores']['f']:.4f}")
    return done


def slug(name: str) -> str:
    return "-".join("".join(sign if sign.isalnum() else " " for sign in name).split())


def identity(pipeline: Path) -> str:
    """A hash of a pipeline's tagger. Raises InputError if it has none."""
    model = pipeline / "crf_ner" / "model"
    if not model.is_file():
        raise InputError(model, None, "no such file; give a pipeline with a crf_ner")
    return hashlib.sha256(model.read_bytes()).hexdigest()


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


def line(results: Sequence[Mapping[str, Any]]) -> str:
    """One line for RESULTS.md."""
    parts = []
    for result in results:
        against = difference(result)
        parts.append(
            f"{result['name']}: {show_f(result['scores'])}" + (f", against {WORDS} {against}" if against else "")
        )
    return "; ".join(parts)


def main() -> None:
    """Run the command line; what a person can put right ends with one line and status 2."""
    try:
        app()
    except ClinicalNerError as error:
        print(f"pool.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
