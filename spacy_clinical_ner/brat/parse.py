"""From the lines of an .ann file to objects, each line ending as kept, repaired or dropped."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple, Union

from spacy_clinical_ner.brat.document import (
    DROPPED,
    KEPT,
    REPAIRED,
    Annotation,
    Attribute,
    Audit,
    BratDocument,
    Entity,
    Equivalence,
    Event,
    LineState,
    Malformed,
    Normalization,
    Note,
    OtherLine,
    RelationLine,
    column_texts,
    merge_fragments,
)
from spacy_clinical_ner.brat.offsets import CHARACTERS, OFFSETS, TEXT_DIFFERS, Reading, mention_part
from spacy_clinical_ner.brat.references import ID, NAMES, dangling
from spacy_clinical_ner.errors import MalformedLineError

WHITE_SPACE = "mention text differed from the document in white space: kept as it stands"
COLUMNS_SET_APART = "columns after the mention text set apart"
SPACING = "spacing or number format normalised"
LABEL_WITH_SPACE = "white space in the label: a label is one word"

_OFFSETS = re.compile(r"-?[0-9]{1,18}")


def parse_standoff(
    name: str,
    text: str,
    ann: str,
    *,
    path: Union[str, Path] = "",
    on_error: str = "raise",
    text_mismatch: str = "repair",
    offsets: str = CHARACTERS,
) -> BratDocument:
    """Parse `ann`, the content of an .ann file, against the text of its note.

    path: the .ann file, for error messages.
    on_error: "raise", or "drop" to drop a malformed line and all lines that need it; they are kept as `other_lines`.
    text_mismatch: "repair", or "error" to call a mention malformed whose text differs from the document in white space
        alone; one that differs in more is malformed in any case. "trust" compares no texts.
    offsets: how the offsets are counted, one of `offsets.OFFSETS`; "auto" reads each note by the way that makes all of
        its mention texts agree. Offsets of the document count characters, whatever those in the file do.
    Raises MalformedLineError with the line number for a malformed line, unless `on_error` is "drop", and OffsetsError
    where a mention text disagrees and another way of counting makes all of the note agree.
    """
    if on_error not in ("raise", "drop"):
        raise ValueError(f"on_error is 'raise' or 'drop', not {on_error!r}")
    if text_mismatch not in ("repair", "error", "trust"):
        raise ValueError(f"text_mismatch is 'repair', 'error' or 'trust', not {text_mismatch!r}")
    if offsets not in OFFSETS:
        raise ValueError(f"offsets is one of {', '.join(OFFSETS)}, not {offsets!r}")
    bom = ann.startswith("\ufeff")
    # Only "\n" ends a line: mention texts may hold U+2028, U+0085 and the like, where str.splitlines cuts.
    rows = ann[bom:].split("\n")
    reading = Reading(text, rows, offsets, path, text_mismatch != "trust")
    states: Dict[int, LineState] = {}
    lines: List[Annotation] = []
    others: List[OtherLine] = []
    ids = set()

    def drop(number: int, kind: str, label: str, error: Malformed) -> None:
        if on_error == "raise":
            raise MalformedLineError(path, number, str(error)) from None
        others.append(OtherLine(rows[number - 1], number))
        states[number] = LineState(number, kind, label, DROPPED, error.reason)

    for number, row in enumerate(rows if rows[-1] else rows[:-1], start=1):
        if not row.strip(" \t\r"):
            others.append(OtherLine(row, number))
            continue
        kind = row[0] if row[0] in NAMES else "?"
        try:
            annotation, repair = _parse_line(row, number, reading)
            if repair == WHITE_SPACE and text_mismatch == "error":
                raise Malformed(TEXT_DIFFERS)
            if annotation.id in ids:
                raise Malformed("duplicate id", f"duplicate id {annotation.id}")
        except Malformed as error:
            drop(number, kind, "", error)
            continue
        if kind != "*":
            ids.add(annotation.id)
        lines.append(annotation)
        states[number] = LineState(number, kind, annotation.label, REPAIRED if repair else KEPT, repair)

    fallen = set()
    for annotation, broken in dangling(lines):
        fallen.add(annotation.line)
        drop(annotation.line, annotation.id[0], annotation.label, broken)
    by_kind: Dict[type, List] = defaultdict(list)
    for annotation in lines:
        if annotation.line not in fallen:
            by_kind[type(annotation)].append(annotation)
    return BratDocument(
        name=name,
        text=text,
        entities=by_kind[Entity],
        relations=by_kind[RelationLine],
        events=by_kind[Event],
        attributes=by_kind[Attribute],
        equivalences=by_kind[Equivalence],
        normalizations=by_kind[Normalization],
        notes=by_kind[Note],
        other_lines=sorted(others, key=lambda line: line.line),
        audit=Audit([states[number] for number in sorted(states)]),
        ann_bom=bom,
        final_newline=not rows[-1],
    )


def _parse_line(row: str, number: int, reading: Reading) -> Tuple[Annotation, str]:
    """The annotation in a line, and how it had to be repaired ("" if it did not). Raises Malformed."""
    if row[0] not in NAMES:
        raise Malformed("unknown kind of line: a line begins with T, R, E, A, M, N, * or #")
    head, tab, rest = row.partition("\t")
    name = NAMES[row[0]]
    if not tab:
        raise Malformed(f"missing tab after the id of the {name}")
    if not ID.fullmatch(head):
        expected = "*" if row[0] == "*" else f"{row[0]} and a number"
        raise Malformed(f"bad id: the id of a {name} is {expected}")
    if row[0] == "T":
        return _parse_entity(head, rest, number, reading)
    annotation = _PARSERS[row[0]](head, rest, number)
    return annotation, "" if annotation.render() == row else SPACING


def _parse_entity(id: str, rest: str, number: int, reading: Reading) -> Tuple[Entity, str]:
    data, tab, column = rest.partition("\t")
    if not tab:
        raise Malformed("missing tab between the offsets and the text of the mention")
    label, _, offsets = data.partition(" ")
    _check_label(label)
    counted = tuple(_parse_fragment(part) for part in offsets.split(";"))
    fragments = reading.place(counted, column, number)
    pieces = merge_fragments(fragments, reading.text)
    repair = reading.repair
    if not repair and data != f"{label} " + ";".join(f"{a} {b}" for a, b in counted):
        repair = SPACING
    for expected in column_texts(reading.text, fragments):
        if not column.startswith(expected):
            continue
        trailing = column[len(expected) :]
        if trailing in ("", "\r"):
            return Entity(id, label, fragments, expected, number, trailing, pieces), repair
        if trailing[0] == "\t":
            return Entity(id, label, fragments, expected, number, trailing, pieces), repair or COLUMNS_SET_APART
    first = mention_part(column, reading.text, fragments)
    if first is None or first == column:
        first = column.removesuffix("\r")
    return Entity(id, label, fragments, first, number, column[len(first) :], pieces), repair or WHITE_SPACE


def _parse_fragment(part: str) -> Tuple[int, int]:
    offsets = [offset for offset in part.split(" ") if offset]
    if len(offsets) > 2 and not _OFFSETS.fullmatch(offsets[0]) and all(map(_OFFSETS.fullmatch, offsets[-2:])):
        raise Malformed(LABEL_WITH_SPACE)
    if len(offsets) != 2:
        raise Malformed("a mention needs a start and an end offset, fragments parted by a semicolon")
    if not all(_OFFSETS.fullmatch(offset) for offset in offsets):
        raise Malformed("an offset of the mention is not a whole number")
    start, end = int(offsets[0]), int(offsets[1])
    if start < 0:
        raise Malformed("negative offset", f"negative offset {start}")
    if end < start:
        raise Malformed("end before start", f"end offset {end} lies before start offset {start}")
    if end == start:
        raise Malformed("empty mention", f"empty mention: start and end offset are both {start}")
    return start, end


def _parse_relation(id: str, rest: str, number: int) -> RelationLine:
    data, trailing = _split_trailing(rest)
    label, *arguments = _fields(data)
    _check_label(label)
    if len(arguments) > 2 and ":" not in arguments[0]:
        raise Malformed(LABEL_WITH_SPACE)
    if len(arguments) != 2:
        raise Malformed("a relation has two arguments", f"relation {id} has {len(arguments)} arguments, not two")
    first, second = (_parse_pair(argument, "relation") for argument in arguments)
    return RelationLine(id, label, (first, second), number, trailing)


def _parse_event(id: str, rest: str, number: int) -> Event:
    data, trailing = _split_trailing(rest)
    first, *others = _fields(data)
    if ":" not in first:
        raise Malformed("event without a trigger: TYPE:ID expected, TYPE in one word")
    label, trigger = _parse_pair(first, "event")
    arguments = tuple(_parse_pair(argument, "event") for argument in others)
    return Event(id, label, trigger, arguments, number, trailing)


def _parse_attribute(id: str, rest: str, number: int) -> Attribute:
    data, trailing = _split_trailing(rest)
    label, *others = _fields(data, most=3)
    _check_label(label)
    if not others:
        raise Malformed("attribute without a target")
    if len(others) > 1 and not ID.fullmatch(others[0]) and ID.fullmatch(others[1].split(" ")[0]):
        raise Malformed(LABEL_WITH_SPACE)
    return Attribute(id, label, others[0], others[1] if len(others) > 1 else None, number, trailing)


def _parse_equivalence(id: str, rest: str, number: int) -> Equivalence:
    data, trailing = _split_trailing(rest)
    label, *members = _fields(data)
    _check_label(label)
    if len(set(members)) < 2:
        raise Malformed("an equivalence needs two members or more")
    return Equivalence(label, tuple(members), id, number, trailing)


def _parse_normalization(id: str, rest: str, number: int) -> Normalization:
    data, text, trailing = _split_text(rest)
    label, *others = _fields(data)
    _check_label(label)
    if not others:
        raise Malformed("normalization without a target")
    if len(others) != 2:
        raise Malformed("a normalization has one reference RESOURCE:ID")
    resource, _, entry = others[1].partition(":")
    if not resource or not entry:
        raise Malformed("the reference of a normalization is RESOURCE:ID")
    return Normalization(id, label, others[0], others[1], text, number, trailing)


def _parse_note(id: str, rest: str, number: int) -> Note:
    data, text, trailing = _split_text(rest)
    label, *others = _fields(data)
    _check_label(label)
    if len(others) != 1:
        raise Malformed("a note has one target")
    return Note(id, label, others[0], text, number, trailing)


_PARSERS: Dict[str, Callable[[str, str, int], Annotation]] = {
    "R": _parse_relation,
    "E": _parse_event,
    "A": _parse_attribute,
    "M": _parse_attribute,
    "*": _parse_equivalence,
    "N": _parse_normalization,
    "#": _parse_note,
}


def _split_trailing(rest: str) -> Tuple[str, str]:
    """The data column, and what follows it: spaces, tabs, further columns, a carriage return."""
    data = rest.partition("\t")[0].rstrip(" \r")
    return data, rest[len(data) :]


def _split_text(rest: str) -> Tuple[str, Optional[str], str]:
    """The data column, the text column (None if there is none) and a trailing carriage return."""
    trailing = "\r" if rest.endswith("\r") else ""
    data, tab, text = rest[: len(rest) - len(trailing)].partition("\t")
    return data, text if tab else None, trailing


def _fields(data: str, most: int = 0) -> List[str]:
    """The space-separated fields of a data column, at most `most` of them (0: any number), at least one."""
    return re.split(" +", data.strip(" "), maxsplit=max(0, most - 1))


def _check_label(label: str) -> None:
    if not label:
        raise Malformed("empty label")
    if any(sign.isspace() for sign in label):
        raise Malformed(LABEL_WITH_SPACE)


def _parse_pair(argument: str, name: str) -> Tuple[str, str]:
    """(name, id) of `Name:ID`. The last colon parts them: labels may hold colons, ids never do."""
    role, _, target = argument.rpartition(":")
    if not role or not target:
        raise Malformed(f"each argument of the {name} is NAME:ID")
    return role, target
