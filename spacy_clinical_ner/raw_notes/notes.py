"""Raw notes for pre-training: folders of .txt, or JSON lines; which of them are held out."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, List, Sequence, Tuple

import srsly

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import read_text
from spacy_clinical_ner.raw_notes.vectors import find_notes, read_note

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class RawNote:
    """A note and the name by which it is or is not held out."""

    name: str
    text: str


def read_notes(sources: Iterable[Path]) -> List[RawNote]:
    """The notes of all sources, in a fixed order; a source is a folder (every .txt below it) or a .jsonl file.

    A line of a .jsonl file is an object with a string `text` and perhaps a `name` or `id`. Raises InputError, which
    names file and line, for what cannot be read, and for a source without notes.
    """
    notes: List[RawNote] = []
    for source in map(Path, sources):
        if source.is_file():
            notes += _read_lines(source)
        else:
            notes += (RawNote(path.relative_to(source).as_posix(), read_note(path)) for path in find_notes([source]))
    return notes


def _read_lines(path: Path) -> Iterator[RawNote]:
    if path.suffix not in (".jsonl", ".json"):
        raise InputError(path, None, "give a folder of raw notes (.txt) or a .jsonl file")
    found = 0
    # Split at \n alone: what str.splitlines takes for line ends besides may stand unescaped in JSON.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = srsly.json_loads(line.removeprefix("\ufeff"))
        except ValueError:
            raise InputError(path, number, "not JSON; one object a line is expected") from None
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            raise InputError(path, number, 'no string "text" in this line')
        if _SURROGATE.search(record["text"]):
            raise InputError(path, number, 'half a surrogate pair in "text"')
        found += 1
        yield RawNote(str(record.get("name", record.get("id", f"{path.name}:{number}"))), record["text"])
    if not found:
        raise InputError(path, None, "no note in this file")


def split_held_out(notes: Sequence[RawNote], share: float) -> Tuple[List[RawNote], List[RawNote]]:
    """(notes to train on, notes held out): by a hash of the name, so that the same notes are held out in every run.

    share: of the notes, 0 to 1. In a collection so small that no hash falls below it, one note is held out.
    Raises ValueError for fewer than two notes.
    """
    if len(notes) < 2:
        raise ValueError("two notes are needed, one of them to be held out")
    shares = [_hash_share(note.name) for note in notes]
    least = min(range(len(notes)), key=lambda i: (shares[i], i))
    held_out = {i for i, value in enumerate(shares) if value < share} or {least}
    if len(held_out) == len(notes):
        held_out = {least}
    train = [note for i, note in enumerate(notes) if i not in held_out]
    return train, [notes[i] for i in sorted(held_out)]


def _hash_share(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode("utf8", "surrogatepass")).digest()[:8], "big") / 2.0**64
