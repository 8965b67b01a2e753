"""Runs that are killed by SIGKILL at random moments, until one comes to its end: is the output as if nobody had?"""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any, Dict, List

from benchmarks.annotation.notes import WORK, make_task, repeated
from spacy_clinical_ner.annotation.tables import Columns
from spacy_clinical_ner.annotation.tasks import annotate
from spacy_clinical_ner.pipelines import load_pipeline

NAMES = {"jsonl": "out.jsonl", "parquet": "out.parquet", "brat": "out", "sql": "out.db", "spark": "out.jsonl"}
_FORK = multiprocessing.get_context("fork")


def output_of(format: str, target: str) -> Any:
    """Every byte of files; the rows of a database."""
    if format == "sql":
        import sqlalchemy

        with sqlalchemy.create_engine(target).connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text("SELECT * FROM annotations"))]
    path = Path(target)
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files}


def kill_runs(pipeline: Path, notes: Path, count: int, kills: int, format: str, n_process: int = 1) -> Dict[str, Any]:
    """Kill so many runs over `count` notes, each at a random moment of the time that a whole one takes.

    Every run goes on where the last was killed; once one has come to its end, the next begins with a new output.
    Returns the number of kills, of outputs that were finished afterwards, and of those that are as they should be.
    """
    folder = WORK / "kills" / format
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = folder / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in repeated(notes, count)), encoding="utf8")
    nlp = load_pipeline(str(pipeline))
    rng = random.Random(format)

    def run(number: int) -> None:
        place = folder / str(number)
        target = f"sqlite:///{place / NAMES[format]}" if format == "sql" else str(place / NAMES[format])
        options: Dict[str, Any] = {"n_process": n_process, "state": place / "state", "shard_notes": max(1, count // 20)}
        if format == "spark":
            options.update(spark=True, master="local[1]", shard_notes=max(1, count // 80))
        elif format == "brat":
            options["columns"] = Columns("note_id", "note_text")
        place.mkdir(exist_ok=True)
        kind = "jsonl" if format == "spark" else format
        annotate(make_task(pipeline, source, target, kind, **options), nlp)

    def target(number: int) -> Any:
        place = folder / str(number) / NAMES[format]
        return output_of(format, f"sqlite:///{place}" if format == "sql" else str(place))

    def start(number: int) -> Any:
        process = _FORK.Process(target=run, args=(number,))
        process.start()
        return process

    begun = time.perf_counter()
    start(0).join()
    seconds = time.perf_counter() - begun
    whole, killed, finished, equal = target(0), 0, 0, 0
    number = 1
    while killed < kills:
        # Of what one run takes, most: so that some outputs are killed more than once before they are there.
        for _ in range(rng.randint(1, 3)):
            process = start(number)
            process.join(rng.uniform(0.05, 0.9) * seconds)
            process.kill()
            process.join()
            killed += process.exitcode == -9
        process = start(number)
        process.join()
        finished += process.exitcode == 0
        equal += target(number) == whole
        number += 1
    return {"kills": killed, "outputs": finished, "equal": equal, "seconds": seconds, "size": _size(whole)}


def _size(content: Any) -> int:
    """Bytes of files, or rows."""
    return len(content) if isinstance(content, list) else sum(map(len, content.values()))


def kill_omop(pipeline: Path, notes: Path, count: int) -> Dict[str, Any]:
    """PostgreSQL: so many rows of NOTE in, NOTE_NLP out, killed once; beside a run that was not."""
    import sqlalchemy

    from benchmarks.annotation.postgres import postgres, programs
    from spacy_clinical_ner.annotation.rows import OMOP

    bin = programs()
    assert bin is not None, "PostgreSQL is not installed"
    state = WORK / "omop"
    shutil.rmtree(state, ignore_errors=True)
    nlp = load_pipeline(str(pipeline))
    with postgres(bin) as url:
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE note (note_id integer PRIMARY KEY, person_id integer, note_text text)"
            )
            insert = "INSERT INTO note VALUES (:note_id, :person_id, :note_text)"
            connection.execute(sqlalchemy.text(insert), list(repeated(notes, count)))

        def run(table: str) -> None:
            options: Dict[str, Any] = {"schema": "omop", "table_in": "note", "table_out": table, "state": state / table}
            options["shard_notes"] = max(1, count // 20)
            annotate(make_task(pipeline, url, url, "sql", **options), nlp)

        def rows(table: str) -> List[Any]:
            names = ", ".join(f'"{column.name}"' for column in OMOP if column.name != "nlp_datetime")
            with engine.connect() as connection:
                return [
                    tuple(row) for row in connection.execute(sqlalchemy.text(f"SELECT {names} FROM {table} ORDER BY 1"))
                ]

        begun = time.perf_counter()
        process = _FORK.Process(target=run, args=("whole",))
        process.start()
        process.join()
        seconds = time.perf_counter() - begun
        process = _FORK.Process(target=run, args=("killed",))
        process.start()
        share = random.Random(0).uniform(0.3, 0.7)
        enough = share * len(rows("whole"))
        while process.is_alive() and (
            not sqlalchemy.inspect(engine).has_table("killed") or len(rows("killed")) < enough
        ):
            time.sleep(0.2)
        process.kill()
        process.join()
        status, between = process.exitcode, len(rows("killed"))
        process = _FORK.Process(target=run, args=("killed",))
        process.start()
        process.join()
        whole, killed = rows("whole"), rows("killed")
    return {
        "notes": count, "status": status, "rows_when_killed": between, "rows": len(killed), "equal": killed == whole,
        "numbers": len({row[0] for row in killed}), "seconds": seconds,
    }  # fmt: skip
