"""BRAT files on disk: a .txt and the .ann beside it, byte for byte, or BioNLP's .a1 and .a2 in its place."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple, Union

from spacy_clinical_ner.brat.document import DROPPED, BratDocument
from spacy_clinical_ner.brat.offsets import CHARACTERS
from spacy_clinical_ner.brat.parse import parse_standoff
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import check_name, read_text, replacing

logger = logging.getLogger(__name__)

NOTE = ".txt"
# BioNLP shared tasks part one standoff in two: given mentions in .a1, what is to be found in .a2.
STANDOFF = (".ann", ".a1", ".a2")


def read_document(
    path_to_txt: Union[str, Path],
    *,
    name: Optional[str] = None,
    on_error: str = "raise",
    text_mismatch: str = "repair",
    offsets: str = CHARACTERS,
    annotations: bool = True,
) -> BratDocument:
    """Read one note and the .ann beside it; without an .ann it has no annotations, and its audit says so.

    .a1 and .a2 are read as one .ann; line numbers of the audit go on from the first to the second.

    name: what to call the document; by default the file name without suffix. annotations: read them at all. on_error,
    text_mismatch, offsets: see `parse_standoff`. Raises InputError for malformed lines, for a file that cannot be read
    or is not UTF-8, and if there is an .ann as well as an .a1 or .a2.
    """
    path = Path(path_to_txt)
    name = path.stem if name is None else name
    text = read_text(path)
    parts = _standoff_files(path) if annotations else []
    if not parts:
        document = parse_standoff(name, text, "")
        document.audit.has_ann = False
        return document
    return read_standoff(name, text, parts, on_error=on_error, text_mismatch=text_mismatch, offsets=offsets)


def read_standoff(name: str, text: str, parts: List[Path], **options: str) -> BratDocument:
    """The annotations in files (an .ann, or .a1 and .a2) of a text. options: as for `parse_standoff`."""
    contents = [read_text(part) for part in parts]
    # The next file begins on a line of its own, and a BOM is one only where the whole begins.
    joined = contents[0] + "".join(
        ("" if before.endswith("\n") or not before else "\n") + content.removeprefix("\ufeff")
        for before, content in zip(contents, contents[1:])
    )
    try:
        return parse_standoff(name, text, joined, path=parts[0], **options)
    except InputError as error:
        line = error.line or 1
        for part, content in zip(parts, contents):
            n_lines = content.count("\n") + (bool(content) and not content.endswith("\n"))
            if line <= n_lines or part == parts[-1]:
                break
            line -= n_lines
        raise type(error)(part, line, error.reason) from None


def list_notes(folder: Union[str, Path]) -> List[Path]:
    """Paths of all notes (.txt) under a folder, sorted by relative path; hidden files and folders left out.

    Folders that are links are followed, endings may be in capitals. Raises InputError if the folder is missing or has
    no note, and for what would else be left out in silence: annotations without a .txt beside them, two notes of one
    name, a folder that cannot be read, a link that leads nowhere or back to where it stands.
    """
    folder = Path(folder)
    found: Dict[str, Dict[str, Path]] = defaultdict(dict)  # by name, then by ending
    for path in list_files(folder, (NOTE, *STANDOFF)):
        beside = found[document_name(path, folder)].setdefault(path.suffix.lower(), path)
        if beside != path:
            raise InputError(path, None, f"{beside.name} stands beside it: the two have one name")
    for _, files in sorted(found.items()):
        if NOTE not in files:
            path = next(iter(files.values()))
            raise InputError(path, None, f"no .txt beside this {path.suffix}")
    if not found:
        raise InputError(folder, None, "no .txt file in this folder")
    return [found[name][NOTE] for name in sorted(found)]


def list_files(folder: Path, endings: Tuple[str, ...]) -> List[Path]:
    """All files below a folder with one of these endings (in small letters), sorted, without hidden ones.

    Raises InputError as `list_notes` does for folders and links.
    """
    if not folder.is_dir():
        raise InputError(folder, None, "no such folder")

    def unreadable(error: OSError) -> None:
        raise InputError(error.filename or folder, None, error.strerror or "cannot be read")

    found: List[Path] = []
    for root, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in map(Path(root).joinpath, folders):
            if each.is_symlink() and each.resolve() in (above := each.parent.resolve(), *above.parents):
                raise InputError(each, None, "a link to a folder that holds it: take it out")
            if each.suffix.lower() in endings:
                raise InputError(each, None, f"a folder with the ending {each.suffix} of a file: rename it")
        for each in map(Path(root).joinpath, names):
            if each.suffix.lower() in ("", *endings) and not each.name.startswith("."):
                if each.is_symlink() and not each.exists():
                    raise InputError(each, None, "a link that leads nowhere")
                if each.suffix and each.is_file():
                    found.append(check_name(each))
    return sorted(found)


def document_name(path_to_txt: Path, folder: Union[str, Path]) -> str:
    """Path of a note relative to its folder, "/" between folders, without suffix."""
    return path_to_txt.relative_to(folder).with_suffix("").as_posix()


def read_folder(
    path: Union[str, Path], *, on_error: str = "raise", text_mismatch: str = "repair", offsets: str = CHARACTERS
) -> Iterator[BratDocument]:
    """Read all notes under a folder one after the other, sorted by name.

    Raises InputError at once for what `list_notes` finds wrong, and while iterating for what `read_document` does.
    """
    notes = list_notes(path)
    return (
        read_document(
            note,
            name=document_name(note, path),
            on_error=on_error,
            text_mismatch=text_mismatch,
            offsets=offsets,
        )
        for note in notes
    )


def log_dropped(document: BratDocument, folder: Union[str, Path]) -> None:
    """Name the lines of a document of this folder that were dropped, by file and line, each with the reason."""
    if not document.audit.counts()[DROPPED]:
        return
    path = Path(folder) / f"{document.name}.ann"
    for state in document.audit.states:
        if state.state == DROPPED:
            logger.warning("%s:%d: dropped: %s", path, state.line, state.reason)


def write_document(document: BratDocument, path_to_txt: Union[str, Path]) -> None:
    """Write the note to `path_to_txt` and its annotations to the .ann beside it; nothing is translated.

    Malformed lines that a lenient reader dropped go back to where they stood.
    Raises InputError for annotations that the format cannot hold (a label with a space, say), before anything is
    written, and ValueError if the path does not end in .txt.
    """
    path = Path(path_to_txt)
    ann_path = path.with_suffix(".ann")
    if path.suffix != ".txt":
        raise ValueError(f"the path of a note ends in .txt: {path}")
    standoff = document.standoff()
    try:
        parse_standoff(document.name, document.text, document.standoff(readable=True), path=ann_path)
    except InputError as error:
        raise InputError(ann_path, error.line, f"cannot be written as BRAT: {error.reason}") from None
    for target, content in ((path, document.text), (ann_path, standoff)):
        with replacing(target) as temporary:
            temporary.write_bytes(content.encode("utf8"))


def _standoff_files(note: Path) -> List[Path]:
    """The files with annotations of a note, whose endings may be in capitals as its own may."""
    found: Dict[str, Path] = {}
    for ending in STANDOFF:
        for path in (note.with_suffix(ending), note.with_suffix(ending.upper())):
            if os.path.lexists(path):  # a link that leads nowhere is no missing file
                found.setdefault(ending, path)
    if ".ann" in found and len(found) > 1:
        raise InputError(found[".ann"], None, "an .a1 or .a2 stands beside this .ann: take one of them away")
    return list(found.values())
