"""The engine `local`: notes of a reader through a pipeline into an output, by one process or several.

The input is cut into parts that depend on nothing but the input. Each is annotated as a whole, by this process or by
one of several that live as long as the run, and is then taken over in order; so there is never more in memory than a
few parts, and what was taken over is never done again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager, nullcontext
from multiprocessing.connection import wait
from typing import (
    Any,
    Callable,
    Deque,
    Generator,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Tuple,
)

from spacy.language import Language
from tqdm import tqdm

from spacy_clinical_ner.annotation.notes import AnnotationSummary, annotate_jobs
from spacy_clinical_ner.annotation.piping import GivenIntake, Intake, Job, given_mentions
from spacy_clinical_ner.annotation.runs import Record
from spacy_clinical_ner.annotation.tables import Reader, shards
from spacy_clinical_ner.annotation.words import Forgetting
from spacy_clinical_ner.annotation.writers import Output
from spacy_clinical_ner.bridge.memory import give_back_memory
from spacy_clinical_ner.errors import ClinicalNerError, InputError
from spacy_clinical_ner.pipelines import load_pipeline

BATCH_TOKENS = 20_000
# Notes and characters of a part: what a worker has in memory, and what a killed run does once more.
SHARD_NOTES, SHARD_CHARACTERS = 500, 2_000_000
PARTS_BETWEEN = 4  # after which memory is given back: getting it anew takes some 2 % of a part
SHOWN_FAILURES = 20  # that a summary keeps: all of them are in errors.jsonl


class Settings(NamedTuple):
    """How notes are annotated; all of it may change what comes out. See `annotated`.

    spans_key: mentions are those of `doc.ents` and of `doc.spans[spans_key]`. confidence: BRAT files have
        `span._.confidence` as a note on each mention.
    given_entities: take the mentions from the .ann beside each note instead of finding any. All of its lines are kept
        but for relations and what is said about them, and those that the pipeline finds are added. offsets: how these
        .ann count, see `read_document`.

    unordered: within a part the shortest notes come first, so that batches hold notes of like length.
    """

    spans_key: str = "sc"
    confidence: bool = False
    given_entities: bool = False
    offsets: str = "characters"
    unordered: bool = False
    max_length: Optional[int] = None
    batch_size: Optional[int] = None
    batch_tokens: Optional[int] = BATCH_TOKENS
    shard_notes: int = SHARD_NOTES


Made = Generator[Tuple[Record, List[Any]], None, None]  # parts: the record of each, and what `Output.commit` needs


class Annotator:
    """Annotates parts of the input; every worker has one."""

    def __init__(self, nlp: Language, settings: Settings, output: Output) -> None:
        self.nlp = nlp
        self.settings = settings
        self.output = output
        self.words = Forgetting(nlp)
        self._parts = 0

    @contextmanager
    def ready(self) -> Iterator[None]:
        """What holds for all parts: components that find mentions do not run where mentions are given, and the
        vocabulary forgets the words of the notes now and then.
        """
        with given_mentions(self.nlp) if self.settings.given_entities else nullcontext(), self.words:
            yield

    def intake(self) -> Intake:
        settings = self.settings
        if settings.given_entities:
            return GivenIntake(self.nlp, settings.spans_key, settings.offsets, settings.max_length)
        return Intake(self.nlp, settings.max_length)

    def shard(self, number: int, jobs: List[Job], tick: Callable[[], Any] = lambda: None) -> Tuple[Record, List[Any]]:
        """Make a part of the output, calling `tick` after every note; its record, and what `Output.commit` needs."""
        settings, summary, intake = self.settings, AnnotationSummary(), self.intake()
        if settings.unordered:
            jobs = sorted(jobs, key=lambda job: len(job.text))
        failures = []
        self.words.between()
        if self._parts % PARTS_BETWEEN == 0:
            give_back_memory()
        self._parts += 1
        with self.output.shard(number) as (write, made):
            for failure in annotate_jobs(
                intake, iter(jobs), write, summary, spans_key=settings.spans_key, confidence=settings.confidence,
                batch_size=settings.batch_size, batch_tokens=settings.batch_tokens,
            ):  # fmt: skip
                if failure is not None:
                    failures.append(failure_record(*failure))
                tick()
        return shard_record(number, jobs, summary, failures), made


def shard_record(number: int, jobs: List[Job], summary: AnnotationSummary, failures: List[Record]) -> Record:
    """What is known of a part that is done."""
    counts = {"notes": summary.notes, "words": summary.words}
    found = {"mentions": dict(summary.mentions), "relations": dict(summary.relations)}
    return {"shard": number, "read": len(jobs), **counts, **found, "failures": failures}


def failure_record(job: Job, error: InputError) -> Record:
    """A line of errors.jsonl: nothing in it is note text."""
    file = {} if job.path is None else {"file": str(error.path)}
    return {"note_id": job.id, **file, "line": error.line, "reason": error.reason}


class PartMaker(Protocol):
    """What makes parts, from the number `first` on. scale: how much larger than those of one process they are."""

    scale: int

    def __call__(self, annotator: Annotator, parts: Iterator[List[Job]], first: int) -> Made: ...


def annotate_all(
    annotator: Annotator,
    reader: Reader,
    *,
    pipeline: str = "",
    n_process: int = 1,
    elsewhere: Optional[PartMaker] = None,
    max_errors: Optional[int] = None,
    progress: bool = False,
) -> AnnotationSummary:
    """Annotate what the output has not yet, and finish it. The summary is of the whole run.

    pipeline: what workers load where processes cannot inherit the pipeline that is loaded.
    n_process: processes that annotate; with more than one, this process reads and writes.
    elsewhere: another engine, which makes the parts in place of these processes.
    max_errors: so many notes may fail; with one more the run stops.
    Raises ClinicalNerError if it stops so, or if a worker is killed.
    """
    output, run = annotator.output, annotator.output.run
    records = output.done()
    run.begin_errors(records)
    summary = AnnotationSummary()
    failed = sum(_count(summary, record) for record in records)
    if run.finished:
        return summary
    read = sum(record["read"] for record in records)
    number, last = len(records), time.perf_counter()
    scale = 1 if elsewhere is None else elsewhere.scale
    jobs = reader.jobs(read)
    parts = shards(jobs, scale * annotator.settings.shard_notes, scale * SHARD_CHARACTERS)
    if elsewhere is not None:
        engine = elsewhere(annotator, parts, number)
    elif n_process > 1:
        engine = _in_workers(annotator, parts, number, pipeline, n_process)
    else:
        engine = _here(annotator, parts, number, lambda: bar.update())
    bar = tqdm(initial=read, total=reader.total(0), unit="note", disable=not progress, smoothing=0.05)
    with closing(jobs), closing(engine), bar:
        for record, made in engine:
            now = time.perf_counter()
            record["seconds"], last = now - last, now
            output.commit(record, made)
            run.add_errors(record)
            failed += _count(summary, record)
            read += record["read"]
            number += 1
            bar.total = reader.total(read)
            bar.set_postfix_str(f"{summary.words_per_second:,.0f} words/s", refresh=False)
            bar.update(read - bar.n)
            if max_errors is not None and failed > max_errors:
                line = f"{failed:,} notes failed, more than --max-errors {max_errors}; see {run.errors}"
                raise TooManyErrors(line)
    output.finish(number)
    run.finish()
    return summary


class TooManyErrors(ClinicalNerError):
    """More notes failed than was allowed; what was done so far is kept."""


def _count(summary: AnnotationSummary, record: Record) -> int:
    """Add a part to the summary; how many of its notes failed."""
    summary.notes += record["notes"]
    summary.words += record["words"]
    summary.seconds += record["seconds"]
    summary.mentions.update(record["mentions"])
    summary.relations.update(record["relations"])
    for each in record["failures"]:
        if len(summary.failures) < SHOWN_FAILURES:
            summary.failures.append(InputError(each.get("file", each["note_id"]), each["line"], each["reason"]))
    summary.n_failed += len(record["failures"])
    return len(record["failures"])


def _here(annotator: Annotator, parts: Iterator[List[Job]], first: int, tick: Callable[[], Any]) -> Made:
    with annotator.ready():
        for number, part in enumerate(parts, first):
            yield annotator.shard(number, part, tick)


_worker: Optional[Annotator] = None  # of this process, if it is a worker
_ready = ExitStack()  # holds what its `ready` began, as long as the process lives


def _in_workers(annotator: Annotator, parts: Iterator[List[Job]], first: int, pipeline: str, n_process: int) -> Made:
    """The parts in their order, from processes of which each has at most one more part waiting for it."""
    global _worker
    # Processes that are forked share the memory of the pipeline; where that is not safe they load it.
    inherited = sys.platform == "linux"
    context = multiprocessing.get_context("fork" if inherited else "spawn")
    _worker = annotator if inherited else None
    given = (pipeline, annotator.settings, annotator.output)
    waiting: Deque[Future] = deque()
    with ProcessPoolExecutor(n_process, context, _start_worker, given) as pool:
        try:
            for number, part in enumerate(parts, first):
                waiting.append(pool.submit(_work, number, part))
                if len(waiting) > 2 * n_process:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            line = "a process was killed, perhaps for lack of memory: the same command goes on (see --max-length)"
            raise ClinicalNerError(line) from None
        finally:
            _worker = None
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(pipeline: str, settings: Settings, output: Output) -> None:
    global _worker
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # as many processes as there are cores; and threads do not survive a fork
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if _worker is None:
        _worker = Annotator(load_pipeline(pipeline), settings, output)
    _ready.enter_context(_worker.ready())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(number: int, part: List[Job]) -> Tuple[Record, List[Any]]:
    assert _worker is not None
    return _worker.shard(number, part)
