"""Notes through a pipeline and out as BRAT files, one after the other, with what went wrong told by file."""

from __future__ import annotations

import errno
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, ContextManager, Iterator, List, Optional, Sequence, Tuple, Union

from spacy.attrs import IS_SPACE
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from spacy_clinical_ner.annotation.piping import GivenIntake, Intake, Job, annotated, given_mentions
from spacy_clinical_ner.brat import BratDocument, document_name, from_doc, list_notes, write_document
from spacy_clinical_ner.errors import InputError, OutputError

PathLike = Union[str, Path]

# Large enough that no time is lost between two parts, small enough for their words to be few.
_NOTES_OF_ZONE = 256


@dataclass
class AnnotationSummary:
    """What came out.

    notes: written. words: tokens in them other than white space. mentions, relations: number per label.
    seconds: from reading the first note to writing the last one. failures: one error for each note not annotated;
    of runs that may have many, the first of `n_failed`.
    """

    notes: int = 0
    words: int = 0
    mentions: Counter = field(default_factory=Counter)
    relations: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    failures: List[InputError] = field(default_factory=list)
    n_failed: int = 0

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
    names = [document_name(note, folder) for note in notes]
    jobs = [Job(name, note, target=output / f"{name}.txt") for name, note in zip(names, notes)]
    forbidden = source.resolve()
    for job in jobs:
        assert job.target is not None
        target = job.target.resolve()
        if target == forbidden or forbidden in target.parents:
            raise InputError(output, None, "annotations are never written into the input: choose another folder")
    if not overwrite:
        files = [path for job in jobs if job.target for path in (job.target, job.target.with_suffix(".ann"))]
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
        intake = GivenIntake(nlp, spans_key, offsets) if given_entities else Intake(nlp)
        for part, zone in _zones(nlp, jobs, n_process):
            with zone:
                for _ in annotate_jobs(
                    intake, iter(part), written, summary,
                    spans_key=spans_key, confidence=confidence, n_process=n_process, batch_size=batch_size,
                ):  # fmt: skip
                    summary.seconds = time.perf_counter() - start
                    bar.set_postfix_str(f"{summary.words_per_second:,.0f} words/s", refresh=False)
                    bar.update()
    return summary


def annotate_jobs(
    intake: Intake,
    jobs: Iterator[Job],
    write: Callable[[Job, Doc, BratDocument], Optional[InputError]],
    summary: AnnotationSummary,
    *,
    spans_key: str = "sc",
    confidence: bool = False,
    n_process: int = 1,
    batch_size: Optional[int] = None,
    batch_tokens: Optional[int] = None,
) -> Iterator[Optional[Tuple[Job, InputError]]]:
    """Annotate, write and count; after every note: nothing, or the note and why it could not be done.

    write: is given each note with its Doc and what `from_doc` makes of it, and returns the error that keeps it from
        being written, if there is one. The other options are those of `annotated`, `from_doc` and `annotate_notes`.
    """
    results = annotated(intake, jobs, n_process=n_process, batch_size=batch_size, batch_tokens=batch_tokens)
    for job, source, result in results:
        if not isinstance(result, InputError):
            document = from_doc(result, spans_key=spans_key, confidence=confidence, source=source)
            result = write(job, result, document) or result
        if isinstance(result, InputError):
            summary.failures.append(result)
            summary.n_failed += 1
            yield job, result
            continue
        summary.notes += 1
        summary.words += len(result) - int(result.to_array([IS_SPACE]).sum())
        summary.mentions.update(entity.label for entity in document.entities)
        summary.relations.update(relation.label for relation in document.relations)
        yield None


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


def written(job: Job, doc: Doc, document: BratDocument) -> Optional[InputError]:
    """Write a document to its target; the error that keeps this one, and not all others too, from being written."""
    assert job.target is not None
    try:
        write_document(document, job.target)
    except OutputError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG:  # of this note; a full disk is of all
            return error
        raise
    except InputError as error:
        return job.failure(f"BRAT cannot hold what the pipeline found, see its labels: {error.reason}")
    return None
