"""Spark: the rows of a DataFrame of notes, and the engine `spark` of the command line.

A pipeline is loaded once by every Python worker, from its name or its folder, and never by the driver; notes stream
through it in Arrow batches. The schema of the result depends on no data.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from spacy.attrs import IS_SPACE
from spacy.language import Language

from spacy_clinical_ner.annotation.local import (
    BATCH_TOKENS,
    SHARD_CHARACTERS,
    SHARD_NOTES,
    Annotator,
    Made,
    failure_record,
    shard_record,
)
from spacy_clinical_ner.annotation.notes import AnnotationSummary
from spacy_clinical_ner.annotation.piping import Intake, Job, annotated
from spacy_clinical_ner.annotation.rows import Row, empty_row, note_rows
from spacy_clinical_ner.annotation.runs import Record
from spacy_clinical_ner.annotation.tables import Columns, needed, shards
from spacy_clinical_ner.annotation.words import Forgetting
from spacy_clinical_ner.annotation.writers import RowCollector, RowMaker, arrow_schema
from spacy_clinical_ner.bridge.memory import keep_few_shapes
from spacy_clinical_ner.errors import ClinicalNerError, InputError, one_line
from spacy_clinical_ner.pipelines import load_pipeline

# Kinds of rows beside "mention" and "relation": a note that failed, with the reason as its label; and, for the command
# line alone, a note that did not, with its words as its end.
ERROR, NOTE = "error", "note"
# Parts (as `local` has them) of one job for each core, and tasks: some take longer than others.
_PARTS, _TASKS = 4, 8


def annotate_dataframe(
    df: Any,
    pipeline: str,
    text: str = "note_text",
    id: str = "note_id",
    *,
    carry: Sequence[str] = (),
    mention_text: bool = False,
    spans_key: str = "sc",
    max_length: Optional[int] = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Any:
    """The mentions and relations of notes, as a Spark DataFrame with the columns of `annotation.rows.ROWS`.

    df: a DataFrame of notes. pipeline: name of an installed package, or a folder, as the executors see it: below their
        working directory, if it was shipped with --archives.
    text, id: columns with a note's text and id (of any type: it becomes text). carry: columns to carry along.
    mention_text: fill the column "text" of mentions. The other options are those of `clinical-ner annotate`.

    Notes without mentions have no row. One that fails has a row of the kind "error", whose label is the reason.
    Raises ClinicalNerError without pyspark or pyarrow, or for a column that is not there.
    """
    needed("pyspark", "spark")
    settings = {"spans_key": spans_key, "max_length": max_length, "batch_tokens": batch_tokens}
    columns = Columns(id, text, tuple(carry))
    columns.check(df.columns, "the DataFrame")
    result = _annotate(df, pipeline, columns, {**settings, "mention_text": mention_text})
    return result.where(result.kind != NOTE)


def _annotate(df: Any, pipeline: str, columns: Columns, settings: Dict[str, Any]) -> Any:
    """Rows of all kinds."""
    arrow = needed("pyspark.sql.pandas.types", "spark")
    fields = arrow.from_arrow_schema(arrow_schema(RowMaker().columns)).fields
    fields += [df.schema[name] for name in columns.carried]
    schema = needed("pyspark.sql.types", "spark").StructType(fields)
    work = partial(_batches, pipeline=pipeline, columns=columns, settings=settings)
    return df.select(*columns.all).mapInArrow(work, schema)


def _batches(batches: Iterator[Any], *, pipeline: str, columns: Columns, settings: Dict[str, Any]) -> Iterator[Any]:
    """Arrow batches of notes to Arrow batches of rows; in a Python worker."""
    arrow = needed("pyarrow", "spark")
    nlp = _loaded(pipeline)
    with Forgetting(nlp) as words:
        for batch in batches:
            carried = [arrow.field(name, batch.schema.field(name).type) for name in columns.carried]
            schema = arrow.schema([*arrow_schema(RowMaker().columns), *carried])
            jobs = (columns.job(row, "a row") for row in batch.to_pylist())
            for part in shards(jobs, SHARD_NOTES, SHARD_CHARACTERS):
                words.between()
                rows = [row for found in _rows(nlp, part, **settings) for row in found]
                yield arrow.RecordBatch.from_pylist(rows, schema=schema)


@lru_cache(maxsize=1)
def _loaded(pipeline: str) -> Language:
    import torch

    torch.set_num_threads(1)  # Spark has a worker for every core
    keep_few_shapes()
    return load_pipeline(pipeline)


def _rows(
    nlp: Language, jobs: List[Job], *, spans_key: str, max_length: Optional[int], batch_tokens: int,
    mention_text: bool,
) -> Iterator[List[Row]]:  # fmt: skip
    """Rows of each note. They outlive its words, which the vocabulary may forget after the last note."""
    for job, _, doc in annotated(Intake(nlp, max_length), iter(jobs), batch_tokens=batch_tokens):
        if isinstance(doc, InputError):
            yield [{**empty_row(job.id, ERROR, "", doc.reason), **job.columns}]
            continue
        words = len(doc) - int(doc.to_array([IS_SPACE]).sum())
        rows = note_rows(doc, job.id, spans_key=spans_key, text=mention_text, columns=job.columns)
        yield [{**empty_row(job.id, NOTE, "", ""), "end": words, **job.columns}, *rows]


def session(master: Optional[str]) -> Any:
    """The Spark session of the command line.

    master: as Spark names it; without one, what spark-submit or spark-defaults say.
    Raises ClinicalNerError if Spark cannot be started, above all for want of Java.
    """
    if (master or "").startswith("local"):  # else what the cluster has; "python3" of the PATH may be another one
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = needed("pyspark.sql", "spark").SparkSession.builder.appName("clinical-ner")
    builder = builder if master is None else builder.master(master)
    settings = {"spark.ui.showConsoleProgress": "false", "spark.executorEnv.OMP_NUM_THREADS": "1"}
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # of py4j or Java
        raise ClinicalNerError(f"Spark cannot be started (is Java installed?): {one_line(error)}") from error


class SparkEngine:
    """Parts of the input through Spark: the driver reads and writes, as the engine `local` does.

    scale: how much larger than those of one process the parts are.
    """

    def __init__(self, spark: Any, pipeline: str) -> None:
        self.spark = spark
        self.pipeline = pipeline
        self.cores = spark.sparkContext.defaultParallelism
        self.scale = _PARTS * self.cores

    def __call__(self, annotator: Annotator, parts: Iterator[List[Job]], first: int) -> Made:
        """The parts in their order; the output is one of rows."""
        for number, part in enumerate(parts, first):
            yield self._part(annotator, number, part)

    def _part(self, annotator: Annotator, number: int, part: List[Job]) -> Tuple[Record, List[Any]]:
        intake = annotator.intake()
        summary, failures, texts = AnnotationSummary(), [], []
        for place, job in enumerate(part):
            try:
                texts.append((str(place), intake.read(job).text))
            except InputError as error:
                failures.append(failure_record(job, error))
        with annotator.output.shard(number) as (collector, made):
            assert isinstance(collector, RowCollector)
            for job, rows in self._notes(annotator, part, texts, collector.maker):
                failed = rows[0]["kind"] == ERROR
                problem = job.failure(rows[0]["label"]) if failed else collector.add(job, rows[1:])
                if problem is not None:
                    failures.append(failure_record(job, problem))
                    continue
                summary.notes += 1
                summary.words += rows[0]["end"]
                summary.mentions.update(row["label"] for row in rows if row["kind"] == "mention")
                summary.relations.update(row["label"] for row in rows if row["kind"] == "relation")
        return shard_record(number, part, summary, failures), made

    def _notes(
        self, annotator: Annotator, part: List[Job], texts: List[Tuple[str, str]], maker: RowMaker
    ) -> Iterator[Tuple[Job, List[Row]]]:
        """Every note with its rows, of which the first says how many words it has, or that it failed."""
        settings = annotator.settings
        options = {
            "spans_key": settings.spans_key, "max_length": None, "batch_tokens": settings.batch_tokens or BATCH_TOKENS,
            "mention_text": maker.with_text,
        }  # fmt: skip
        notes = self.spark.sparkContext.parallelize(texts, _TASKS * self.cores)
        df = self.spark.createDataFrame(notes, "note_id string, text string")
        try:
            found = _annotate(df, self.pipeline, Columns(), options).collect() if texts else []
        except Exception as error:  # of py4j or Java; what it says may quote anything
            line = f"Spark's job failed: {type(error).__name__}; can its Python workers load {self.pipeline}?"
            raise ClinicalNerError(line) from error
        for _, of_note in groupby((row.asDict() for row in found), key=lambda row: row["note_id"]):
            rows = list(of_note)
            job = part[int(rows[0]["note_id"])]
            yield job, [{**row, "note_id": job.id, **maker.carried(job)} for row in rows]
