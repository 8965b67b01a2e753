"""`clinical-ner serve` in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple

from benchmarks.rounds import ROOT, threads_environment


class Served(NamedTuple):
    """Where a service listens, and its process."""

    host: str
    port: int
    process: int

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}/"


@contextmanager
def served(pipeline: Path, log: Path, *options: str) -> Iterator[Served]:
    """Start a service on a port that is free; what it prints goes to `log`.

    Raises RuntimeError if it does not start.
    """
    command = [sys.executable, "-m", "spacy_clinical_ner", "serve", str(pipeline), "--port", "0", *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=threads_environment(1), stdout=subprocess.PIPE, stderr=stream, text=True
        )
        assert process.stdout is not None
        try:
            found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
            if found is None:
                raise RuntimeError(f"the service did not start: see {log}")
            yield Served(found[1], int(found[2]), process.pid)
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
            stream.write(rest.encode("utf8"))
