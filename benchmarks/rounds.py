"""Taking turns: systems that are measured live in processes of their own and work one after the other.

A machine that other people use is never equally fast for long. So each system gets a process that loads it once and
then waits; a round is one turn of every process, and figures are medians of rounds and of ratios within rounds. Only
the standard library is used here, because one end of the pipe may run in another environment.

The parent writes one JSON object a line to a worker's stdin, the worker answers with one JSON object a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerFailed(RuntimeError):
    """A worker ended or answered nothing; `log` is where it said why."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(f"{name} stopped working; its last words are in {log}")


def threads_environment(threads: int) -> Dict[str, str]:
    """The environment for a process that computes with this many threads, without network look-ups of models."""
    chosen = {name: str(threads) for name in THREAD_VARIABLES}
    return {**os.environ, **chosen, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def peak_rss_mib() -> float:
    """The most memory this process has had resident so far, MiB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's ru_maxrss begins with the peak of the process that started this one; VmHWM is of this program alone.
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class Worker:
    """The parent's end of a worker process. Leaving the `with` block ends the process.

    name: for messages. command: what to start. log: file for all that the process prints.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, threads: int = 1) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as stream:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
                encoding="utf8",
                cwd=ROOT,
                env=threads_environment(threads),
            )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, **request: Any) -> Dict[str, Any]:
        """Send a request and wait for the answer. Raises WorkerFailed if none comes."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise WorkerFailed(self.name, self.log)
        return json.loads(answer)


def serve(actions: Mapping[str, Callable[..., Mapping[str, Any]]]) -> None:
    """The worker's end: answer requests until the parent hangs up.

    A request {"do": name, ...} calls `actions[name]` with the other values; the peak memory is added to its answer.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    for line in sys.stdin:
        request = json.loads(line)
        answer = actions[request.pop("do")](**request)
        print(json.dumps({**answer, "peak_rss_mib": peak_rss_mib()}), file=answers, flush=True)


def alternate(
    turns: Sequence[Tuple[Worker, Mapping[str, Any]]], rounds: int, **warm_up: Any
) -> List[List[Dict[str, Any]]]:
    """Send each worker its request in turn, `rounds` times after one round that only warms up; (rounds, turns) answers.

    warm_up: what is asked for otherwise in that one.

    Every second round goes the other way, so that none of them always works in the wake of the same other.
    """
    result = []
    for number in range(rounds + 1):
        order = range(len(turns)) if number % 2 else reversed(range(len(turns)))
        others = {} if number else warm_up
        answers = {index: turns[index][0].ask(**{**turns[index][1], **others}) for index in order}
        if number:
            result.append([answers[index] for index in range(len(turns))])
    return result


def rates(rounds: Iterable[Sequence[Mapping[str, Any]]], amount: str = "words") -> List[List[float]]:
    """(rounds, turns) answers to (turns, rounds) amounts per second."""
    return [list(column) for column in zip(*([a[amount] / a["seconds"] for a in answers] for answers in rounds))]


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Median of the ratios within rounds: slow phases of the machine fall out, as they hit both sides of a ratio."""
    return statistics.median(a / b for a, b in zip(values, reference))


def note_files(folder: Path) -> Iterator[Path]:
    """The notes (.txt) under a folder, sorted by relative path."""
    return iter(sorted(folder.rglob("*.txt"), key=lambda path: path.relative_to(folder).as_posix()))


def read_note(path: Path) -> str:
    """The text of a note, line ends untouched, so that offsets count what the file holds."""
    return path.read_bytes().decode("utf8")


def count_words(texts: Iterable[str]) -> int:
    """Words between white space: the one count that no tokenizer has a say in."""
    return sum(len(text.split()) for text in texts)
