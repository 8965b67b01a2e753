"""Notes through a pipeline, with what went wrong told by note: the heart of every engine."""

from __future__ import annotations

import re
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, Mapping, NamedTuple, Optional, Tuple, Union

from spacy.language import Language
from spacy.tokens import Doc

from spacy_clinical_ner.annotation.words import Spelling
from spacy_clinical_ner.brat import BratDocument, read_document, to_doc
from spacy_clinical_ner.brat.docs import without_relations
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.tokenization import ClinicalTokenizer

_SPACY_CODE = re.compile(r"\[[EW]\d+\]")


class Job(NamedTuple):
    """A note to annotate.

    id: of the note. path: the .txt in which it stands, read when its turn comes; or else text: what it says.
    columns: what is carried along with it. error: why there is no note here, where that is known already.
    target: where its copy goes (the .ann beside that), for those that write it as they go.
    """

    id: str
    path: Optional[Path] = None
    text: str = ""
    columns: Mapping[str, Any] = {}
    error: Optional[str] = None
    target: Optional[Path] = None

    def failure(self, reason: str) -> InputError:
        """Why this note is not annotated."""
        return InputError(self.path or self.id, None, reason)


@contextmanager
def given_mentions(nlp: Language) -> Iterator[None]:
    """For the time of the block, no component that says so in its meta writes `doc.ents` or `doc.spans`.

    Those that find relations as well (`joint_extractor`) run with `entities = "given"`, the others do not run.
    """
    finders = [name for name in nlp.pipe_names if {"doc.ents", "doc.spans"} & set(nlp.get_pipe_meta(name).assigns)]
    joint: Dict[str, Any] = {name: nlp.get_pipe(name) for name in finders if hasattr(nlp.get_pipe(name), "entities")}
    before = {name: pipe.entities for name, pipe in joint.items()}
    with nlp.select_pipes(disable=[name for name in finders if name not in joint]):
        try:
            for pipe in joint.values():
                pipe.entities = "given"
            yield
        finally:
            for name, entities in before.items():
                joint[name].entities = entities


class Intake:
    """How notes are read and handed to the pipeline: as text alone.

    max_length: characters; a longer note is not annotated.
    """

    def __init__(self, nlp: Language, max_length: Optional[int] = None) -> None:
        self.nlp = nlp
        self.max_length = max_length

    def read(self, job: Job) -> BratDocument:
        """The note. Raises InputError if it cannot be read."""
        if job.error is not None:
            raise job.failure(job.error)
        document = BratDocument(job.id, job.text) if job.path is None else self.read_file(job.path)
        if self.max_length is not None and len(document.text) > self.max_length:
            raise job.failure(f"{len(document.text)} characters are more than --max-length allows")
        return document

    def read_file(self, path: Path) -> BratDocument:
        # Annotations that stand beside the note may be as broken as they like.
        return read_document(path, annotations=False)

    def input(self, document: BratDocument) -> Union[str, Doc]:
        return document.text


class GivenIntake(Intake):
    """As Docs with the mentions that they have."""

    def __init__(self, nlp: Language, spans_key: str, offsets: str, max_length: Optional[int] = None) -> None:
        super().__init__(nlp, max_length)
        self.offsets = offsets
        self.spans_key = spans_key

    def read_file(self, path: Path) -> BratDocument:
        document = read_document(path, offsets=self.offsets)
        if not document.audit.has_ann:
            raise InputError(path, None, "no .ann beside this note to take its entities from")
        return without_relations(document)

    def input(self, document: BratDocument) -> Union[str, Doc]:
        return to_doc(self.nlp, document, spans_key=self.spans_key)


def annotated(
    intake: Intake,
    jobs: Iterator[Job],
    *,
    batch_size: Optional[int] = None,
    batch_tokens: Optional[int] = None,
) -> Iterator[Tuple[Job, Optional[BratDocument], Union[Doc, InputError]]]:
    """Every job with what was read and its Doc, or why there is none, in their order but for what cannot be read.

    batch_tokens: tokens of a batch, at most, so that memory does not depend on how long notes are; a longer note goes
    alone. batch_size: notes of a batch, at most; None: as many as these tokens are, or without them as the pipeline
    says.

    `nlp.pipe` ends at an error without saying on which note. Those it had taken and not given back are then done one
    by one, and a new `nlp.pipe` goes on with the rest.
    """
    waiting: Deque[Tuple[Job, BratDocument, Optional[Doc]]] = deque()  # with the Doc, if it is certain to be the text
    unreadable: Deque[Tuple[Job, InputError]] = deque()
    held: Optional[Tuple[Job, BratDocument, Doc]] = None  # the first note of the next batch
    exhausted, spelling = False, Spelling()
    # Not where mentions are given, which cut tokens of their own, nor for a tokenizer that is derived from this one.
    certain = type(intake) is Intake and type(intake.nlp.tokenizer) is ClinicalTokenizer
    if batch_size is None:
        batch_size = batch_tokens

    def inputs() -> Iterator[Union[str, Doc]]:
        nonlocal exhausted, held
        tokens = 0
        if held is not None:
            job, document, doc = held
            held, tokens = None, max(1, len(doc))
            waiting.append((job, document, doc if certain else None))
            yield doc
        for job in jobs:
            try:
                document = intake.read(job)
            except InputError as error:
                unreadable.append((job, error))
                continue
            waiting.append((job, document, None))
            given = intake.input(document)
            if batch_tokens is not None:
                given = intake.nlp.make_doc(given) if isinstance(given, str) else given
                size = max(1, len(given))
                if tokens and tokens + size > batch_tokens:
                    waiting.pop()
                    held = (job, document, given)
                    return
                tokens += size
                if certain:
                    waiting[-1] = (job, document, given)
            yield given
        exhausted = True

    while not exhausted:
        results = intake.nlp.pipe(inputs(), batch_size=batch_size)
        while True:
            try:
                doc = next(results)
            except StopIteration:
                break
            except Exception:
                if not waiting and not unreadable:
                    raise  # of no note
                break
            job, document, made = waiting.popleft()
            yield job, document, doc if doc is made else _checked(job, document.text, doc, spelling)
        while waiting:
            job, document, _ = waiting.popleft()
            yield job, document, _alone(intake, job, document, spelling)
        while unreadable:
            job, error = unreadable.popleft()
            yield job, None, error


def _alone(intake: Intake, job: Job, document: BratDocument, spelling: Spelling) -> Union[Doc, InputError]:
    """The Doc of one note, or the component that fails on it. What its error says may quote the note, so it is kept
    back but for spaCy's own code.
    """
    running = "tokenizer"
    try:
        given = intake.input(document)
        doc = intake.nlp.make_doc(given) if isinstance(given, str) else given
        for running, component in intake.nlp.pipeline:  # noqa: B007
            doc = component(doc)
    except Exception as error:
        code = _SPACY_CODE.search(str(error))
        kind = type(error).__name__ + (f" {code[0]}" if code else "")
        return job.failure(f"the pipeline fails on this note: {kind} in {running}")
    return _checked(job, document.text, doc, spelling)


def _checked(job: Job, text: str, doc: Doc, spelling: Spelling) -> Union[Doc, InputError]:
    """Offsets in another text than the note's would be wrong without anyone noticing."""
    if spelling.text(doc) != text:
        return job.failure("the pipeline changes the text of this note, so that offsets would be wrong")
    return doc
