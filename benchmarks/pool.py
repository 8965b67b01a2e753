"""The best tagger of CANTEMIST so far, and what each step to it adds: a pool, dev1/ too, a student on raw notes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

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
STUDENT, ALL = "student of that pool on raw notes", "pool of the three"


@app.command()
def pool(
    words: Path = typer.Option(..., help="Trained crf_ner over word vectors.", exists=True, file_okay=False),
    transformer: Path = typer.Option(..., help="Trained crf_ner over a transformer.", exists=True, file_okay=False),
    corpus: Path = typer.Option(..., help="Folder of CANTEMIST, as published.", exists=True, file_okay=False),
    refits: bool = typer.Option(True, help="Whether to train both on dev1/ too, and to pool those."),
    epochs: int = typer.Option(
        0, min=0, help="Passes over background/ in which the last pool teaches a student; 0: there is none."
    ),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/RESULTS.md."),
) -> None:
    """CANTEMIST, dev2/: two taggers that were trained on train/ alone, their pool, and the same trained on dev1/ too.

    The taggers are those that `tagger.py cantemist` and `pretrained.py` leave below benchmarks/work/, or any others
    with a `crf_ner`. dev1/ had stopped their training; `clinical-ner refit` trains them on it as well, for the steps of
    their configs. Strict micro F over characters against the original .ann, with a bootstrap interval over documents;
    differences are paired, to the tagger over word vectors. With --epochs the last pool then teaches a new tagger over
    word vectors on the raw notes (`clinical-ner distill`), which joins it. What has finished is stored below
    benchmarks/work/ and not repeated.

    Example: python benchmarks/pool.py --words PIPELINE --transformer PIPELINE --corpus ../shared/data/cantemist
    """
    results = measure(words.resolve(), transformer.resolve(), corpus.resolve(), refits, epochs)
    typer.echo("\n" + report(results))
    if record:
        from results import RESULTS
        from results import record as write

        write("pool: CANTEMIST, two taggers and what they find together (benchmarks/pool.py)", line(results), PACKAGES)
        typer.echo(f"Recorded in {RESULTS}")


def measure(words: Path, transformer: Path, corpus: Path, refits: bool, epochs: int = 0) -> List[Dict[str, Any]]:
    """A row for each tagger: {"name", "seconds", "scores" with the paired "comparison" to the first row, "commit"}."""
    chosen = digest({WORDS: identity(words), ENCODER: identity(transformer)})
    work = WORK / f"{CANTEMIST.name}-{fingerprint(corpus)}" / chosen
    parts = lay_out(CANTEMIST, corpus, work)
    models = {WORDS: words, ENCODER: transformer, POOL: work / "models" / "pool"}
    replace = ("--overwrite",)
    commands = {POOL: package_command("pool", words, transformer, models[POOL], *replace)}
    if refits:
        again = {name + REFIT: work / "models" / f"refit-{slug(name)}" for name in (WORDS, ENCODER, POOL)}
        models.update(again)
        for name in (WORDS, ENCODER):
            notes = (models[name], parts.train, again[name + REFIT], "--also", parts.dev)
            commands[name + REFIT] = package_command("refit", *notes, *replace)
        commands[POOL + REFIT] = package_command("pool", *again.values(), *replace)
    if epochs:
        members = [models[name + REFIT * refits] for name in (WORDS, ENCODER)]
        models[STUDENT], models[ALL] = work / "models" / f"student-{epochs}", work / "models" / f"three-{epochs}"
        vectors = load_config(words / "config.cfg", interpolate=True)["initialize"]["vectors"]
        notes = (corpus / "background", models[STUDENT], "--config", CANTEMIST.config, "--vectors", vectors)
        teacher = models[POOL + REFIT * refits]
        commands[STUDENT] = package_command("distill", teacher, *notes, "--epochs", epochs, *replace)
        commands[ALL] = package_command("pool", *members, models[STUDENT], models[ALL], *replace)
    results: List[Dict[str, Any]] = []
    for name, model in models.items():
        folder = work / (slug(name) + f"-{epochs}" * (name in (STUDENT, ALL)))
        done = read_json(folder / "result.json")
        if done is None:
            typer.echo(f"{name}: running, files in {folder}")
            made = run_logged(name, commands[name], folder / "make.log") if name in commands else None
            annotate(name, model, parts.test, folder)
            compare = work / slug(WORDS) / "predictions" if name != WORDS else None
            scores = score(parts.test, folder / "predictions", compare=compare)
            done = {"name": name, "seconds": made.seconds if made else 0.0, "scores": scores, "commit": commit()}
            write_json(folder / "result.json", done)
        typer.echo(f"{name}: F {done['scores']['f']:.4f}")
        results.append(done)
    return results


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
