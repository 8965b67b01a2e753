"""`clinical-ner annotate`: notes in, BRAT files or rows of a table out."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Optional

import typer

from spacy_clinical_ner.cli.convert import OFFSETS_HELP, Offsets
from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_THREADS

if TYPE_CHECKING:
    from spacy_clinical_ner.annotation.tasks import Outcome, Task


class Format(str, Enum):
    """What is written."""

    BRAT = "brat"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    SPACY = "spacy"
    SQL = "sql"


class Schema(str, Enum):
    """Columns of the rows."""

    ROWS = "rows"
    OMOP = "omop"


class Engine(str, Enum):
    """What does the work."""

    LOCAL = "local"
    SPARK = "spark"


def annotate(
    pipeline: str = typer.Argument(..., help="A pipeline: the folder that `spacy train` wrote, or a package's name."),
    input: str = typer.Argument(
        ...,
        help="Notes: a folder of .txt, .parquet or .spacy files; a .txt, .jsonl, .csv (both also with .gz), "
        ".parquet or .spacy file; or the URL of a database.",
    ),
    output: str = typer.Argument(
        ..., metavar="OUTPUT", help="Folder or file to write, or the URL of a database: see --format."
    ),
    format: Optional[Format] = typer.Option(
        None, "--format", help="What to write; by default as OUTPUT's ending says, or else BRAT's .txt and .ann files."
    ),
    schema: Schema = typer.Option(Schema.ROWS, "--schema", help="Rows of mentions and relations, or OMOP's NOTE_NLP."),
    id_column: str = typer.Option("note_id", help="Column of the input with the note's id."),
    text_column: Optional[str] = typer.Option(
        None, help="Column of the input with the note's text; by default text, or note_text with --schema omop."
    ),
    carry: List[str] = typer.Option([], help="A column of the input to carry along; may be given more than once."),
    text: bool = typer.Option(False, "--text", help="Write the text of mentions into rows."),
    table_in: Optional[str] = typer.Option(None, "--from", help="Table of the input's database, also SCHEMA.TABLE."),
    query: Optional[str] = typer.Option(None, help="SQL to read the notes with, instead of --from."),
    table_out: Optional[str] = typer.Option(
        None, "--table", help="Table to write; by default annotations, or note_nlp with --schema omop."
    ),
    engine: Engine = typer.Option(Engine.LOCAL, "--engine", help="Processes of this machine, or Spark."),
    master: Optional[str] = typer.Option(None, help="With --engine spark: its master, such as local[4] or yarn."),
    n_process: int = typer.Option(1, min=1, max=MAX_THREADS, help="Processes to annotate with."),
    unordered: bool = typer.Option(
        False, "--unordered", help="Within each part, shortest notes first: less padding in batches of a transformer."
    ),
    batch_size: Optional[int] = typer.Option(
        None, min=1, max=1_000_000, help="Notes per batch, at most; by default --batch-tokens alone counts."
    ),
    batch_tokens: int = typer.Option(
        20_000, min=1, max=MAX_COUNT, help="Tokens per batch; the last note may exceed it."
    ),
    max_length: Optional[int] = typer.Option(
        None, min=1, max=MAX_COUNT, help="Longer notes (in characters) fail, instead of filling the memory."
    ),
    max_errors: Optional[int] = typer.Option(None, min=0, max=MAX_COUNT, help="Stop when more notes than this fail."),
    spans_key: str = typer.Option("sc", help="Key of doc.spans with mentions that may overlap."),
    confidence: bool = typer.Option(
        False, "--confidence", help="BRAT: write each mention's probability as a note on it, if the pipeline gives one."
    ),
    given_entities: bool = typer.Option(
        False,
        "--given-entities",
        help="Keep the entities of the .ann files beside the notes and add only the relations that the pipeline finds.",
    ),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=f"With --given-entities. {OFFSETS_HELP}"),
    state: Optional[Path] = typer.Option(
        None, help="Folder in which the run keeps what is done and errors.jsonl; by default OUTPUT.run."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what is there under the name of OUTPUT."),
) -> None:
    """Annotate notes with a pipeline, and write them as BRAT files, or what was found as rows of a table.

    Notes are read and written one after the other. A run that was stopped, even by kill -9, goes on where it was when
    the same command is given again. Notes that fail are named in errors.jsonl, without their text: status 1 (2 if BRAT
    files are written); all others are written.

    BRAT: every .txt is copied byte for byte, with what was found in the .ann beside it. With --given-entities every
    line of the .ann beside a note is copied but for relations (R): those that the pipeline finds take their place.
    Components that find entities do not run; a joint_extractor uses the given ones.

    Examples:

    clinical-ner annotate es_cantemist_ner notes annotated --confidence

    clinical-ner annotate es_cantemist_ner notes.jsonl.gz mentions.parquet --n-process 4 --carry ward

    clinical-ner annotate es_cantemist_ner postgresql+psycopg://host/cdm postgresql+psycopg://host/cdm --from note
    --format sql --schema omop
    """
    from spacy_clinical_ner.annotation.local import Settings
    from spacy_clinical_ner.annotation.tables import Columns
    from spacy_clinical_ner.annotation.tasks import Task

    text_column = text_column or ("note_text" if schema is Schema.OMOP else "text")
    settings = Settings(
        spans_key=spans_key, confidence=confidence, given_entities=given_entities, offsets=offsets.value,
        unordered=unordered, max_length=max_length, batch_size=batch_size, batch_tokens=batch_tokens,
    )  # fmt: skip
    task = Task(
        pipeline, input, output, _format(format, output), schema.value, Columns(id_column, text_column, tuple(carry)),
        text=text, table_in=table_in, query=query, table_out=table_out, state=state, overwrite=overwrite,
        settings=settings, n_process=n_process, spark=engine is Engine.SPARK, master=master, max_errors=max_errors,
        progress=sys.stderr.isatty(),
    )  # fmt: skip
    run_task(task)


def _format(format: Optional[Format], output: str) -> str:
    if format is not None:
        return format.value
    if "://" in output:
        return "sql"
    endings = {f".{each.value}": each.value for each in Format if each not in (Format.BRAT, Format.SQL)}
    path = Path(output.lower())
    return endings.get(path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix, "brat")


def annotate_folder(pipeline: str, input: Path, output_dir: Path, *, overwrite: bool = False, **settings: Any) -> None:
    """BRAT files of a folder of notes, as `clinical-ner annotate` writes them. settings: of `annotation.Settings`."""
    from spacy_clinical_ner.annotation.local import Settings
    from spacy_clinical_ner.annotation.tasks import Task

    task = Task(pipeline, str(input), str(output_dir), overwrite=overwrite, settings=Settings(**settings))
    task.progress = sys.stderr.isatty()
    run_task(task)


def run_task(task: Task) -> None:
    """Do a task and print a table of what came out; exit status 1 (BRAT: 2) for notes that failed."""
    from spacy_clinical_ner.annotation.local import TooManyErrors
    from spacy_clinical_ner.annotation.tasks import annotate

    try:
        outcome = annotate(task)
    except TooManyErrors as error:
        print(f"clinical-ner: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    _report(task, outcome)


def _report(task: Task, outcome: Outcome) -> None:
    from wasabi import msg

    summary = outcome.summary
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
    if outcome.already:
        msg.good(f"Nothing to do: {task.shown} was finished by the same command before")
    if not summary.n_failed:
        if not outcome.already:
            msg.good(f"Saved annotations to {task.shown}")
        return
    for failure in summary.failures:
        print(f"clinical-ner: {failure}", file=sys.stderr)
    more = summary.n_failed - len(summary.failures)
    if more > 0:
        print(f"clinical-ner: {more} more notes could not be annotated", file=sys.stderr)
    msg.info(f"{summary.n_failed:,} notes failed: {outcome.errors}")
    raise typer.Exit(2 if task.format == "brat" else 1)
