"""The annotations of one note as Python objects: one class per kind of line of the BRAT standoff format.

Every object can write its own line (`render`). `line` is its 1-based place in the .ann file (0 for what was
never in one) and `trailing` whatever stood after its last column, given back untouched; neither counts when objects
are compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Dict, Iterator, List, Optional, Tuple, TypeVar, Union

Fragment = Tuple[int, int]

KEPT, REPAIRED, DROPPED = "kept", "repaired", "dropped"


class Malformed(ValueError):
    """A line that cannot be kept: the reason, by which the audit counts, and the same said of this very line.

    Neither quotes the line, which may hold note text.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


@dataclass(frozen=True)
class Entity:
    """A `T` line: a mention.

    fragments: (start, end) character offsets in the order of the file; may be unsorted, adjacent or overlapping.
    text: the mention's text column as it stands in the file: the fragments joined by one space, line breaks turned
        into spaces; it may have other white space than the note.
    pieces: the sorted fragments, merged where they touch, overlap or are parted by nothing but a line break. Filled
        in by the reader, which knows the text; without it only touching and overlapping fragments are merged.
    """

    id: str
    label: str
    fragments: Tuple[Fragment, ...]
    text: str
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)
    pieces: Tuple[Fragment, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.pieces:
            object.__setattr__(self, "pieces", merge_fragments(self.fragments))

    @property
    def start(self) -> int:
        """First character of the outer extent."""
        return self.pieces[0][0]

    @property
    def end(self) -> int:
        """One past the last character of the outer extent."""
        return self.pieces[-1][1]

    @property
    def is_discontinuous(self) -> bool:
        """Whether other text (more than a line break) lies between the fragments."""
        return len(self.pieces) > 1

    def render(self) -> str:
        offsets = ";".join(f"{start} {end}" for start, end in self.fragments)
        return f"{self.id}\t{self.label} {offsets}\t{_one_line(self.text)}{self.trailing}"


@dataclass(frozen=True)
class RelationLine:
    """An `R` line. `arguments` holds two (name, id) pairs as written; the ids are of T or E lines."""

    id: str
    label: str
    arguments: Tuple[Tuple[str, str], Tuple[str, str]]
    line: int = field(default=0, compare=False)
    trailing: str = field(default="\t", compare=False)  # brat ends every relation with a tab

    @property
    def head(self) -> str:
        """Id of the first argument: Arg1 where the names say so, else the one written first."""
        return self._ordered()[0][1]

    @property
    def tail(self) -> str:
        """Id of the second argument."""
        return self._ordered()[1][1]

    def _ordered(self) -> Tuple[Tuple[str, str], Tuple[str, str]]:
        first, second = self.arguments
        return (second, first) if (first[0], second[0]) == ("Arg2", "Arg1") else (first, second)

    def render(self) -> str:
        return f"{self.id}\t{self.label} {_pairs(self.arguments)}{self.trailing}"


@dataclass(frozen=True)
class Event:
    """An `E` line: the id of its trigger (a T line) and (role, id) pairs that name T or E lines."""

    id: str
    label: str
    trigger: str
    arguments: Tuple[Tuple[str, str], ...] = ()
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)

    def render(self) -> str:
        return f"{self.id}\t{_pairs(((self.label, self.trigger), *self.arguments))}{self.trailing}"


@dataclass(frozen=True)
class Attribute:
    """An `A` line (or `M`, its older form) on a mention, event or relation. A binary one has no value."""

    id: str
    label: str
    target: str
    value: Optional[str] = None
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)

    def render(self) -> str:
        value = "" if self.value is None else f" {self.value}"
        return f"{self.id}\t{self.label} {self.target}{value}{self.trailing}"


@dataclass(frozen=True)
class Equivalence:
    """A `*` line: two or more mentions or events that stand for the same. All such lines have the id `*`."""

    label: str
    members: Tuple[str, ...]
    id: str = "*"
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)

    def render(self) -> str:
        return f"{self.id}\t{self.label} {' '.join(self.members)}{self.trailing}"


@dataclass(frozen=True)
class Normalization:
    """An `N` line: `target` is the entry `reference` (RESOURCE:ID) of a terminology; `text` its name there."""

    id: str
    label: str
    target: str
    reference: str
    text: Optional[str] = None
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)

    def render(self) -> str:
        text = "" if self.text is None else f"\t{_one_line(self.text)}"
        return f"{self.id}\t{self.label} {self.target} {self.reference}{text}{self.trailing}"


@dataclass(frozen=True)
class Note:
    """A `#` line: a remark on any other line that has an id."""

    id: str
    label: str
    target: str
    text: Optional[str] = None
    line: int = field(default=0, compare=False)
    trailing: str = field(default="", compare=False)

    def render(self) -> str:
        text = "" if self.text is None else f"\t{_one_line(self.text)}"
        return f"{self.id}\t{self.label} {self.target}{text}{self.trailing}"


Annotation = Union[Entity, RelationLine, Event, Attribute, Equivalence, Normalization, Note]


@dataclass(frozen=True)
class OtherLine:
    """A line that is no annotation, blank or malformed and dropped: it is given back as it stands."""

    text: str
    line: int = field(default=0, compare=False)

    @property
    def id(self) -> str:
        """What stands where annotations have their id."""
        return self.text.partition("\t")[0]

    def render(self) -> str:
        return self.text


Line = TypeVar("Line", bound=Union[Annotation, OtherLine])


@dataclass(frozen=True)
class LineState:
    """What became of one annotation line.

    reason: how it was repaired or why it was dropped, never what it said.
    kind: T, R, E, A, M, *, N, # or ? for a line of no known kind.
    label: empty where the line was too broken to tell a label from note text.
    """

    line: int
    kind: str
    label: str
    state: str
    reason: str = ""


@dataclass
class Audit:
    """The states of all annotation lines of one file, in file order. Blank lines are not annotation lines."""

    states: List[LineState] = field(default_factory=list)
    has_ann: bool = True

    @property
    def read(self) -> int:
        """Number of annotation lines in the file."""
        return len(self.states)

    def counts(self) -> Dict[str, int]:
        """Lines per state: kept, repaired and dropped sum to `read`."""
        counter = Counter(state.state for state in self.states)
        return {state: counter[state] for state in (KEPT, REPAIRED, DROPPED)}


@dataclass(frozen=True)
class BratDocument:
    """One note and its annotations.

    name: path relative to the corpus folder, "/" between folders, without suffix.
    text: the .txt file, decoded and otherwise untouched; all offsets count its characters.
    ann_bom, final_newline: how the .ann file began and ended.
    """

    name: str
    text: str
    entities: List[Entity] = field(default_factory=list)
    relations: List[RelationLine] = field(default_factory=list)
    events: List[Event] = field(default_factory=list)
    attributes: List[Attribute] = field(default_factory=list)
    equivalences: List[Equivalence] = field(default_factory=list)
    normalizations: List[Normalization] = field(default_factory=list)
    notes: List[Note] = field(default_factory=list)
    other_lines: List[OtherLine] = field(default_factory=list)
    audit: Audit = field(default_factory=Audit, compare=False)
    ann_bom: bool = field(default=False, compare=False)
    final_newline: bool = field(default=True, compare=False)

    def annotations(self) -> List[Annotation]:
        """All annotations: those from a file in its order, then the new ones kind by kind."""
        kinds = (
            self.entities,
            self.events,
            self.relations,
            self.equivalences,
            self.attributes,
            self.normalizations,
            self.notes,
        )
        return _in_file_order([line for kind in kinds for line in kind])

    def standoff(self, *, readable: bool = False) -> str:
        """The content of the .ann file. readable: with a blank line in the place of each that is malformed."""
        others = [replace(line, text="") for line in self.other_lines] if readable else self.other_lines
        rows = [line.render() for line in _in_file_order([*self.annotations(), *others])]
        return ("\ufeff" if self.ann_bom else "") + "\n".join(rows) + ("\n" if rows and self.final_newline else "")

    def mentions(self) -> Dict[str, Entity]:
        """Mention per T id, and trigger mention per E id: what the argument of a relation stands for."""
        found = {entity.id: entity for entity in self.entities}
        found.update({event.id: found[event.trigger] for event in self.events})
        return found


def _in_file_order(lines: List[Line]) -> List[Line]:
    return sorted(lines, key=lambda line: (line.line == 0, line.line))


def merge_fragments(fragments: Tuple[Fragment, ...], text: Optional[str] = None) -> Tuple[Fragment, ...]:
    """Sort fragments; merge those that touch, overlap or, given the text, are parted by a line break alone."""
    merged: List[Fragment] = []
    for start, end in sorted(fragments):
        if merged and (start <= merged[-1][1] or _is_line_break(text, merged[-1][1], start)):
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def column_texts(text: str, fragments: Tuple[Fragment, ...]) -> Iterator[str]:
    """The text columns a T line with these fragments may have, brat's own first.

    Line breaks cannot stand in the column. brat makes each of their characters a space; others make CRLF one
    space, and a lone carriage return may stay.
    """
    plain = " ".join(text[start:end] for start, end in fragments)
    seen = set()
    for column in (
        plain.replace("\r", " ").replace("\n", " "),
        plain.replace("\n", " "),
        plain.replace("\r\n", " ").replace("\r", " ").replace("\n", " "),
    ):
        if column not in seen:
            seen.add(column)
            yield column


def _is_line_break(text: Optional[str], start: int, end: int) -> bool:
    gap = "" if text is None else text[start:end]
    return gap.isspace() and ("\n" in gap or "\r" in gap)


def _pairs(pairs: Tuple[Tuple[str, str], ...]) -> str:
    return " ".join(f"{name}:{target}" for name, target in pairs)


def _one_line(text: str) -> str:
    return text.replace("\n", " ")
