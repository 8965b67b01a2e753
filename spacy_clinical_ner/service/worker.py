"""The one thread that a pipeline runs in: requests that wait together are annotated together."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any, Callable, Deque, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.annotation.piping import Intake, Job, annotated
from spacy_clinical_ner.annotation.words import Forgetting
from spacy_clinical_ner.errors import InputError

# What a request asks for of each of its notes; it is called where the Doc lives, and must not keep it.
Make = Callable[[Job, Doc], Any]
Made = List[Union[Any, InputError]]  # for each note of a request: what was made, or why it could not be


class Busy(Exception):
    """More requests wait than may wait."""


class _Request(NamedTuple):
    notes: Sequence[Job]
    make: Make
    future: Future


class Worker:
    """Runs a pipeline for all requests. spaCy's pipelines are not safe for threads, so that they take turns.

    n_threads: of torch. batch_tokens: as `annotated` has it. waiting: requests that may wait; `submit` raises Busy for
    more. The vocabulary forgets the words of the notes now and then.
    """

    def __init__(self, nlp: Language, *, n_threads: int = 1, batch_tokens: int = 20_000, waiting: int = 64) -> None:
        self.nlp = nlp
        self.batch_tokens = batch_tokens
        self._queue: Queue[Optional[_Request]] = Queue(waiting)
        self._thread = Thread(target=self._run, args=(n_threads,), name="pipeline", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether there is anything to wait for."""
        return self._thread.is_alive()

    def submit(self, notes: Sequence[Job], make: Make) -> Future:
        """A future list (`Made`) with what `make` gives for each note, in their order. Raises Busy."""
        future: Future = Future()
        try:
            self._queue.put_nowait(_Request(notes, make, future))
        except Full:
            raise Busy from None
        return future

    def close(self) -> None:
        """Do what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self, n_threads: int) -> None:
        torch.set_num_threads(n_threads)
        with Forgetting(self.nlp) as words:
            ended = False
            while not ended:
                requests, ended = self._waiting()
                self._annotate([each for each in requests if each.future.set_running_or_notify_cancel()])
                words.between()

    def _waiting(self) -> Tuple[List[_Request], bool]:
        """All requests that wait, at least one; and whether there will be no more."""
        found = [self._queue.get()]
        try:
            while found[-1] is not None:
                found.append(self._queue.get_nowait())
        except Empty:
            pass
        return [each for each in found if each is not None], found[-1] is None

    def _annotate(self, requests: Sequence[_Request]) -> None:
        waiting: Deque[_Request] = deque(requests)
        try:
            for request, made in self._made(requests):
                waiting.popleft()
                request.future.set_result(made)
        except Exception as error:  # of no note
            for request in waiting:
                request.future.set_exception(error)

    def _made(self, requests: Sequence[_Request]) -> Iterator[Tuple[_Request, Made]]:
        """Every request as soon as all of its notes are done."""
        # Their places stand in for the ids, which need not differ from one request to another.
        jobs = [note._replace(id=f"{i} {j}") for i, each in enumerate(requests) for j, note in enumerate(each.notes)]
        results: List[List[Any]] = [[None] * len(each.notes) for each in requests]
        left = [len(each.notes) for each in requests]
        first = 0
        for job, _, doc in annotated(Intake(self.nlp), iter(jobs), batch_tokens=self.batch_tokens):
            i, j = map(int, job.id.split())
            request = requests[i]
            results[i][j] = doc if isinstance(doc, InputError) else request.make(request.notes[j], doc)
            left[i] -= 1
            while first < len(requests) and not left[first]:
                yield requests[first], results[first]
                first += 1
        for i in range(first, len(requests)):
            yield requests[i], results[i]
