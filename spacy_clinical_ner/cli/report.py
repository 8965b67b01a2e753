"""`clinical-ner report`: everything about one or more systems' predictions on one page."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any, Iterable, List, Mapping, Optional, Sequence

import typer

from spacy_clinical_ner.cli.numbers import MAX_SEED
from spacy_clinical_ner.errors import ClinicalNerError


class ReportFormat(str, Enum):
    html = "html"
    md = "md"
    json = "json"


def report(
    gold: Path = typer.Argument(..., metavar="GOLD", help="Folder of notes (.txt) with gold .ann files."),
    predictions: List[Path] = typer.Argument(
        ...,
        metavar="PRED...",
        help="Folders of predicted .ann files, one a system. The first is compared with the rest.",
    ),
    output: Path = typer.Option(Path("report.html"), "--output", "-o", help="The page to write."),
    format: Optional[ReportFormat] = typer.Option(
        None, "--format", help="html, md (for pull requests and model cards) or json. Default: by the output's suffix."
    ),
    title: str = typer.Option("Report", help="Heading of the page."),
    name: List[str] = typer.Option([], "--name", help="Name of a system, in the order of the folders; repeat it."),
    train: Optional[Path] = typer.Option(
        None, metavar="FOLDER", help="Training notes (BRAT): figures by how often a mention stood in them."
    ),
    training: Optional[Path] = typer.Option(
        None, metavar="FOLDER", help="What `spacy train -o FOLDER` wrote: loss and scores over updates, config, audits."
    ),
    pipeline: List[str] = typer.Option(
        [],
        "--pipeline",
        help="The pipeline of a system (folder or package), in the order of the folders; repeat it. Tells missed "
        "relations whose mentions are no candidate pair from those that the model turned down.",
    ),
    show_text: bool = typer.Option(
        False,
        "--show-text",
        help="Show the notes themselves (html only): the page then holds patient data.",
    ),
    relations: Optional[bool] = typer.Option(
        None, "--relations/--no-relations", help="Score relations. Default: if gold or a prediction has any."
    ),
    bootstrap: int = typer.Option(
        1000, "--bootstrap", min=1, max=1_000_000, help="Resamples of the documents for 95% intervals."
    ),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of the resamples."),
    ignore_extra: bool = typer.Option(
        False, "--ignore-extra", help="Leave out predictions for notes that gold lacks, instead of stopping."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace a file that `report` did not make; its own is replaced in any case."
    ),
) -> None:
    """See what a system does and where it errs: scores, kinds of error, confusion, strata, confidence, comparison.

    The page is one file, opens without a network and prints. Without --show-text no character of a note is in it.
    Every score is that of `clinical-ner evaluate`.

    Example: clinical-ner report corpus/dev predictions/dev --output report.html --train corpus/train

    Example: clinical-ner report corpus/dev predictions/crf predictions/trf --name CRF --name transformer

    Example: clinical-ner report corpus/dev predictions/dev --training training --pipeline training/model-best
    """
    kind = format.value if format else output.suffix.lstrip(".")
    if kind not in {each.value for each in ReportFormat}:
        raise ClinicalNerError(f"{output}: choose a name that ends in .html, .md or .json, or pass --format")
    if show_text and kind != "html":
        raise ClinicalNerError("report: --show-text needs --format html")
    if len(pipeline) > len(predictions):
        raise ClinicalNerError(f"{len(pipeline)} times --pipeline, but {len(predictions)} folders of predictions")

    write_report(
        gold,
        predictions,
        {output: kind},
        title,
        overwrite=overwrite,
        names=name,
        relations=relations,
        train=train,
        training=training,
        pipelines=pipeline,
        samples=bootstrap,
        seed=seed,
        ignore_extra=ignore_extra,
        show_text=show_text,
    )


def write_report(
    gold: Path,
    predictions: List[Path],
    outputs: Mapping[Path, str],
    title: str,
    *,
    overwrite: bool = False,
    pipelines: Sequence[str] = (),
    **options: Any,
) -> None:
    """Write the report of `evaluation.report.collect` with these options, and say where it is.

    outputs: files and their kinds, "html", "md" or "json". pipelines: of the first systems.
    """
    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.evaluation.report import collect, render
    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import REPORT, check_output

    inputs = [gold, *predictions, *([options["train"]] if options.get("train") else [])]
    for output in outputs:
        check_output(output, REPORT, inputs=inputs, overwrite=overwrite)
    if pipelines:
        from spacy_clinical_ner.annotation.candidate_pairs import candidates_of

        options["candidates"] = [candidates_of(name) for name in pipelines]

    def progress(names: Iterable) -> Iterable:
        return tqdm(names, desc="report", unit="note", disable=not sys.stderr.isatty())

    collected = collect(gold, predictions, progress=progress, **options)
    for output, kind in outputs.items():
        page = render(collected, kind, title)
        with replacing(output) as temporary:
            temporary.write_text(page, encoding="utf8")
        msg.good(f"Saved the report to {output}")
