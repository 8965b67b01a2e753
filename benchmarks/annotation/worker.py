"""What is measured of annotating, in processes of their own.

python -m benchmarks.annotation.worker turns PIPELINE NOTES.jsonl   answers requests, see `benchmarks.rounds`
python -m benchmarks.annotation.worker memory PIPELINE NOTES.jsonl N_PROCESS
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import torch
from spacy.language import Language

from benchmarks.annotation.notes import make_task
from benchmarks.rounds import count_words, serve
from spacy_clinical_ner.annotation.tasks import annotate
from spacy_clinical_ner.annotation.writers import FileOutput
from spacy_clinical_ner.pipelines import load_pipeline


def _cpu() -> float:
    """CPU seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])


class Turns:
    """A loaded pipeline, and each time the next notes of a file: their words are as new as those of other notes are."""

    def __init__(self, pipeline: Path, notes: Path) -> None:
        self.pipeline = pipeline
        self.notes = notes
        self.nlp: Language = load_pipeline(str(pipeline))
        self._lines = self._unending()

    def bare(self, count: int) -> Dict[str, Any]:
        """`nlp.pipe` over texts that are in memory; what it gives is thrown away."""
        texts = [json.loads(line)["note_text"] for line in itertools.islice(self._lines, count)]
        begun, cpu = time.perf_counter(), _cpu()
        for _ in self.nlp.pipe(texts):
            pass
        return self._answer(texts, begun, cpu)

    def local(self, count: int, n_process: int, format: str = "jsonl") -> Dict[str, Any]:
        """The engine `local`, from a file of JSONL into a new file."""
        lines = list(itertools.islice(self._lines, count))
        texts = [json.loads(line)["note_text"] for line in lines]
        folder = Path(tempfile.mkdtemp(dir=self.notes.parent))
        source = folder / "in.jsonl"
        source.write_text("".join(lines), encoding="utf8")
        begun, cpu = time.perf_counter(), _cpu()
        annotate(make_task(self.pipeline, source, folder / f"out.{format}", format, n_process=n_process), self.nlp)
        answer = self._answer(texts, begun, cpu)
        shutil.rmtree(folder)
        return answer

    def _unending(self) -> Iterator[str]:
        while True:
            with self.notes.open(encoding="utf8") as file:
                yield from file

    def _answer(self, texts: List[str], begun: float, cpu: float) -> Dict[str, Any]:
        seconds, words = time.perf_counter() - begun, count_words(texts)
        return {"words": words, "seconds": seconds, "cpu": _cpu() - cpu, "strings": len(self.nlp.vocab.strings)}


def peak_mib(process: int) -> float:
    """The most that a process had resident since this was asked last (Linux)."""
    folder = Path(f"/proc/{process}")
    lines = (folder / "status").read_text(encoding="ascii").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    (folder / "clear_refs").write_text("5", encoding="ascii")
    return int(kib) / 2**10


def children() -> List[int]:
    """Processes that this one has started, all its threads taken together."""
    found = Path("/proc/self/task").glob("*/children")
    return sorted(int(word) for path in found for word in path.read_text(encoding="ascii").split())


def memory(pipeline: Path, notes: Path, n_process: int) -> None:
    """Annotate all notes, and print a line after every part: notes, MiB that each process had at most since the line
    before, size of the vocabulary; and before and after all of them a line with the size of the vocabulary.
    """
    nlp = load_pipeline(str(pipeline))
    print(json.dumps({"vocabulary": len(nlp.vocab.strings)}))
    commit, done = FileOutput.commit, 0

    def watched(output: FileOutput, record: Dict[str, Any], made: List[Any]) -> None:
        nonlocal done
        commit(output, record, made)
        done += record["read"]
        resident = [round(peak_mib(process), 1) for process in (os.getpid(), *children())]
        print(json.dumps({"notes": done, "mib": resident, "strings": len(nlp.vocab.strings)}), flush=True)

    FileOutput.commit = watched  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=notes.parent) as folder:
        annotate(make_task(pipeline, notes, Path(folder) / "out.jsonl", "jsonl", n_process=n_process), nlp)
    print(json.dumps({"vocabulary": len(nlp.vocab.strings)}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "memory":
        memory(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        turns = Turns(Path(sys.argv[2]), Path(sys.argv[3]))
        serve({"bare": turns.bare, "local": turns.local})
