"""The ways in which tools count offsets, and how to tell from the mention texts which one a note was counted in.

brat counts the characters of the file, and so does this package. Others read CRLF as one line end, count UTF-16 units
(JavaScript, Java, C#) or UTF-8 bytes, or leave out the byte order mark; and where text was put before a note or taken
away, all offsets are off by the same number. Offsets counted in another way than they are read name other words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from spacy_clinical_ner.brat.document import Fragment, Malformed, column_texts
from spacy_clinical_ner.errors import InputError

CHARACTERS, AUTO = "characters", "auto"
_SAID = {
    CHARACTERS: "the characters of the file",
    "crlf-as-one": "each CRLF as one character",
    "utf-16": "UTF-16 units",
    "bytes": "UTF-8 bytes",
    "no-bom": "no byte order mark",
}
OFFSETS = (AUTO, *_SAID)
# Several at once, as of a tool that counts UTF-16 units and reads CRLF as one line end: tried where none fits alone.
_COMBINED = (
    "crlf-as-one+utf-16",
    "crlf-as-one+bytes",
    "crlf-as-one+no-bom",
    "utf-16+no-bom",
    "bytes+no-bom",
    "crlf-as-one+utf-16+no-bom",
    "crlf-as-one+bytes+no-bom",
)
TEXT_DIFFERS = "mention text differs from the document at its offsets"
_PAIR = r"-?[0-9]{1,18} +-?[0-9]{1,18}"
_MENTION = re.compile(rf"T[0-9]+\t\S+ +({_PAIR}(?: *; *{_PAIR})*) *\t(.*)", re.DOTALL)


class CountedMention(NamedTuple):
    """Fragments as the .ann has them, in whatever way they were counted, and the text column behind them."""

    fragments: Tuple[Fragment, ...]
    column: str


@dataclass(frozen=True)
class Counting:
    """A way of counting the characters of one text.

    name: one of OFFSETS but "auto", several of them joined by "+", or "shift". positions: (characters + 1,) the count
    before each character, never falling; None where it is the character's own number. shift: characters to add to an
    offset.
    """

    name: str
    positions: Optional[NDArray[np.int64]] = None
    shift: int = 0

    @property
    def option(self) -> str:
        """What to pass as `offsets` to have this way read."""
        return self.name if self.name in OFFSETS else AUTO

    @property
    def said(self) -> str:
        """What the offsets do, as the end of a sentence that begins with "the offsets"."""
        if self.name == "shift":
            return f"are all off by {-self.shift}"
        return "count " + ", ".join(_SAID[way] for way in self.name.split("+"))

    @property
    def repair(self) -> str:
        """The reason by which an audit counts lines that were read so. One for all shifts."""
        return f"offsets counted anew: they {'were all off by one number' if self.shift else self.said}"

    def fragments(self, counted: Sequence[Fragment], length: int) -> Optional[Tuple[Fragment, ...]]:
        """The fragments in characters; None if one lies outside the text (of `length` characters) or is none in it."""
        found = tuple((self._character(start), self._character(end)) for start, end in counted)
        return found if all(0 <= start < end <= length for start, end in found) else None

    def _character(self, offset: int) -> int:
        """The character before which an offset stands; -1 inside a character or outside the text."""
        if self.positions is None:
            return offset + self.shift
        # What counts nothing (a BOM, the second half of CRLF) is passed over: the last of equal positions.
        index = int(np.searchsorted(self.positions, offset, side="right")) - 1
        return index if index >= 0 and self.positions[index] == offset else -1


class OffsetsError(InputError):
    """The offsets of a whole note are counted in another way than they are read."""


class Reading:
    """How the offsets of one note are read: by one way of counting, told or found out."""

    def __init__(self, text: str, rows: Sequence[str], offsets: str, path: Union[str, Path], compare: bool) -> None:
        self.text = text
        self.rows = rows
        self.path = path
        self.compare = compare
        self.way = Counting(CHARACTERS)
        if offsets == AUTO:
            ways, _ = fitting(text, self._mentions)
            # If two read different characters it is open which are meant, and neither is taken.
            if len({tuple(way.fragments(m.fragments, len(text)) for m in self._mentions) for way in ways}) == 1:
                self.way = ways[0]
        elif offsets != CHARACTERS:
            self.way = counting(offsets, text)

    @cached_property
    def repair(self) -> str:
        """Why each mention counts as repaired, if counting anew moves any of them; else ""."""
        if self.way.name == CHARACTERS:
            return ""
        moved = (self.way.fragments(each.fragments, len(self.text)) != each.fragments for each in self._mentions)
        return self.way.repair if any(moved) else ""

    def place(self, counted: Tuple[Fragment, ...], column: str, number: int) -> Tuple[Fragment, ...]:
        """The fragments in characters. Raises Malformed, or OffsetsError if others than these are counted otherwise."""
        fragments = self.way.fragments(counted, len(self.text))
        said = None if fragments is None else mention_part(column, self.text, fragments)
        if fragments is not None and (not self.compare or (said is not None and _dense(said) == _dense(column))):
            return fragments
        for way in self._others:
            reason = f"the offsets of this note {way.said}: read them with --offsets {way.option}"
            raise OffsetsError(self.path, number, reason + ("" if way.option == AUTO else ", or auto if notes differ"))
        if fragments is not None:
            if said is not None:
                return fragments
            raise Malformed(TEXT_DIFFERS)
        last = max(end for _, end in counted)
        detail = f"offset {last} lies beyond the text, which has {len(self.text)} characters"
        if self.way.name == CHARACTERS:
            raise Malformed("offset beyond the text", detail)
        raise Malformed(f"offsets that {self.way.said} lie beyond the text or inside a character")

    @cached_property
    def _others(self) -> List[Counting]:
        """Ways that fit the note better than its own."""
        ways, whole = fitting(self.text, self._mentions)
        return ways if whole > _whole_columns(self.way, self.text, self._mentions) else []

    @cached_property
    def _mentions(self) -> List[CountedMention]:
        """What the T lines say, as far as it can be read at all."""
        found = []
        for row in self.rows:
            match = _MENTION.match(row)
            if match:
                pairs = (part.split() for part in match[1].split(";"))
                found.append(CountedMention(tuple((int(start), int(end)) for start, end in pairs), match[2]))
        return found


def counting(name: str, text: str) -> Counting:
    """The way of counting called `name` (one of OFFSETS but "auto", or several joined by "+") for this text."""
    if name == CHARACTERS:
        return Counting(CHARACTERS)
    ways = set(name.split("+"))
    if not ways < set(_SAID):
        raise ValueError(f"offsets is one of {', '.join(OFFSETS)}, not {name!r}")
    signs = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    widths = np.ones(len(signs), dtype="int64")
    if "utf-16" in ways:
        widths += signs > 0xFFFF
    if "bytes" in ways:
        widths += (signs > 0x7F).astype("int64") + (signs > 0x7FF) + (signs > 0xFFFF)
    if "crlf-as-one" in ways:
        widths[1:][(signs[:-1] == 0x0D) & (signs[1:] == 0x0A)] = 0
    if "no-bom" in ways:
        widths[:1][signs[:1] == 0xFEFF] = 0
    return Counting(name, np.concatenate(([0], np.cumsum(widths))))


def fitting(text: str, mentions: Sequence[CountedMention]) -> Tuple[List[Counting], int]:
    """The ways of counting by which the texts of all mentions stand at their offsets, in the order of OFFSETS.

    Among them those alone that account for the most text columns whole, and not just up to a tab: the second value is
    their number, -1 if no way fits. Two or three ways at once come where none fits alone, a constant shift last: only
    where nothing else fits, from two mentions on, and if no other shift fits as well.
    """
    best: List[Counting] = []
    most = -1
    if not mentions:
        return best, most
    names = [(counting(name, text) for name in some) for some in (_SAID, _COMBINED)]
    for ways in (*names, _shifts(text, mentions)):
        for way in ways:
            whole = _whole_columns(way, text, mentions)
            if whole > most:
                best, most = [], whole
            if whole == most >= 0:
                best.append(way)
        if most == len(mentions):
            break
    return best, most


def mention_part(column: str, text: str, fragments: Tuple[Fragment, ...]) -> Optional[str]:
    """The part of a text column that says what stands at the fragments, white space aside; None if none does.

    Behind a tab there may be further columns. The tabs of the mention itself part none.
    """
    mention = "".join(text[start:end] for start, end in fragments)
    first = "\t".join(column.split("\t")[: mention.count("\t") + 1])
    if _dense(first) == _dense(mention) and (_dense(first) or not _dense(column)):
        return first
    return column if _dense(column) == _dense(mention) else None


def _whole_columns(way: Counting, text: str, mentions: Sequence[CountedMention]) -> int:
    """How many text columns are those of their mentions as a whole; -1 if one is not even up to a tab."""
    whole = 0
    for mention in mentions:
        fragments = way.fragments(mention.fragments, len(text))
        part = None if fragments is None else mention_part(mention.column, text, fragments)
        if part is None:
            return -1
        whole += _dense(part) == _dense(mention.column)
    return whole


def _shifts(text: str, mentions: Sequence[CountedMention]) -> Iterator[Counting]:
    """The one constant shift that fits all mentions best, if there is just one."""
    if len({mention.fragments for mention in mentions}) < 2:
        return
    # The longest mention has the fewest other places where it could stand.
    anchor = max(mentions, key=lambda mention: (len(mention.fragments) == 1, len(mention.column)))
    start, end = anchor.fragments[0]
    found: List[Counting] = []
    most = 0
    flat = next(column_texts(text, ((0, len(text)),)))
    for place in _places(flat, anchor.column[: max(end - start, 0)]):
        way = Counting("shift", shift=place - start)
        whole = _whole_columns(way, text, mentions) if way.shift else -1
        if whole >= most:
            found = [way] if whole > most else [*found, way]
            most = whole
            if len(found) > 1 and most == len(mentions):
                break
    yield from found if len(found) == 1 else ()


def _places(text: str, word: str) -> Iterator[int]:
    place = text.find(word) if word else -1
    while place >= 0:
        yield place
        place = text.find(word, place + 1)


def _dense(text: str) -> str:
    return "".join(text.split())
