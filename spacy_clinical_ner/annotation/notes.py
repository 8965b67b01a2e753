"""Notes through a pipeline and out as BRAT files, one after the other, with what went wrong told by file."""

from __future__ import annotations

import errno
import re
import time
from collections import Counter, deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ContextManager, Deque, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from spacy.attrs import IS_SPACE
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from spacy_clinical_ner.brat import (
    BratDocument,
    document_name,
    from_doc,
    list_notes,
    read_document,
    to_doc,
    write_document,
)
from spacy_clinical_ner.brat.docs import without_relations
from spacy_clinical_ner.errors import InputError, OutputError

PathLike = Union[str, Path]

# Large enough that no time is lost between two parts, small enough for their words to be few.
_NOTES_OF_ZONE = 256
_SPACY_CODE = re.compile(r"\[[EW]\d+\]")


class Job(NamedTuple):
    """A note to annotate: where it lies and where its copy goes (the .ann beside that)."""

    note: Path
    target: Path


@dataclass
class AnnotationSummary:
    """What came out.

    notes: written. words: tokens in them other than white space. mentions, relations: number per label.
    seconds: from reading the first note to writing the last one. failures: one error for each note not annotated.
    """

    notes: int = 0
    words: int = 0
    mentions: Counter = field(default_factory=Counter)
    relations: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    failures: List[InputError] = field(default_factory=list)

    @property
    def words_per_second(self) -> float:
        return self.words / self.seconds if self.seconds else 0.0


def plan_jobs(source: PathLike, output: PathLike, *, overwrite: bool = False) -> List[Job]:
    """Which notes go where: every .txt below the folder `source`, or that one file, under its relative name.

    Raises InputError if there is no note, if a file would be written into `source`, or if one exists already and
    `overwrite` is false.
    """
    source, output = Path(source), Path(output)
    if source.is_file():
        if source.suffix.lower() != ".txt":
            raise InputError(source, None, "not a .txt file")
        folder, notes = source.parent, [source]
    else:
        folder, notes = source, list_notes(source)
    jobs = [Job(note, output / f"{document_name(note, folder)}.txt") for note in notes]
    forbidden = source.resolve()
    for job in jobs:
        target = job.target.resolve()
        if target == forbidden or forbidden in target.parents:
            raise InputError(output, None, "annotations are never written into the input: choose another folder")
    if not overwrite:
        files = [path for job in jobs for path in (job.target, job.target.with_suffix(".ann"))]
        existing = [path for path in files if path.exists()]
        if existing:
            more = f" and so do {len(existing) - 1} more files" if len(existing) > 1 else ""
            raise InputError(existing[0], None, f"exists already{more}: choose another folder, or --overwrite")
    return jobs


def annotate_notes(
    nlp: Language,
    jobs: Sequence[Job],
    *,
    spans_key: str = "sc",
    confidence: bool = False,
    n_process: int = 1,
    batch_size: Optional[int] = None,
    given_entities: bool = False,
    offsets: str = "characters",
    progress: bool = False,
) -> AnnotationSummary:
    """Annotate notes and write each as a .txt, byte for byte the same, with an .ann beside it.

    jobs: what to read and where to write, as `plan_jobs` gives them. Files that exist are replaced.
    spans_key: mentions are those of `doc.ents` and of `doc.spans[spans_key]`.
    confidence: add `span._.confidence` as a note on each mention.
    n_process, batch_size: as for `nlp.pipe`. As many notes as this takes are in memory, never all of them.
    given_entities: take the mentions from the .ann beside each note instead of finding any. All of its lines are kept
        but for relations and what is said about them, and those that the pipeline finds are added. Components that
        write `doc.ents` or `doc.spans` do not run, or, if they find relations as well, leave the mentions as they are.
    offsets: how the given .ann files count, see `read_document`.
    progress: show a progress bar on stderr.

    A note that cannot be read, on which the pipeline fails or whose labels BRAT cannot hold ends up in `failures`; all
    others are written. Raises InputError if a file cannot be created at all.
    """
    summary = AnnotationSummary()
    start = time.perf_counter()
    prepared = given_mentions(nlp) if given_entities else nullcontext()
    with tqdm(total=len(jobs), unit="note", disable=not progress) as bar, prepared:
        notes = _GivenNotes(nlp, spans_key, offsets) if given_entities else _Notes(nlp)
        for part, zone in _zones(nlp, jobs, n_process):
            with zone:
                for job, source, result in _run(notes, iter(part), n_process, batch_size):
                    if not isinstance(result, InputError):
                        document = from_doc(result, spans_key=spans_key, confidence=confidence, source=source)
                        result = _written(document, job) or result
                    if isinstance(result, InputError):
                        summary.failures.append(result)
                    else:
                        summary.notes += 1
                        summary.words += len(result) - int(result.to_array([IS_SPACE]).sum())
                        summary.mentions.update(entity.label for entity in document.entities)
                        summary.relations.update(relation.label for relation in document.relations)
                    summary.seconds = time.perf_counter() - start
                    bar.set_postfix_str(f"{summary.words_per_second:,.0f} words/s", refresh=False)
                    bar.update()
                result = source = None  # type: ignore[assignment]
    return summary


def _zones(nlp: Language, jobs: Sequence[Job], n_process: int) -> Iterator[Tuple[Sequence[Job], ContextManager[None]]]:
    """Parts of the jobs, each with a block at whose end the vocabulary forgets the words of its notes (spaCy 3.8).

    Else it grows with every new word. Processes would have to be started anew for each part: with several of them
    there is one part, and this process alone keeps the words.
    """
    if n_process > 1 or not hasattr(nlp, "memory_zone"):
        yield jobs, nullcontext()
        return
    for start in range(0, len(jobs), _NOTES_OF_ZONE):
        yield jobs[start : start + _NOTES_OF_ZONE], nlp.memory_zone()


def _written(document: BratDocument, job: Job) -> Optional[InputError]:
    """Write a document; the error that keeps this one, and not all others too, from being written."""
    try:
        write_document(document, job.target)
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG:  # of this note; a full disk is of all
            return error
        raise
    except InputError as error:
        return InputError(job.note, None, f"BRAT cannot hold what the pipeline found, see its labels: {error.reason}")
    return None


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


class _Notes:
    """How notes are read and handed to the pipeline: as text alone."""

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp

    def read(self, job: Job) -> BratDocument:
        # Annotations that stand beside the note may be as broken as they like.
        return read_document(job.note, annotations=False)

    def input(self, document: BratDocument) -> Union[str, Doc]:
        return document.text


class _GivenNotes(_Notes):
    """As Docs with the mentions that they have."""

    def __init__(self, nlp: Language, spans_key: str, offsets: str) -> None:
        super().__init__(nlp)
        self.offsets = offsets
        self.spans_key = spans_key

    def read(self, job: Job) -> BratDocument:
        document = read_document(job.note, offsets=self.offsets)
        if not document.audit.has_ann:
            raise InputError(job.note, None, "no .ann beside this note to take its entities from")
        return without_relations(document)

    def input(self, document: BratDocument) -> Union[str, Doc]:
        return to_doc(self.nlp, document, spans_key=self.spans_key)


def _run(
    notes: _Notes, jobs: Iterator[Job], n_process: int, batch_size: Optional[int]
) -> Iterator[Tuple[Job, Optional[BratDocument], Union[Doc, InputError]]]:
    """Every job with what was read and its Doc, or why there is none, in their order but for what cannot be read.

    `nlp.pipe` ends at an error without saying on which note. Those it had taken and not given back are then done one
    by one, and a new `nlp.pipe` goes on with the rest.
    """
    waiting: Deque[Tuple[Job, BratDocument]] = deque()
    unreadable: Deque[Tuple[Job, InputError]] = deque()

    def inputs() -> Iterator[Union[str, Doc]]:
        for job in jobs:
            try:
                document = notes.read(job)
            except InputError as error:
                unreadable.append((job, error))
                continue
            waiting.append((job, document))
            yield notes.input(document)

    finished = False
    while not finished:
        results = notes.nlp.pipe(inputs(), n_process=n_process, batch_size=batch_size)
        while True:
            try:
                doc = next(results)
            except StopIteration:
                finished = True
                break
            except Exception:
                break
            job, document = waiting.popleft()
            yield job, document, _checked(job, document.text, doc)
        while waiting:
            job, document = waiting.popleft()
            yield job, document, _alone(notes, job, document)
        while unreadable:
            job, error = unreadable.popleft()
            yield job, None, error


def _alone(notes: _Notes, job: Job, document: BratDocument) -> Union[Doc, InputError]:
    """The Doc of one note, or the component that fails on it. What its error says may quote the note, so it is kept
    back but for spaCy's own code.
    """
    running = "tokenizer"
    try:
        given = notes.input(document)
        doc = notes.nlp.make_doc(given) if isinstance(given, str) else given
        for running, component in notes.nlp.pipeline:  # noqa: B007
            doc = component(doc)
    except Exception as error:
        code = _SPACY_CODE.search(str(error))
        kind = type(error).__name__ + (f" {code[0]}" if code else "")
        return InputError(job.note, None, f"the pipeline fails on this note: {kind} in {running}")
    return _checked(job, document.text, doc)


def _checked(job: Job, text: str, doc: Doc) -> Union[Doc, InputError]:
    """Offsets in another text than the note's would be wrong without anyone noticing."""
    if doc.text != text:
        return InputError(job.note, None, "the pipeline changes the text of this note, so that offsets would be wrong")
    return doc
