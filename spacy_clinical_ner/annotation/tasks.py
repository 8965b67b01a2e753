"""A whole task: what to read, with which pipeline, where to write, and what was done of it before."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from spacy.language import Language

from spacy_clinical_ner.annotation.local import Annotator, PartMaker, Settings, annotate_all
from spacy_clinical_ner.annotation.notes import AnnotationSummary, check_folder
from spacy_clinical_ner.annotation.runs import Run, open_run, pipeline_fingerprint, unfinished
from spacy_clinical_ner.annotation.tables import Columns, FolderReader, Reader, needed, open_files
from spacy_clinical_ner.annotation.writers import Output, RowMaker, ending_of, open_output
from spacy_clinical_ner.bridge.memory import keep_few_shapes
from spacy_clinical_ner.errors import ClinicalNerError, InputError, OutputError
from spacy_clinical_ner.files import remove_leftovers
from spacy_clinical_ner.outputs import DOCS, PARTS, TABLE, check_output, check_writable
from spacy_clinical_ner.pipelines import load_pipeline

FORMATS = ("brat", "jsonl", "csv", "parquet", "spacy", "sql")


@dataclass
class Task:
    """What `clinical-ner annotate` is told.

    pipeline: name or folder. input: file, folder, or URL of a database, with its `table_in` or `query`.
    output: file, folder, or for the format "sql" URL of a database, with the name of its table in `table_out`.
    format: one of `FORMATS`. schema: "rows" or "omop". columns: of input tables. text: rows with the text of mentions.
    state: the folder of the run, by default OUTPUT.run beside the output. spark: by Spark, with this `master`, and not
    by `n_process` processes. The rest: see `annotate_all`.
    """

    pipeline: str
    input: str
    output: str
    format: str = "brat"
    schema: str = "rows"
    columns: Columns = field(default_factory=Columns)
    text: bool = False
    table_in: Optional[str] = None
    query: Optional[str] = None
    table_out: Optional[str] = None
    state: Optional[Path] = None
    overwrite: bool = False
    settings: Settings = field(default_factory=Settings)
    n_process: int = 1
    spark: bool = False
    master: Optional[str] = None
    max_errors: Optional[int] = None
    progress: bool = False

    @property
    def target(self) -> Path:
        return Path(self.output)

    @property
    def table(self) -> str:
        return self.table_out or ("note_nlp" if self.schema == "omop" else "annotations")

    @property
    def folder(self) -> Path:
        """Where the run keeps what it knows."""
        if self.state is not None:
            return self.state
        if self.format == "sql":
            return Path(f"{self.table}.run")
        target = self.target if self.target.name not in ("", "..") else self.target.resolve()
        return target.with_name(f"{target.name}.run")

    @property
    def shown(self) -> str:
        """The output in messages and in the manifest."""
        if self.format != "sql":
            return self.output
        from spacy_clinical_ner.annotation.database import shown

        return f"{shown(self.output)}, table {self.table}"


class Outcome(NamedTuple):
    """What came of a task. errors: the file that names the notes that failed. already: whether it was done before."""

    summary: AnnotationSummary
    errors: Path
    already: bool


def annotate(task: Task, nlp: Optional[Language] = None) -> Outcome:
    """Do a task, or go on with it where it was stopped. nlp: its pipeline, if that is loaded already.

    Raises ClinicalNerError for what is in its way.
    """
    _check(task)
    reader = open_reader(task)
    _check_target(task, reader)
    keep_few_shapes()
    nlp = load_pipeline(task.pipeline) if nlp is None else nlp
    # BRAT files are looked at one by one: what was finished before does not matter.
    overwrite = task.overwrite or (task.format == "brat" and not unfinished(task.folder))
    with open_run(task.folder, task.shown, _asked(task, reader, nlp), overwrite=overwrite) as run:
        if run.finished and task.format != "sql" and not task.target.exists():
            run.restart()
        for folder in (run.shards, task.target.parent):
            remove_leftovers(folder)
        already = run.finished
        annotator = Annotator(nlp, task.settings, _output(task, run, reader, nlp))
        summary = annotate_all(
            annotator, reader, pipeline=task.pipeline, n_process=task.n_process, elsewhere=_spark(task),
            max_errors=task.max_errors, progress=task.progress,
        )  # fmt: skip
        if task.format == "brat" and summary.n_failed == (0 if summary.notes else len(summary.failures)):
            run.remove()  # it knows nothing that has not been said: nothing is left where nothing was written
        return Outcome(summary, run.errors, already)


def _spark(task: Task) -> Optional[PartMaker]:
    if not task.spark:
        return None
    from spacy_clinical_ner.annotation.spark import SparkEngine, session

    return SparkEngine(session(task.master), task.pipeline)


def open_reader(task: Task) -> Reader:
    """Where the notes of a task come from."""
    if "://" in task.input:
        from spacy_clinical_ner.annotation.database import SqlReader

        return SqlReader(task.input, task.columns, table=task.table_in, query=task.query)
    reader = open_files(Path(task.input), task.columns, given_entities=task.settings.given_entities)
    if task.settings.given_entities and not isinstance(reader, FolderReader):
        raise InputError(task.input, None, "--given-entities needs a folder of .txt and .ann files")
    return reader


def _check(task: Task) -> None:
    if task.schema == "omop" and task.format in ("brat", "spacy"):
        raise ClinicalNerError(f"--schema omop makes rows: it goes with jsonl, csv, parquet and sql, not {task.format}")
    if task.spark:
        needed("pyspark", "spark")
        if task.format in ("brat", "spacy") or task.settings.given_entities:
            raise ClinicalNerError("--engine spark makes rows of texts: jsonl, csv, parquet or sql")
    if task.format == "sql":
        needed("sqlalchemy", "sql")
        if "://" not in task.output:
            raise OutputError(task.output, None, "--format sql writes to the URL of a database")
        if task.overwrite:
            raise OutputError(task.shown, None, "rows of a database are never replaced: no --overwrite")
    if task.format == "parquet":
        needed("pyarrow", "parquet")


def _check_target(task: Task, reader: Reader) -> None:
    """Before anything is loaded: nothing is written over the input, or over what was not made by such a run."""
    if task.format == "sql":
        return
    source, target = Path(task.input), task.target
    going_on = unfinished(task.folder)
    check_writable(target / "note.txt" if task.format == "brat" else target)
    if task.format == "brat" and isinstance(reader, FolderReader):
        check_folder(source, target, overwrite=task.overwrite or going_on)
    place = target.resolve()
    if source.is_dir() and source.resolve() in (place, *place.parents):
        raise OutputError(target, None, "annotations are never written into the input: choose another place")
    if task.format == "brat":
        return
    finished = (task.folder / "manifest.json").exists() and not task.overwrite
    if not (going_on or finished):
        single = ending_of(task.format, target)[1]
        kind = PARTS if not single else DOCS if task.format == "spacy" else TABLE
        check_output(target, kind, inputs=[source] if source.exists() else [], overwrite=task.overwrite)


def _asked(task: Task, reader: Reader, nlp: Language) -> Dict[str, Any]:
    """All that the output depends on."""
    options = {
        **task.settings._asdict(), "format": task.format, "schema": task.schema, "text": task.text,
        "columns": list(task.columns.all), "types": {name: kind.__name__ for name, kind in reader.types.items()},
    }  # fmt: skip
    software = {name: version(name) for name in ("spacy-clinical-ner", "spacy")}
    place = task.shown if task.format == "sql" else str(task.target.resolve())
    return {
        "input": reader.fingerprint(), "pipeline": pipeline_fingerprint(nlp), "software": software,
        "options": options, "output": place,
    }  # fmt: skip


def _output(task: Task, run: Run, reader: Reader, nlp: Language) -> Output:
    meta = nlp.meta
    maker = RowMaker(
        task.schema, task.text, task.settings.spans_key,
        {name: reader.types.get(name, str) for name in task.columns.carried},
        f"{meta['lang']}_{meta['name']} {meta['version']}", run.began,
    )  # fmt: skip
    if task.format != "sql":
        return open_output(run, task.format, task.target, maker, overwrite=task.overwrite)
    from spacy_clinical_ner.annotation.database import SqlOutput, first_number

    if task.schema == "omop":
        maker = maker._replace(first=run.keep("first", lambda: first_number(task.output, task.table)))
    return SqlOutput(run, task.output, task.table, maker)
