"""Every way in which a line can be malformed that we know of, with what is said about it."""

from __future__ import annotations

from typing import Dict, List, NamedTuple

# The words of this note must never show up in an error or an audit.
TEXT = "Secreto: carcinoma ductal.\nDolor 8mg.\n"
SECRETS = ("Secreto", "secreto", "carcinoma", "ductal", "Dolor", "8mg")

_MENTIONS = ["T1\tX 9 18\tcarcinoma", "T2\tY 27 32\tDolor"]


class Malformed(NamedTuple):
    """lines: the .ann. line: number of the first malformed one. says: part of the message. dropped: when lenient."""

    lines: List[str]
    line: int
    says: str
    dropped: int = 1

    @property
    def ann(self) -> str:
        return "\n".join(self.lines) + "\n"


def _line(line: str, says: str, dropped: int = 1) -> Malformed:
    return Malformed([*_MENTIONS, line], 3, says, dropped)


MALFORMED: Dict[str, Malformed] = {
    "unknown kind": _line("X1\tsecreto 0 7\tSecreto", "unknown kind of line"),
    "rest of a broken line": _line("carcinoma ductal", "unknown kind of line"),
    "lower-case kind": _line("t3\tX 0 7\tSecreto", "unknown kind of line"),
    "indented line": _line(" T3\tX 0 7\tSecreto", "unknown kind of line"),
    "id without number": _line("T\tX 0 7\tSecreto", "bad id"),
    "id with letters": _line("T3a\tX 0 7\tSecreto", "bad id"),
    "id with a sign": _line("R-1\tsecreto Arg1:T1 Arg2:T2\t", "bad id"),
    "id of a digit that is not ASCII": _line("T٣\tX 0 7\tSecreto", "bad id"),
    "equivalence with number": _line("*1\tEquiv T1 T2", "bad id"),
    "no tab after the id": _line("T3 X 0 7 Secreto", "missing tab after the id"),
    "id alone": _line("R1", "missing tab after the id"),
    "no tab before the text": _line("T3\tX 0 7 Secreto", "missing tab between the offsets and the text"),
    "no text column": _line("T3\tX 0 7", "missing tab between the offsets and the text"),
    "duplicate mention id": _line("T1\tX 0 7\tSecreto", "duplicate id T1"),
    "duplicate note id": Malformed(["#1\tN T1\ta", "#1\tN T1\tb", *_MENTIONS], 2, "duplicate id #1"),
    "empty label": _line("T3\t 0 7\tSecreto", "empty label"),
    "no label at all": _line("T3\t\tSecreto", "empty label"),
    "white space in the label": _line("T3\tX\xa0Y 0 7\tSecreto", "white space in the label"),
    "space in the label of a mention": _line("T3\tX Y 0 7\tSecreto", "white space in the label"),
    "space in the label of a relation": _line("R1\tHas it Arg1:T1 Arg2:T2", "white space in the label"),
    "space in the label of an event": _line("E1\tHas it:T1", "TYPE in one word"),
    "space in the label of an attribute": _line("A1\tNot so T1", "white space in the label"),
    "no offsets": _line("T3\tX\tSecreto", "needs a start and an end offset"),
    "one offset": _line("T3\tX 7\tSecreto", "needs a start and an end offset"),
    "three offsets": _line("T3\tX 0 7 9\tSecreto", "needs a start and an end offset"),
    "empty fragment": _line("T3\tX 0 7;\tSecreto", "needs a start and an end offset"),
    "offset is a word": _line("T3\tX zero 7\tSecreto", "not a whole number"),
    "offset with a point": _line("T3\tX 0 7.0\tSecreto", "not a whole number"),
    "offset of digits that are not ASCII": _line("T3\tX 0 ７\tSecreto", "not a whole number"),
    "negative offset": _line("T3\tX -2 7\tSecreto", "negative offset -2"),
    "end before start": _line("T3\tX 7 0\tSecreto", "end offset 0 lies before start offset 7"),
    "end before start in a fragment": _line("T3\tX 0 7;18 9\tSecreto", "end offset 9 lies before start offset 18"),
    "empty mention": _line("T3\tX 7 7\t", "empty mention"),
    "offset beyond the text": _line("T3\tX 0 40\tSecreto", "offset 40 lies beyond the text, which has 38 characters"),
    "text in other letters": _line("T3\tX 0 7\tsecreto", "mention text differs"),
    "text of another place": _line("T3\tX 0 7\tductal", "mention text differs"),
    "no text in the column": _line("T3\tX 0 7\t", "mention text differs"),
    "text of another place beside a good one": Malformed(
        ["T1\tX 9 18\tcarcinoma", "T2\tY 27 30\tDol", "T3\tX 1 8\tSecreto"], 3, "mention text differs"
    ),
    "offset of a thousand digits": _line("T3\tX 0 " + "9" * 1000 + "\tSecreto", "not a whole number"),
    "relation with one argument": _line("R1\tCause Arg1:T1\t", "has 1 arguments, not two"),
    "relation with three arguments": _line("R1\tCause Arg1:T1 Arg2:T2 Arg3:T1\t", "has 3 arguments, not two"),
    "relation without label": _line("R1\t Arg1:T1 Arg2:T2", "relation"),
    "relation argument without name": _line("R1\tCause T1 Arg2:T2", "each argument of the relation is NAME:ID"),
    "relation argument without id": _line("R1\tCause Arg1: Arg2:T2", "each argument of the relation is NAME:ID"),
    "relation to an unknown mention": _line("R1\tCause Arg1:T1 Arg2:T9", "R1 points to T9, which no line defines"),
    "relation to an unknown event": _line("R1\tCause Arg1:E7 Arg2:T2", "R1 points to E7, which no line defines"),
    "relation to text": _line("R1\tCause Arg1:T1 Arg2:Dolor", "points to something that is not an id"),
    "relation to a relation": Malformed(
        [*_MENTIONS, "R1\tCause Arg1:T1 Arg2:T2", "R2\tCause Arg1:T1 Arg2:R1"], 4, "cannot be of kind relation"
    ),
    "event without trigger": _line("E1\tX", "event without a trigger"),
    "event without trigger but with role": _line("E1\tX Role:T1", "event without a trigger"),
    "event with an empty trigger": _line("E1\tX:", "each argument of the event is NAME:ID"),
    "event argument without role": _line("E1\tX:T1 T2", "each argument of the event is NAME:ID"),
    "trigger is an event": Malformed([*_MENTIONS, "E1\tX:T1", "E2\tX:E1"], 4, "its trigger cannot be of kind event"),
    "unknown trigger": _line("E1\tX:T9", "E1 points to T9, which no line defines"),
    "unknown event argument": _line("E1\tX:T1 Role:E9", "E1 points to E9, which no line defines"),
    "what needs a malformed line": Malformed(
        [*_MENTIONS, "E1\tX:T9", "E2\tX:T1 Role:E1", "R1\tCause Arg1:E2 Arg2:T2", "A1\tNeg R1", "#1\tN A1\tDolor"],
        3,
        "E1 points to T9",
        5,
    ),
    "attribute without target": _line("A1\tNegation", "attribute without a target"),
    "attribute of an unknown mention": _line("A1\tNegation T9", "A1 points to T9, which no line defines"),
    "attribute of an attribute": Malformed([*_MENTIONS, "A1\tNeg T1", "M2\tNeg A1"], 4, "cannot be of kind attribute"),
    "equivalence of one": _line("*\tEquiv T1", "two members or more"),
    "equivalence of one with itself": _line("*\tEquiv T1 T1", "two members or more"),
    "equivalence with an unknown member": _line("*\tEquiv T1 T9", "points to T9, which no line defines"),
    "normalization without target": _line("N1\tReference", "normalization without a target"),
    "normalization without reference": _line("N1\tReference T1\tcarcinoma", "one reference RESOURCE:ID"),
    "normalization without resource": _line("N1\tReference T1 :8010\tcarcinoma", "is RESOURCE:ID"),
    "normalization without entry": _line("N1\tReference T1 CIE-O:\tcarcinoma", "is RESOURCE:ID"),
    "normalization of an unknown mention": _line("N1\tReference T9 CIE-O:8010\tx", "N1 points to T9"),
    "note without target": _line("#1\tAnnotatorNotes\tSecreto", "a note has one target"),
    "note on an unknown mention": _line("#1\tAnnotatorNotes T9\tSecreto", "#1 points to T9, which no line defines"),
    "note on two": _line("#1\tAnnotatorNotes T1 T2\tSecreto", "a note has one target"),
    "comment": _line("# carcinoma ductal", "missing tab after the id"),
}
