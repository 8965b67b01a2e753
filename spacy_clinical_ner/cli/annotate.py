"""`clinical-ner annotate`: notes in, BRAT files out."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Any, Optional

import typer

from spacy_clinical_ner.cli.convert import OFFSETS_HELP, Offsets
from spacy_clinical_ner.cli.numbers import MAX_THREADS

# A pipeline that fails on every note need not fill the screen.
SHOWN_FAILURES = 20


class Format(str, Enum):
    """What is written."""

    BRAT = "brat"


def annotate(
    pipeline: str = typer.Argument(..., help="A pipeline: the folder that `spacy train` wrote, or a package's name."),
    input: Path = typer.Argument(..., help="Folder of notes (every .txt below it), or one .txt file."),
    output_dir: Path = typer.Argument(..., help="Folder to write: each note with its .ann, under the same names."),
    format: Format = typer.Option(Format.BRAT, "--format", help="What to write: .txt and .ann files."),
    n_process: int = typer.Option(1, min=1, max=MAX_THREADS, help="Processes to annotate with."),
    batch_size: Optional[int] = typer.Option(
        None, min=1, max=1_000_000, help="Notes per batch; by default as the pipeline's config says."
    ),
    spans_key: str = typer.Option("sc", help="Key of doc.spans with mentions that may overlap."),
    confidence: bool = typer.Option(
        False, "--confidence", help="Write each mention's probability as a note on it, where the pipeline gives one."
    ),
    given_entities: bool = typer.Option(
        False,
        "--given-entities",
        help="Keep the entities of the .ann files beside the notes and add only the relations that the pipeline finds.",
    ),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=f"With --given-entities. {OFFSETS_HELP}"),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that exist in OUTPUT_DIR."),
) -> None:
    """Annotate notes with a pipeline and write them as BRAT files.

    Notes are read and written one after the other and their text is copied byte for byte; annotations that they
    already have are left alone. A note on which the pipeline fails is named at the end, with status 2; all others
    are written.

    With --given-entities every line of the .ann beside a note is copied but for relations (R): those that the pipeline
    finds take their place. Components that find entities do not run; a joint_extractor uses the given ones.

    Example: clinical-ner annotate es_cantemist_ner notes annotated --confidence
    """
    annotate_folder(
        pipeline,
        input,
        output_dir,
        overwrite=overwrite,
        spans_key=spans_key,
        confidence=confidence,
        n_process=n_process,
        batch_size=batch_size,
        given_entities=given_entities,
        offsets=offsets.value,
    )


def annotate_folder(pipeline: str, input: Path, output_dir: Path, *, overwrite: bool = False, **options: Any) -> None:
    """`annotation.annotate_notes` with these options, and a table of what came out; exit status 2 for failures."""
    from wasabi import msg

    from spacy_clinical_ner.annotation import annotate_notes, plan_jobs
    from spacy_clinical_ner.pipelines import load_pipeline

    jobs = plan_jobs(input, output_dir, overwrite=overwrite)
    summary = annotate_notes(load_pipeline(pipeline), jobs, progress=sys.stderr.isatty(), **options)
    msg.table(
        [
            ("notes", f"{summary.notes:,}"),
            ("words", f"{summary.words:,}"),
            ("mentions", f"{sum(summary.mentions.values()):,}"),
            *((f"  {label}", f"{count:,}") for label, count in summary.mentions.most_common()),
            *((f"  {label} (relation)", f"{count:,}") for label, count in summary.relations.most_common()),
            ("time", f"{summary.seconds:.1f} s, {summary.words_per_second:,.0f} words/s"),
        ]
    )
    if not summary.failures:
        msg.good(f"Saved annotations to {output_dir}")
        return
    for failure in summary.failures[:SHOWN_FAILURES]:
        print(f"clinical-ner: {failure}", file=sys.stderr)
    more = len(summary.failures) - SHOWN_FAILURES
    if more > 0:
        print(f"clinical-ner: {more} more notes could not be annotated", file=sys.stderr)
    raise typer.Exit(2)
