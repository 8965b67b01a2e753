"""Notes to measure with: those of a folder, again and again under new ids, and tasks over them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, Dict, Iterator

from benchmarks.rounds import ROOT, note_files, read_note
from spacy_clinical_ner.annotation.local import Settings
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.annotation.tasks import Task

WORK = ROOT / "benchmarks" / "work" / "annotation"


def repeated(folder: Path, count: int) -> Iterator[Dict[str, Any]]:
    """So many notes, as rows of OMOP's NOTE: the texts of a folder in turn."""
    texts = [read_note(path) for path in note_files(folder)]
    for number, text in zip(range(1, count + 1), itertools.cycle(texts)):
        yield {"note_id": number, "person_id": number % 1000, "note_text": text}


def write_notes(folder: Path, count: int) -> Path:
    """The notes as JSONL below WORK, if they are not there yet."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{folder.resolve().name}-{count}.jsonl"
    if not path.exists():
        with path.with_suffix(".part").open("w", encoding="utf8") as file:
            for row in repeated(folder, count):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        path.with_suffix(".part").rename(path)
    return path


def make_task(pipeline: Path, source: object, target: object, format: str, **options: Any) -> Task:
    """A task over such notes. options: of Task, and of Settings."""
    settings = Settings(**{name: options.pop(name) for name in list(options) if name in Settings._fields})
    columns = options.pop("columns", Columns("note_id", "note_text"))
    return Task(str(pipeline), str(source), str(target), format, columns=columns, settings=settings, **options)
