"""Spark gives the rows that `local` gives. Skipped by name without pyspark or Java."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sys
import time
from pathlib import Path

import pytest

from spacy_clinical_ner.annotation.rows import ROWS
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.annotation.tasks import random_notes, read_rows, run, write_jsonl

pytest.importorskip("pyspark", reason="Spark needs pyspark")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A pipeline on the disk: Python workers load it by themselves."""
    nlp = blank_pipeline("es")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": word} for word, label in (("carcinoma", "M"), ("fiebre", "S"))])
    folder = tmp_path_factory.mktemp("spark") / "pipeline"
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def spark():
    from spacy_clinical_ner.annotation.spark import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        found = session("local[1]")
        yield found
        found.stop()


def local_rows(source, target, pipeline, **options) -> list:
    run(source, target, pipeline=str(pipeline), format="jsonl", **options)
    return read_rows("jsonl", target)


def test_a_dataframe_has_the_rows_of_local(spark, pipeline, tmp_path):
    from spacy_clinical_ner.annotation import annotate_dataframe

    notes = random_notes(40)
    source = write_jsonl(tmp_path / "in.jsonl", notes)
    df = spark.createDataFrame(notes).withColumnRenamed("text", "note_text").repartition(3)
    found = annotate_dataframe(df, str(pipeline), text="note_text", id="note_id", carry=["ward"], mention_text=True)
    assert found.columns == [*(column.name for column in ROWS), "ward"]
    rows = [row.asDict() for row in found.collect()]
    expected = local_rows(source, tmp_path / "out.jsonl", pipeline, text=True)
    key = str
    assert sorted(rows, key=key) == sorted(expected, key=key) and rows


def test_notes_that_fail_are_rows(spark, pipeline):
    from spacy_clinical_ner.annotation import annotate_dataframe

    notes = [(1, "carcinoma", 7), (2, None, 8), (None, "tos", 9), (4, "secreto" * 100, 10)]
    df = spark.createDataFrame(notes, "note_id int, note_text string, ward int")
    rows = annotate_dataframe(df, str(pipeline), carry=["ward"], max_length=100).collect()
    assert {(row.note_id, row.kind, row.label, row.ward) for row in rows} == {
        ("1", "mention", "M", 7),
        ("2", "error", "a row: no text in the column 'note_text'", 8),
        ("a row", "error", "nothing in the column 'note_id'", 9),
        ("4", "error", "700 characters are more than --max-length allows", 10),
    }
    with pytest.raises(InputError, match="no column 'body'"):
        annotate_dataframe(df, str(pipeline), text="body")


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_engine_writes_what_local_writes(format, spark, pipeline, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [*random_notes(30), {"note_id": "bad"}])
    outcomes = []
    for name, engine in (("spark", True), ("local", False)):
        target = tmp_path / f"{name}.{format}"
        options = {"format": format, "text": True, "columns": Columns(), "pipeline": str(pipeline)}
        outcomes.append(run(source, target, spark=engine, master="local[1]", **options))
    assert read_rows(format, tmp_path / f"spark.{format}") == read_rows(format, tmp_path / f"local.{format}")
    first, second = (outcome.summary for outcome in outcomes)
    assert (first.notes, first.words, first.mentions) == (second.notes, second.words, second.mentions)
    assert outcomes[0].errors.read_text() == outcomes[1].errors.read_text() != ""


def test_omop(spark, pipeline, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(12))
    for name, engine in (("spark", True), ("local", False)):
        options = {"schema": "omop", "format": "jsonl", "pipeline": str(pipeline), "shard_notes": 500}
        run(source, tmp_path / name, spark=engine, master="local[1]", columns=Columns(), **options)
    first, second = (read_rows("jsonl", tmp_path / name / "part-00000.jsonl") for name in ("spark", "local"))
    changing = ("nlp_datetime", "nlp_date")
    assert [{**row, **dict.fromkeys(changing)} for row in first] == [{**r, **dict.fromkeys(changing)} for r in second]


def test_killed_at_any_time(pipeline, tmp_path):
    """By the engine `local` too what Spark began can be finished: parts that are done are done."""
    context = multiprocessing.get_context("spawn")
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(200))
    target = tmp_path / "out.jsonl"
    options = {
        "format": "jsonl", "spark": True, "master": "local[1]", "pipeline": str(pipeline), "shard_notes": 2,
    }  # fmt: skip
    process = context.Process(target=run, args=(source, target), kwargs=options)
    process.start()
    done = tmp_path / "out.jsonl.run" / "done.jsonl"
    end = time.monotonic() + 120
    while not done.exists() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(random.Random(1).uniform(0, 0.5))
    process.kill()
    process.join()
    assert process.exitcode == -9 and not target.exists()
    outcome = run(source, target, **options)
    assert outcome.summary.notes == 200
    assert read_rows("jsonl", target) == local_rows(source, tmp_path / "whole.jsonl", pipeline)
