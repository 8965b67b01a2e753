"""Runs that are killed, and done again: the output is the one of a run that nobody stopped."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from spacy_clinical_ner.annotation import tasks as module
from spacy_clinical_ner.annotation.runs import open_run, unfinished
from spacy_clinical_ner.errors import OutputError
from tests.annotation.tasks import pipeline, random_notes, read_rows, run, tree, write_jsonl

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)

# Of each format; `python -m benchmarks.annotation kills` tries more of them, at random moments.
KILLS = 3
FORK = multiprocessing.get_context("fork")
# What changes the disk, as Python's audit events name it.
EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "sqlite3.connect"}
TARGETS = {
    "jsonl": "out.jsonl", "csv": "parts", "parquet": "out.parquet", "spacy": "docs", "brat": "brat", "sql": "out.db",
}  # fmt: skip


def content(format: str, target: str) -> object:
    """Byte for byte, or for a database row for row."""
    return read_rows("sql", target) if format == "sql" else tree(Path(target))


def place(format: str, folder: Path) -> str:
    folder.mkdir()
    return f"sqlite:///{folder / TARGETS[format]}" if format == "sql" else str(folder / TARGETS[format])


def in_child(function, *arguments) -> int:
    """Call a function in a process of its own; its exit status, or -N if signal N ended it."""
    process = FORK.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def steps(seen, last: int, source: Path, target: str, options: dict) -> None:
    """Run, count in `seen` the events that change the disk, and die without a word at the last of them, if it comes."""

    def hook(name: str, arguments: tuple) -> None:
        writes = name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if name in EVENTS or writes:
            seen.value += 1
            if seen.value == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    run(source, target, **options)


@pytest.mark.parametrize("format", TARGETS)
def test_killed_at_some_steps(format, tmp_path, monkeypatch):
    """A run dies at a step, so does the next one soon after; all runs together leave what a single one leaves."""
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(17))
    whole = place(format, tmp_path / "whole")
    seen = FORK.RawValue("i", 0)  # without a lock, which a killed process would keep
    monkeypatch.setattr(module, "load_pipeline", lambda name: pipeline())
    assert in_child(steps, seen, 0, source, whole, {"format": format, "state": tmp_path / "whole" / "state"}) == 0
    for last in random.Random(format).sample(range(1, seen.value + 1), KILLS):
        folder = tmp_path / f"killed{last}"
        target = place(format, folder)
        options = {"format": format, "state": folder / "state"}
        for offset in (0, 3):
            seen.value = offset
            status = in_child(steps, seen, last, source, target, options)
            assert status == -signal.SIGKILL or offset
        run(source, target, monkeypatch, **options)
        assert content(format, target) == content(format, whole), f"killed at step {last}"
        left = {path.name for path in folder.iterdir()} - {TARGETS[format], "state"}
        assert left == set(), f"killed at step {last}"


@pytest.mark.parametrize("format", ["jsonl", "brat", "sql"])
def test_killed_at_any_time_with_workers(format, tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(60))
    whole = place(format, tmp_path / "whole")
    start = time.perf_counter()
    run(source, whole, monkeypatch, format=format, n_process=2, state=tmp_path / "whole" / "state")
    seconds = time.perf_counter() - start
    target = place(format, tmp_path / "killed")
    options = {"format": format, "n_process": 2, "state": tmp_path / "killed" / "state"}
    rng = random.Random(format)
    for _ in range(3):
        process = FORK.Process(target=run, args=(source, target), kwargs=options)
        process.start()
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
    run(source, target, monkeypatch, **options)
    assert content(format, target) == content(format, whole)


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    from spacy_clinical_ner.annotation import local

    source = write_jsonl(tmp_path / "in.jsonl", random_notes(20))
    target = str(tmp_path / "out.jsonl")
    numbers: list = []
    original = local.Annotator.shard

    def shard(self, number, *rest):
        if len(numbers) == 2:
            numbers.append(number)
            raise KeyboardInterrupt
        numbers.append(number)
        return original(self, number, *rest)

    monkeypatch.setattr(local.Annotator, "shard", shard)
    with pytest.raises(KeyboardInterrupt):
        run(source, target, monkeypatch, format="jsonl")
    assert unfinished(tmp_path / "out.jsonl.run") and not Path(target).exists()
    first = run(source, target, monkeypatch, format="jsonl")
    assert numbers == [0, 1, 2, 2, 3]
    again = run(source, target, monkeypatch, format="jsonl")
    assert numbers == [0, 1, 2, 2, 3] and again.already and not first.already
    assert again.summary == first.summary and first.summary.notes == 20
    assert not (tmp_path / "out.jsonl.run" / "shards").exists()


def test_other_options_input_or_pipeline_are_refused(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(7))
    target = tmp_path / "out.jsonl"
    run(source, target, monkeypatch, format="jsonl")
    before = target.read_bytes()
    with pytest.raises(OutputError, match=r"begun with another options \(text\)") as told:
        run(source, target, monkeypatch, format="jsonl", text=True)
    assert "\n" not in str(told.value)
    with pytest.raises(OutputError, match="another output"):
        run(source, tmp_path / "b.jsonl", monkeypatch, format="jsonl", state=tmp_path / "out.jsonl.run")
    import tests.annotation.tasks as helpers

    original = helpers.pipeline

    def other():
        nlp = original.__wrapped__()
        nlp.get_pipe("entity_ruler").add_patterns([{"label": "X", "pattern": "tos"}])
        return nlp

    monkeypatch.setattr(helpers, "pipeline", other)
    with pytest.raises(OutputError, match=r"another pipeline \(sha256\)"):
        run(source, target, monkeypatch, format="jsonl")
    write_jsonl(source, random_notes(8))
    monkeypatch.setattr(helpers, "pipeline", original)
    with pytest.raises(OutputError, match="another input"):
        run(source, target, monkeypatch, format="jsonl")
    assert target.read_bytes() == before
    assert run(source, target, monkeypatch, format="jsonl", text=True, overwrite=True).summary.notes == 8


def test_what_is_there_is_not_replaced(tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(3))
    (tmp_path / "out.jsonl").write_text("mine")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "diary.txt").write_text("mine")
    for name, overwrite in (("out.jsonl", False), ("parts", False), ("parts", True), ("in.jsonl", True)):
        with pytest.raises(OutputError):
            run(source, tmp_path / name, monkeypatch, format="jsonl", overwrite=overwrite)
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.jsonl", "parts"}
    run(source, tmp_path / "out.jsonl", monkeypatch, format="jsonl", overwrite=True)
    run(source, tmp_path / "new", monkeypatch, format="jsonl")
    run(source, tmp_path / "new", monkeypatch, format="jsonl", overwrite=True)
    (tmp_path / "other.run").mkdir()
    (tmp_path / "other.run" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="not the folder of a run"):
        run(source, tmp_path / "other", monkeypatch, format="jsonl")
    with pytest.raises(OutputError, match="never written into the input"):
        (tmp_path / "folder").mkdir()
        run(tmp_path / "new", tmp_path / "new" / "deep", monkeypatch, format="jsonl")


def test_two_runs_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("spacy_clinical_ner.annotation.runs._LOCK_SECONDS", 0.2)
    source = write_jsonl(tmp_path / "in.jsonl", random_notes(3))
    with open_run(tmp_path / "out.run", "out", {}), pytest.raises(OutputError, match="another run is writing"):
        run(source, tmp_path / "out", monkeypatch, format="jsonl")


def test_a_line_that_was_not_finished(tmp_path, monkeypatch):
    """done.jsonl is the one file that grows: its last line may be half there."""
    with open_run(tmp_path / "run", "out", {"a": 1}) as opened:
        opened.add({"shard": 0})
        opened.add({"shard": 1})
    path = tmp_path / "run" / "done.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    with open_run(tmp_path / "run", "out", {"a": 1}) as opened:
        assert opened.done() == [{"shard": 0}]
        opened.add({"shard": 1})
        assert opened.done() == [{"shard": 0}, {"shard": 1}]
