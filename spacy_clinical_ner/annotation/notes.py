"""Notes through a pipeline and out, one after the other, counted, with what went wrong told by note; BRAT files."""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple, Union

from spacy.attrs import IS_SPACE
from spacy.tokens import Doc

from spacy_clinical_ner.annotation.piping import Intake, Job, annotated
from spacy_clinical_ner.brat import BratDocument, document_name, from_doc, list_notes, write_document
from spacy_clinical_ner.errors import InputError, OutputError

PathLike = Union[str, Path]


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


def check_folder(source: PathLike, output: PathLike, *, overwrite: bool = False) -> None:
    """Whether a copy of every .txt below the folder `source`, or of that one file, can be written below `output`.

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
    targets = [output / f"{document_name(note, folder)}.txt" for note in notes]
    forbidden = source.resolve()
    for target in map(Path.resolve, targets):
        if target == forbidden or forbidden in target.parents:
            raise InputError(output, None, "annotations are never written into the input: choose another folder")
    if not overwrite:
        files = [path for target in targets for path in (target, target.with_suffix(".ann"))]
        existing = [path for path in files if path.exists()]
        if existing:
            more = f" and so do {len(existing) - 1} more files" if len(existing) > 1 else ""
            raise InputError(existing[0], None, f"exists already{more}: choose another folder, or --overwrite")


def annotate_jobs(
    intake: Intake,
    jobs: Iterator[Job],
    write: Callable[[Job, Doc, BratDocument], Optional[InputError]],
    summary: AnnotationSummary,
    *,
    spans_key: str = "sc",
    confidence: bool = False,
    batch_size: Optional[int] = None,
    batch_tokens: Optional[int] = None,
) -> Iterator[Optional[Tuple[Job, InputError]]]:
    """Annotate, write and count; after every note: nothing, or the note and why it could not be done.

    write: is given each note with its Doc and what `from_doc` makes of it, and returns the error that keeps it from
        being written, if there is one. The other options are those of `annotated` and `from_doc`.
    """
    for job, source, result in annotated(intake, jobs, batch_size=batch_size, batch_tokens=batch_tokens):
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
