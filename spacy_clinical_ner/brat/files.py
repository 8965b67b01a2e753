"""BRAT files on disk: a .txt and the .ann beside it, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Optional, Union

from spacy_clinical_ner.brat.document import BratDocument
from spacy_clinical_ner.brat.parse import parse_standoff
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import check_name, read_text, replacing


def read_document(
    path_to_txt: Union[str, Path],
    *,
    name: Optional[str] = None,
    on_error: str = "raise",
    text_mismatch: str = "repair",
) -> BratDocument:
    """Read one note and the .ann beside it; without an .ann it has no annotations, and its audit says so.

    name: what to call the document; by default the file name without suffix. on_error, text_mismatch: see
    `parse_standoff`. Raises InputError for malformed lines and for a file that cannot be read or is not UTF-8.
    """
    path = Path(path_to_txt)
    ann_path = path.with_suffix(".ann")
    name = path.stem if name is None else name
    text = read_text(path)
    if not ann_path.is_file():
        document = parse_standoff(name, text, "")
        document.audit.has_ann = False
        return document
    return parse_standoff(
        name, text, read_text(ann_path), path=ann_path, on_error=on_error, text_mismatch=text_mismatch
    )


def list_notes(folder: Union[str, Path]) -> List[Path]:
    """Paths of all notes (.txt) under a folder, sorted by relative path; hidden files and folders left out.

    Raises InputError if the folder is missing or has no note, or if an .ann has no .txt beside it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, None, "no such folder")
    notes, annotations = [], []
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix == ".txt":
            notes.append(check_name(path))
        elif path.suffix == ".ann":
            annotations.append(path)
    orphans = sorted(set(annotations) - {note.with_suffix(".ann") for note in notes})
    if orphans:
        raise InputError(orphans[0], None, "no .txt beside this .ann")
    if not notes:
        raise InputError(folder, None, "no .txt file in this folder")
    return sorted(notes, key=lambda note: document_name(note, folder))


def document_name(path_to_txt: Path, folder: Union[str, Path]) -> str:
    """Path of a note relative to its folder, "/" between folders, without suffix."""
    return path_to_txt.relative_to(folder).with_suffix("").as_posix()


def read_folder(
    path: Union[str, Path], *, on_error: str = "raise", text_mismatch: str = "repair"
) -> Iterator[BratDocument]:
    """Read all notes under a folder one after the other, sorted by name.

    Raises InputError at once for what `list_notes` finds wrong, and while iterating for what `read_document` does.
    """
    notes = list_notes(path)
    return (
        read_document(note, name=document_name(note, path), on_error=on_error, text_mismatch=text_mismatch)
        for note in notes
    )


def write_document(document: BratDocument, path_to_txt: Union[str, Path]) -> None:
    """Write the note to `path_to_txt` and its annotations to the .ann beside it; nothing is translated.

    Raises InputError for annotations that the format cannot hold (a label with a space, say), before anything is
    written, and ValueError if the path does not end in .txt.
    """
    path = Path(path_to_txt)
    ann_path = path.with_suffix(".ann")
    if path.suffix != ".txt":
        raise ValueError(f"the path of a note ends in .txt: {path}")
    standoff = document.standoff()
    try:
        parse_standoff(document.name, document.text, standoff, path=ann_path, text_mismatch="error")
    except InputError as error:
        raise InputError(ann_path, error.line, f"cannot be written as BRAT: {error.reason}") from None
    for target, content in ((path, document.text), (ann_path, standoff)):
        with replacing(target) as temporary:
            temporary.write_bytes(content.encode("utf8"))
