"""From the lines of an .ann file to objects, each line ending as kept, repaired or dropped."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Set, Tuple, Union

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
    Normalization,
    Note,
    RelationLine,
    column_texts,
    merge_fragments,
)
from spacy_clinical_ner.errors import InputError

TEXT_REWRITTEN = "mention text differed from the document: rewritten from the offsets"
COLUMNS_SET_APART = "columns after the mention text set apart"
SPACING = "spacing or number format normalised"

_ID = re.compile(r"[TREAMN#][0-9]{1,18}|\*")
_OFFSETS = re.compile(r"-?[0-9]{1,18}")
_NAMES = {
    "T": "mention",
    "R": "relation",
    "E": "event",
    "A": "attribute",
    "M": "attribute",
    "*": "equivalence",
    "N": "normalization",
    "#": "note",
}
# What the ids in a line may stand for. A note may be about anything that has an id of its own.
_MAY_POINT_TO = {"R": "TE", "E": "TE", "A": "TER", "M": "TER", "*": "TE", "N": "TER", "#": "TREAMN#"}


class _Malformed(ValueError):
    """A line that cannot be kept: the reason, by which the audit counts, and the same said of this very line.

    Neither quotes the line, which may hold note text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


def parse_standoff(
    name: str,
    text: str,
    ann: str,
    *,
    path: Union[str, Path] = "",
    on_error: str = "raise",
    text_mismatch: str = "repair",
) -> BratDocument:
    """Parse `ann`, the content of an .ann file, against the text of its note.

    path: the .ann file, for error messages.
    on_error: "raise", or "drop" to drop a malformed line and all lines that need it.
    text_mismatch: "repair", or "error" to call a mention text that differs from the document malformed.
    Raises InputError with the line number for a malformed line, unless `on_error` is "drop".
    """
    if on_error not in ("raise", "drop"):
        raise ValueError(f"on_error is 'raise' or 'drop', not {on_error!r}")
    if text_mismatch not in ("repair", "error"):
        raise ValueError(f"text_mismatch is 'repair' or 'error', not {text_mismatch!r}")
    bom = ann.startswith("\ufeff")
    # Only "\n" ends a line: mention texts may hold U+2028, U+0085 and the like, where str.splitlines cuts.
    rows = ann[bom:].split("\n")
    states: Dict[int, LineState] = {}
    lines: List[Annotation] = []
    ids = set()

    def drop(number: int, kind: str, label: str, error: _Malformed) -> None:
        if on_error == "raise":
            raise InputError(path, number, str(error)) from None
        states[number] = LineState(number, kind, label, DROPPED, error.reason)

    for number, row in enumerate(rows, start=1):
        if not row.strip(" \t\r"):
            continue
        kind = row[0] if row[0] in _NAMES else "?"
        try:
            annotation, repair = _parse_line(row, number, text)
            if repair == TEXT_REWRITTEN and text_mismatch == "error":
                raise _Malformed("mention text differs from the document at its offsets")
            if annotation.id in ids:
                raise _Malformed("duplicate id", f"duplicate id {annotation.id}")
        except _Malformed as error:
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
        audit=Audit([states[number] for number in sorted(states)]),
        ann_bom=bom,
        final_newline=not rows[-1],
    )


def references(annotation: Annotation) -> Tuple[str, ...]:
    """The ids of other lines that a line needs, in the order in which it names them."""
    if isinstance(annotation, RelationLine):
        return tuple(target for _, target in annotation.arguments)
    if isinstance(annotation, Event):
        return (annotation.trigger, *(target for _, target in annotation.arguments))
    if isinstance(annotation, Equivalence):
        return annotation.members
    if isinstance(annotation, Entity):
        return ()
    return (annotation.target,)


def dangling(lines: Sequence[Annotation]) -> List[Tuple[Annotation, _Malformed]]:
    """Lines that point to nothing, and in turn the lines that point to those, in file order, each with the reason.

    Linear in the number of references. Lines are told apart by their line numbers.
    """
    known = {line.id for line in lines}
    needed_by: Dict[str, List[Annotation]] = defaultdict(list)
    queue = deque(lines)
    for line in lines:
        for target in references(line):
            needed_by[target].append(line)
    fallen: Dict[int, Tuple[Annotation, _Malformed]] = {}
    while queue:
        line = queue.popleft()
        error = _broken_reference(line, known)
        if error and line.line not in fallen:
            fallen[line.line] = (line, error)
            if line.id != "*":
                known.discard(line.id)
                queue.extend(needed_by[line.id])
    return sorted(fallen.values(), key=lambda pair: pair[0].line)


def _broken_reference(annotation: Annotation, known: Set[str]) -> Optional[_Malformed]:
    kind = annotation.id[0]
    name = _NAMES[kind]
    for position, target in enumerate(references(annotation)):
        is_trigger = kind == "E" and position == 0
        if not _ID.fullmatch(target) or target == "*":
            return _Malformed(f"the {name} points to something that is not an id")
        if target[0] not in ("T" if is_trigger else _MAY_POINT_TO[kind]):
            role = "trigger" if is_trigger else "target"
            wrong = _NAMES[target[0]]
            return _Malformed(
                f"the {role} of the {name} cannot be of kind {wrong}",
                f"{name} {annotation.id} points to {target}: its {role} cannot be of kind {wrong}",
            )
        if target not in known:
            return _Malformed(
                f"the {name} points to an id that no line defines",
                f"{name} {annotation.id} points to {target}, which no line defines",
            )
    return None


def _parse_line(row: str, number: int, text: str) -> Tuple[Annotation, str]:
    """The annotation in a line, and how it had to be repaired ("" if it did not). Raises _Malformed."""
    if row[0] not in _NAMES:
        raise _Malformed("unknown kind of line: a line begins with T, R, E, A, M, N, * or #")
    head, tab, rest = row.partition("\t")
    name = _NAMES[row[0]]
    if not tab:
        raise _Malformed(f"missing tab after the id of the {name}")
    if not _ID.fullmatch(head):
        expected = "*" if row[0] == "*" else f"{row[0]} and a number"
        raise _Malformed(f"bad id: the id of a {name} is {expected}")
    if row[0] == "T":
        return _parse_entity(head, rest, number, text)
    annotation = _PARSERS[row[0]](head, rest, number)
    return annotation, "" if annotation.render() == row else SPACING


def _parse_entity(id: str, rest: str, number: int, text: str) -> Tuple[Entity, str]:
    data, tab, column = rest.partition("\t")
    if not tab:
        raise _Malformed("missing tab between the offsets and the text of the mention")
    label, _, offsets = data.partition(" ")
    _check_label(label)
    fragments = tuple(_parse_fragment(part, text) for part in offsets.split(";"))
    pieces = merge_fragments(fragments, text)
    repair = "" if data == f"{label} " + ";".join(f"{a} {b}" for a, b in fragments) else SPACING
    for expected in column_texts(text, fragments):
        if not column.startswith(expected):
            continue
        trailing = column[len(expected) :]
        if trailing in ("", "\r"):
            return Entity(id, label, fragments, expected, number, trailing, pieces), repair
        if trailing[0] == "\t":
            return Entity(id, label, fragments, expected, number, trailing, pieces), COLUMNS_SET_APART
    expected = next(column_texts(text, fragments))
    trailing = "\r" if column.endswith("\r") else ""
    return Entity(id, label, fragments, expected, number, trailing, pieces), TEXT_REWRITTEN


def _parse_fragment(part: str, text: str) -> Tuple[int, int]:
    offsets = [offset for offset in part.split(" ") if offset]
    if len(offsets) != 2:
        raise _Malformed("a mention needs a start and an end offset, fragments parted by a semicolon")
    if not all(_OFFSETS.fullmatch(offset) for offset in offsets):
        raise _Malformed("an offset of the mention is not a whole number")
    start, end = int(offsets[0]), int(offsets[1])
    if start < 0:
        raise _Malformed("negative offset", f"negative offset {start}")
    if end < start:
        raise _Malformed("end before start", f"end offset {end} lies before start offset {start}")
    if end == start:
        raise _Malformed("empty mention", f"empty mention: start and end offset are both {start}")
    if end > len(text):
        detail = f"offset {end} lies beyond the text, which has {len(text)} characters"
        raise _Malformed("offset beyond the text", detail)
    return start, end


def _parse_relation(id: str, rest: str, number: int) -> RelationLine:
    data, trailing = _split_trailing(rest)
    label, *arguments = _fields(data)
    _check_label(label)
    if len(arguments) != 2:
        raise _Malformed("a relation has two arguments", f"relation {id} has {len(arguments)} arguments, not two")
    first, second = (_parse_pair(argument, "relation") for argument in arguments)
    return RelationLine(id, label, (first, second), number, trailing)


def _parse_event(id: str, rest: str, number: int) -> Event:
    data, trailing = _split_trailing(rest)
    first, *others = _fields(data)
    if ":" not in first:
        raise _Malformed("event without a trigger: TYPE:ID expected")
    label, trigger = _parse_pair(first, "event")
    arguments = tuple(_parse_pair(argument, "event") for argument in others)
    return Event(id, label, trigger, arguments, number, trailing)


def _parse_attribute(id: str, rest: str, number: int) -> Attribute:
    data, trailing = _split_trailing(rest)
    label, *others = _fields(data, most=3)
    _check_label(label)
    if not others:
        raise _Malformed("attribute without a target")
    return Attribute(id, label, others[0], others[1] if len(others) > 1 else None, number, trailing)


def _parse_equivalence(id: str, rest: str, number: int) -> Equivalence:
    data, trailing = _split_trailing(rest)
    label, *members = _fields(data)
    _check_label(label)
    if len(set(members)) < 2:
        raise _Malformed("an equivalence needs two members or more")
    return Equivalence(label, tuple(members), id, number, trailing)


def _parse_normalization(id: str, rest: str, number: int) -> Normalization:
    data, text, trailing = _split_text(rest)
    label, *others = _fields(data)
    _check_label(label)
    if not others:
        raise _Malformed("normalization without a target")
    if len(others) != 2:
        raise _Malformed("a normalization has one reference RESOURCE:ID")
    resource, _, entry = others[1].partition(":")
    if not resource or not entry:
        raise _Malformed("the reference of a normalization is RESOURCE:ID")
    return Normalization(id, label, others[0], others[1], text, number, trailing)


def _parse_note(id: str, rest: str, number: int) -> Note:
    data, text, trailing = _split_text(rest)
    label, *others = _fields(data)
    _check_label(label)
    if len(others) != 1:
        raise _Malformed("a note has one target")
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
        raise _Malformed("empty label")
    if any(sign.isspace() for sign in label):
        raise _Malformed("white space in the label")


def _parse_pair(argument: str, name: str) -> Tuple[str, str]:
    """(name, id) of `Name:ID`. The last colon parts them: labels may hold colons, ids never do."""
    role, _, target = argument.rpartition(":")
    if not role or not target:
        raise _Malformed(f"each argument of the {name} is NAME:ID")
    return role, target
