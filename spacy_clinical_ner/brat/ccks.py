"""The JSON lines of CCKS-2019 (Yidu-S4K): records of clinical notes with their entities, turned into BRAT.

One record a line: `{"originalText": "...", "entities": [{"label_type": "手术", "start_pos": 3, "end_pos": 8}, ...]}`.
Offsets count characters of `originalText`; `end_pos` is one past the last. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from tqdm import tqdm

from spacy_clinical_ner.brat import BratDocument, Entity, write_document
from spacy_clinical_ner.brat.document import column_texts
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import read_text, replacing
from spacy_clinical_ner.outputs import NEW_FOLDER, check_output

PathLike = Union[str, Path]

_BOM = "\ufeff"


@dataclass
class ImportSummary:
    """What was imported: records of each file by its name, entities by label."""

    records: Dict[str, int] = field(default_factory=dict)
    labels: Counter = field(default_factory=Counter)


def holds_records(path: PathLike) -> bool:
    """Whether a file begins like JSON lines: a .txt beside the records may be anything."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4096).removeprefix(_BOM.encode("utf8")).lstrip().startswith(b"{")
    except OSError:
        return False


def read_records(path: PathLike) -> Iterator[BratDocument]:
    """The records of a file, in its order, each named by the file and its line: `training-0012`.

    A byte order mark, CRLF and blank lines are no part of the records. Labels keep their names, white space in them
    becomes `_`. Raises InputError with the line of the first malformed record.
    """
    path = Path(path)
    lines = _read_text(path).split("\n")
    width = max(4, len(str(len(lines))))
    for number, line in enumerate(lines, start=1):
        content = line.strip(f" \t\r{_BOM}")
        if content:
            yield _document(path, number, content, f"{path.stem}-{number:0{width}}")


def import_records(files: Sequence[PathLike], output: PathLike, *, progress: bool = False) -> ImportSummary:
    """Write every record as a note (.txt) with its annotations (.ann) to the folder `output`.

    The folder appears whole or not at all. Raises InputError for a malformed record, for files without any, for two
    files of one name, and for an `output` that holds something already.
    """
    output = Path(output)
    check_output(output, NEW_FOLDER, inputs=files)
    summary = ImportSummary()
    documents: List[BratDocument] = []
    stems: Dict[str, Path] = {}
    for path in map(Path, files):
        if path.stem in stems:
            raise InputError(path, None, f"its notes would be named as those of {stems[path.stem]}; rename one")
        stems[path.stem] = path
        before = len(documents)
        documents.extend(read_records(path))
        summary.records[path.name] = len(documents) - before
    if not documents:
        raise InputError(Path(files[0]) if files else output, None, "no records")
    with replacing(output) as temporary:
        temporary.mkdir()
        for document in tqdm(documents, desc="import", unit="record", disable=not progress):
            write_document(document, temporary / f"{document.name}.txt")
            summary.labels.update(entity.label for entity in document.entities)
    return summary


def _read_text(path: Path) -> str:
    """`read_text`, whose error tells the encoding that Chinese files have instead, where it is that one."""
    try:
        return read_text(path)
    except InputError as error:
        if error.line is None:
            raise
        try:
            path.read_bytes().decode("gb18030")
        except UnicodeDecodeError:
            raise error from None
        hint = "looks like GB18030: convert the file with iconv -f GB18030 -t UTF-8"
        raise InputError(path, error.line, f"not UTF-8; {hint}") from None


def _document(path: Path, number: int, line: str, name: str) -> BratDocument:
    try:
        # Not strict: tabs and other control characters stand as they are in the texts of some editions.
        record = json.loads(line, strict=False)
    except json.JSONDecodeError as error:
        raise InputError(path, number, f"not JSON: {error.msg} (column {error.colno})") from None
    except (RecursionError, ValueError):
        raise InputError(path, number, "not a record: nested too deeply, or a number of thousands of digits") from None
    if not isinstance(record, dict):
        raise InputError(path, number, "not a record: a JSON object on each line is expected")
    text, entities = record.get("originalText"), record.get("entities")
    if not isinstance(text, str):
        raise InputError(path, number, "no string 'originalText' in the record")
    if not isinstance(entities, list):
        raise InputError(path, number, "no list 'entities' in the record")
    try:
        text.encode("utf8")
    except UnicodeEncodeError as error:
        raise InputError(path, number, f"half a surrogate pair in 'originalText' (character {error.start})") from None
    mentions = []
    for position, entity in enumerate(entities, start=1):
        label, fragment, problem = _read_entity(entity, len(text))
        if problem:
            raise InputError(path, number, f"entity {position}: {problem}")
        column = next(column_texts(text, (fragment,)))
        mentions.append(Entity(f"T{position}", label, (fragment,), column))
    return BratDocument(name, text, mentions)


def _read_entity(entity: Any, length: int) -> Tuple[str, Tuple[int, int], Optional[str]]:
    """Label, offsets, and what is wrong with them, if anything."""
    nothing = ("", (0, 0))
    if not isinstance(entity, dict):
        return (*nothing, "not an object")
    label = entity.get("label_type")
    if not isinstance(label, str) or not label.strip():
        return (*nothing, "no 'label_type'")
    start, end = entity.get("start_pos"), entity.get("end_pos")
    # Not isinstance: true and false are ints to Python.
    if type(start) is not int or type(end) is not int:
        return (*nothing, "'start_pos' and 'end_pos' must be whole numbers")
    if not 0 <= start < end <= length:
        return (*nothing, f"offsets {start} to {end} do not lie in a text of {length} characters")
    return "_".join(label.split()), (start, end), None
