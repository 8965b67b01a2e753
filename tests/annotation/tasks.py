"""Notes, a pipeline and tasks for the tests of tables: small, and the same each time."""

from __future__ import annotations

import csv
import json
import random
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List

import pyarrow.parquet
import sqlalchemy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from spacy_clinical_ner.annotation import tasks as module
from spacy_clinical_ner.annotation.local import Settings
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.annotation.tasks import Outcome, Task, annotate
from spacy_clinical_ner.brat import read_folder
from spacy_clinical_ner.extensions import Relation, set_confidence
from spacy_clinical_ner.tokenization import blank_pipeline

WORDS = ("carcinoma", "fiebre", "tos", "con", "sin", "\u2028", "😀", '"comillas"', "a,b", "línea\r\nnueva", "niño")


@Language.component("test_tables_relates")
def relates(doc: Doc) -> Doc:
    if "secreto" in doc.text:
        raise ValueError(f"cannot digest {doc.text}")
    for number, ent in enumerate(doc.ents):
        set_confidence(ent, 1 / (number + 3))
    doc._.relations = [Relation(a, b, "NEXT", 0.1) for a, b in zip(doc.ents, doc.ents[1:])]
    return doc


@lru_cache(maxsize=1)
def pipeline() -> Language:
    nlp = blank_pipeline("es")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": word} for word, label in (("carcinoma", "M"), ("fiebre", "S"))])
    nlp.add_pipe("test_tables_relates")
    nlp.meta.update(name="test", version="1.2")
    return nlp


def random_notes(count: int, seed: int = 0) -> List[Dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {"note_id": str(number), "text": " ".join(rng.choices(WORDS, k=rng.randint(0, 12))), "ward": f"w{number % 3}"}
        for number in range(count)
    ]


def write_jsonl(path: Path, rows: List[Dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return path


def run(source: Path, target: object, monkeypatch: Any = None, **options: Any) -> Outcome:
    """Do a task with `pipeline()`, in parts of five notes. options: of Task, and of Settings."""
    if monkeypatch is not None:
        monkeypatch.setattr(module, "load_pipeline", lambda name: pipeline())
    settings = {name: options.pop(name) for name in list(options) if name in Settings._fields}
    columns = options.pop("columns", Columns(carried=("ward",)))
    task = Task(options.pop("pipeline", "test"), str(source), str(target), columns=columns, **options)
    task.settings = Settings(**{"shard_notes": 5, **settings})
    return annotate(task)


def read_rows(format: str, path: object) -> List[Dict[str, Any]]:
    """The rows of an output, the same whatever the format is."""
    if format == "jsonl":
        return [json.loads(line) for line in Path(str(path)).read_text(encoding="utf8").split("\n") if line]
    if format == "parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if format == "csv":
        with Path(str(path)).open(encoding="utf8", newline="") as file:
            rows = [{key: value or None for key, value in row.items()} for row in csv.DictReader(file)]
    else:
        engine = sqlalchemy.create_engine(str(path))
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(sqlalchemy.text("SELECT * FROM annotations")).mappings()]
    for row in rows:
        for name, kind in (("start", int), ("end", int), ("confidence", float), ("fragments", json.loads)):
            row[name] = None if row[name] is None else kind(row[name])
    return rows


def tree(path: Path) -> Dict[str, bytes]:
    """Every file below a folder, or the file itself."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def read_docs(path: Path) -> List[Doc]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    vocab = pipeline().vocab
    return [doc for file in files for doc in DocBin().from_disk(file).get_docs(vocab)]


def read_brat(path: Path) -> Dict[str, str]:
    return {document.name: document.text for document in read_folder(path)}
