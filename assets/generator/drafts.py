"""A note under way: its text, its mentions and what is said of them; how edits move offsets; its .ann lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import FrozenSet, List, Sequence, Tuple

Fragment = Tuple[int, int]
Edit = Tuple[int, int, str]  # start and end of the characters to replace, and what comes there

_LINE_BREAK = re.compile(r"[ \t]*\r?\n[ \t]*")


@dataclass
class Marked:
    """A mention: its fragments in the order of the text, those that touch merged."""

    label: str
    fragments: List[Fragment] = field(default_factory=list)

    def add(self, start: int, end: int) -> None:
        if self.fragments and self.fragments[-1][1] == start:
            self.fragments[-1] = (self.fragments[-1][0], end)
        else:
            self.fragments.append((start, end))


@dataclass
class Said:
    """A relation, attribute, equivalence or note: its name, the mentions it is about, and the value, if any."""

    kind: str
    name: str
    mentions: List[Marked]
    value: str = ""


@dataclass
class Draft:
    """templates: (slot, number) of every alternative that went into the note."""

    text: str
    mentions: List[Marked]
    said: List[Said]
    templates: FrozenSet[Tuple[str, int]] = frozenset()

    def edit(self, edits: Sequence[Edit]) -> None:
        """Apply edits (none overlapping another) to the text, and move all mentions along."""
        edits = sorted(edits)
        pieces, last = [], 0
        for start, end, replacement in edits:
            pieces += [self.text[last:start], replacement]
            last = end
        self.text = "".join([*pieces, self.text[last:]])
        for mention in self.mentions:
            mention.fragments = [(_moved(a, edits, False), _moved(b, edits, True)) for a, b in mention.fragments]

    def append(self, other: Draft) -> None:
        """Put another note behind this one, which takes over its mentions."""
        offset = len(self.text)
        self.text += other.text
        for mention in other.mentions:
            mention.fragments = [(start + offset, end + offset) for start, end in mention.fragments]
        self.mentions += other.mentions
        self.said += other.said
        self.templates |= other.templates

    def standoff(self, events: Sequence[str] = ()) -> str:
        """The .ann file. A mention with a label of `events` is the trigger of an event, which stands for it."""
        lines: List[str] = []
        ids = {}
        for number, mention in enumerate(sorted(self.mentions, key=lambda m: (m.fragments, m.label)), start=1):
            pieces = [piece for fragment in mention.fragments for piece in self._without_line_breaks(*fragment)]
            offsets = ";".join(f"{start} {end}" for start, end in pieces)
            column = " ".join(self.text[start:end] for start, end in pieces)
            lines.append(f"T{number}\t{mention.label} {offsets}\t{column}")
            ids[id(mention)] = f"T{number}"
            if mention.label in events:
                ids[id(mention)] = f"E{number}"
                lines.append(f"E{number}\t{mention.label}:T{number} ")
        counts = {"R": 0, "A": 0, "#": 0}
        for said in self.said:
            targets = [ids[id(mention)] for mention in said.mentions]
            if said.kind == "*":
                lines.append(f"*\t{said.name} {' '.join(targets)}")
                continue
            counts[said.kind] += 1
            start = f"{said.kind}{counts[said.kind]}\t{said.name} "
            if said.kind == "R":
                lines.append(f"{start}Arg1:{targets[0]} Arg2:{targets[1]}\t")
            elif said.kind == "A":
                lines.append(f"{start}{targets[0]}{' ' if said.value else ''}{said.value}")
            else:
                lines.append(f"{start}{targets[0]}\t{said.value}")
        return "".join(f"{line}\n" for line in lines)

    def _without_line_breaks(self, start: int, end: int) -> List[Fragment]:
        """The fragment as brat writes it: parted at line breaks."""
        pieces, last = [], start
        for gap in _LINE_BREAK.finditer(self.text, start, end):
            pieces.append((last, gap.start()))
            last = gap.end()
        return [*pieces, (last, end)]


def _moved(offset: int, edits: Sequence[Edit], is_end: bool) -> int:
    """Where an offset comes to lie. What is inserted exactly there stays outside the mention."""
    return offset + sum(
        len(replacement) - (end - start)
        for start, end, replacement in edits
        if end <= offset and not (is_end and start == end == offset)
    )
