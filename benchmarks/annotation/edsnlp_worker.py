"""EDS-NLP on Spark, in its own environment: a dictionary of terms over notes of a Parquet file, as its docs say.

edsnlp_worker.py TERMS.json NOTES.parquet OUT.parquet CORES   prints JSON

Started by `benchmarks.annotation spark --edsnlp`; of this project it imports nothing.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import edsnlp
from pyspark.sql import SparkSession


def annotated(nlp: Any, notes: Any) -> Any:
    """A DataFrame with a row for every mention."""
    stream = edsnlp.data.from_spark(notes, converter="omop").map_pipeline(nlp).set_processing(backend="spark")
    schema = "note_id string, start int, end int, label string"
    return stream.to_spark(converter=mentions, schema=schema, show_dtypes=False)


def mentions(doc: Any) -> Any:
    """The rows of a Doc."""
    return [
        {"note_id": str(doc._.note_id), "start": ent.start_char, "end": ent.end_char, "label": ent.label_}
        for ent in doc.ents
    ]


def main(terms: str, source: str, target: str, cores: int) -> None:
    """Time it from Parquet to Parquet, when its Python workers have been started."""
    nlp = edsnlp.blank("eds")
    with open(terms, encoding="utf8") as file:
        nlp.add_pipe("eds.matcher", config={"terms": json.load(file), "attr": "LOWER"})
    settings = {"spark.ui.showConsoleProgress": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": "500"}
    builder = SparkSession.builder.master(f"local[{cores}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    notes = spark.read.parquet(source).select("note_id", "note_text").repartition(4 * cores)
    annotated(nlp, notes.limit(8 * cores).repartition(2 * cores)).count()
    begun = time.perf_counter()
    annotated(nlp, notes).write.parquet(target)
    print(json.dumps({"seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
