"""Notes into tables: words a second and memory beside a bare `nlp.pipe`, kills, OMOP in PostgreSQL, Spark, service."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional

import typer

from benchmarks.common import record_figures, run_app, table
from benchmarks.rounds import ROOT, Worker, alternate, median_ratio, rates, threads_environment

app = typer.Typer(
    help="Measure annotating many notes.\n\nEverything is written below benchmarks/work/annotation; --record adds a "
    "line to benchmarks/results/.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PACKAGES = ("spacy-clinical-ner", "spacy", "torch", "pyarrow", "sqlalchemy", "pyspark", "fastapi", "uvicorn")
_record = partial(record_figures, packages=PACKAGES)
PIPELINE = typer.Option(..., help="A trained pipeline.", exists=True, file_okay=False)
NOTES = typer.Option(..., help="Folder of notes (.txt), repeated under new ids.", exists=True, file_okay=False)
RECORD = typer.Option(False, "--record", help="Add the figures to benchmarks/results/.")
FORMATS = ("jsonl", "parquet", "brat", "sql", "spark")
WITHIN = 3.0  # per cent


@app.command()
def throughput(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(500, min=1, help="Notes of a round."),
    rounds: int = typer.Option(5, min=1, help="Rounds, in turns; figures are medians."),
    n_process: List[int] = typer.Option([1, 2], min=1, help="Processes of `local`; may be given more than once."),
    record: bool = RECORD,
) -> None:
    """Words a second of `local`, from JSONL to JSONL, beside `nlp.pipe` over texts in memory in one process.

    Every round has other notes, the same for all, until the folder has no others; some before the first only warm up.
    `nlp.pipe` keeps their words for ever, `local` forgets them. With N processes and N cores, the ratio says how much
    is gained.
    """
    from benchmarks.annotation.notes import WORK, write_notes

    warm_up = min(count, 200)
    source = write_notes(notes, warm_up + count * rounds)
    command = [sys.executable, "-m", "benchmarks.annotation.worker", "turns", str(model), str(source)]
    turns: Dict[str, Dict[str, Any]] = {"nlp.pipe, 1 process": {"do": "bare", "count": count}}
    for number in n_process:
        turns[f"local, {number} process{'es' * (number > 1)}"] = {"do": "local", "count": count, "n_process": number}
    workers = [Worker(name, command, WORK / "throughput.log") for name in turns]
    try:
        found = alternate(list(zip(workers, turns.values())), rounds, count=warm_up)
    finally:
        for worker in workers:
            worker.__exit__()
    speeds, cpu = rates(found), [[answer["cpu"] for answer in column] for column in zip(*found)]
    rows: List[Dict[str, Any]] = []
    for name, speed, seconds in zip(turns, speeds, cpu):
        rows.append({"name": name, "words_per_second": round(statistics.median(speed))})
        if rows[1:]:
            rows[-1]["ratio"] = round(median_ratio(speed, speeds[0]), 2)
            rows[-1]["cpu_ratio"] = round(median_ratio(cpu[0], seconds), 2)
    _show(rows)
    if record:
        _record("annotation throughput", rows, f"{count:,} notes of {notes.name} a round, {rounds} rounds")


@app.command()
def memory(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(20_000, min=10, help="Notes, repeated under new ids."),
    n_process: int = typer.Option(1, min=1, help="Processes."),
    record: bool = RECORD,
) -> None:
    """Resident memory of every process between a tenth of the notes and all of them, and size of the vocabulary.

    Of every process the most that it had between one part and the next is looked at, as it gives much back when a part
    ends. Figures are medians over a tenth of the parts: the first, those in the middle, and the last.

    Status 1 if a process grows by more than 3%, or if the vocabulary keeps words.
    """
    from benchmarks.annotation.notes import write_notes

    worker = ["benchmarks.annotation.worker", "memory", str(model), str(write_notes(notes, count)), str(n_process)]
    done = subprocess.run(
        [sys.executable, "-m", *worker],
        cwd=ROOT,
        env=threads_environment(1),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    before, after = (line["vocabulary"] for line in lines if "vocabulary" in line)
    late = [line for line in lines if line.get("notes", 0) >= count / 10]
    rows: List[Dict[str, Any]] = []
    for place in range(len(late[0]["mib"])):
        resident, tenth = [line["mib"][place] for line in late], max(1, len(late) // 10)
        early, half, end = (
            statistics.median(resident[first : first + tenth])
            for first in (0, (len(late) - tenth) // 2, len(late) - tenth)
        )
        row: Dict[str, Any] = {"name": f"process {place + 1}, after {count:,} notes", "resident_mib": round(end)}
        row["growth_percent"] = round(100 * (end / early - 1), 1)
        row["growth_of_second_half_percent"] = round(100 * (end / half - 1), 1)
        rows.append(row)
    most = max(line["strings"] for line in late)
    words = f"{before:,} strings in the vocabulary of the first process before, {after:,} after, {most:,} at most"
    _show(rows)
    typer.echo(words)
    if record:
        setting = f"{n_process} process(es), {count:,} notes of {notes.name}; growth since note {late[0]['notes']:,}"
        _record("annotation memory", rows, f"{setting}; {words}")
    if max(row["growth_percent"] for row in rows) > WITHIN or after > before:
        raise typer.Exit(1)


@app.command()
def kills(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(200, min=20, help="Notes of a run."),
    number: int = typer.Option(10, "--kills", min=1, help="Kills of each format."),
    format: List[str] = typer.Option(list(FORMATS), help="One of: jsonl, parquet, brat, sql, spark."),
    n_process: int = typer.Option(1, min=1, help="Processes."),
    record: bool = RECORD,
) -> None:
    """Kill runs by SIGKILL at random moments, give the same command again, and compare with a run that nobody killed.

    Byte for byte, or for the database row for row. Status 1 if an output differs.
    """
    from benchmarks.annotation.kills import kill_runs

    rows = []
    for each in format:
        found = kill_runs(model, notes, count, number, each, n_process)
        rows.append({"name": each, "kills": found["kills"], "outputs": found["outputs"], "equal": found["equal"]})
        typer.echo(json.dumps({"format": each, **found}))
    _show(rows)
    if record:
        _record("annotation kills", rows, f"{count:,} notes of {notes.name}, {n_process} process(es)")
    if any(row["equal"] != row["outputs"] for row in rows):
        raise typer.Exit(1)


@app.command()
def omop(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(5_000, min=10, help="Rows of NOTE."),
    record: bool = RECORD,
) -> None:
    """Rows of NOTE in a PostgreSQL that is started for this, NOTE_NLP out, killed once, and compared.

    Status 1 if the rows are not those of a run that nobody killed, or if the run had ended before it could be killed.
    """
    from benchmarks.annotation.kills import kill_omop

    found = kill_omop(model, notes, count)
    typer.echo(json.dumps(found))
    if record:
        row = {"name": "PostgreSQL, NOTE_NLP", "kills": int(found["status"] == -9), "outputs": 1}
        row.update(equal=int(found["equal"]), rows=found["rows"])
        between = f"killed with {found['rows_when_killed']:,} rows written"
        _record("annotation omop", [row], f"{count:,} rows of NOTE from {notes.name}, {between}")
    if found["status"] != -9 or not found["equal"] or found["numbers"] != found["rows"]:
        raise typer.Exit(1)


@app.command()
def spark(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(2_000, min=10, help="Notes, repeated under new ids."),
    cores: List[int] = typer.Option([1, 2], min=1, help="Cores: local[N] of Spark beside N processes of `local`."),
    rounds: int = typer.Option(3, min=1, help="Rounds, in turns; figures are medians."),
    edsnlp: Optional[Path] = typer.Option(
        None, help="Python of an environment with edsnlp, pyspark and pyarrow: a dictionary in place of the pipeline."
    ),
    record: bool = RECORD,
) -> None:
    """`annotate_dataframe` from Parquet to Parquet beside the engine `local`: words a second, memory, equal rows.

    With --edsnlp, EDS-NLP's Spark backend too. Memory is that of the Python processes. Starting Spark and loading
    pipelines are not timed. Status 1 if rows differ.
    """
    from benchmarks.annotation.spark import compare

    found = compare(model, notes, count, cores, rounds, edsnlp)
    _show(found)
    if record:
        what = "a trained pipeline" if edsnlp is None else "300 terms looked up"
        setting = f"{what}; {count:,} notes of {notes.name}, {rounds} rounds; beside each name the number of cores"
        _record("annotation spark", found, setting)
    if not all(row.get("equal", 1) for row in found):
        raise typer.Exit(1)


@app.command()
def service(
    model: Path = PIPELINE,
    notes: Path = NOTES,
    count: int = typer.Option(200, min=8, help="Notes, one a request."),
    clients: int = typer.Option(8, min=1, help="Clients at once."),
    malformed: int = typer.Option(1_000, min=1, help="Bodies that are none."),
    record: bool = RECORD,
) -> None:
    """`clinical-ner serve` in a process of its own: many clients at once, malformed bodies, one note of 6 MB.

    Times are those that a client waits. Status 1 if a request fails, or if a malformed body is answered by a 500.
    """
    from benchmarks.annotation.service import measure_service

    rows, statuses = measure_service(model, notes, count, clients, malformed)
    _show(rows)
    answered = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
    typer.echo(f"malformed bodies were answered by {answered}")
    if record:
        _record("annotation service", rows, f"notes of {notes.name}; malformed bodies were answered by {answered}")
    if any(row["failed"] for row in rows):
        raise typer.Exit(1)


def _show(rows: List[Dict[str, Any]]) -> None:
    header = list(dict.fromkeys(name for row in rows for name in row))
    typer.echo(
        table(
            header,
            [
                [f"{row[name]:,}" if name in row and name != "name" else row.get(name, "") for name in header]
                for row in rows
            ],
        )
    )


if __name__ == "__main__":
    run_app(app, "annotation")
