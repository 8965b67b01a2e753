"""Hypothesis strategies for notes with every kind of annotation line, as hostile as the format allows."""

from __future__ import annotations

from typing import NamedTuple, Optional

from hypothesis import strategies as st

# Everything that some tool somewhere takes for a line end, a space or one character where it is not.
AWKWARD = ["\r\n", "\r", "\n", "\t", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\xa0", "\u2009", "\ufeff", "😷", "𝔊"]
PLAIN = ["dolor ", "T2N1M0", " 8mg", "é", "e\u0301", "肿瘤", "CA-15", "  ", "; ", ":", "¿", "x"]
LABELS = ["Disease_disorder", "MORFOLOGIA-NEOPLASIA", "疾病", "Lab:value", "X"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=8)


class Files(NamedTuple):
    """A note and its .ann (None: there is no such file), and the number of annotation lines."""

    text: str
    ann: Optional[str]
    n_lines: int


@st.composite
def notes(draw) -> str:
    parts = st.one_of(st.sampled_from(AWKWARD), st.sampled_from(PLAIN), TEXTS)
    bom = draw(st.sampled_from(["", "\ufeff"]))
    return bom + "".join(draw(st.lists(parts, max_size=12)))


@st.composite
def brat_files(draw) -> Files:
    text = draw(notes())
    if draw(st.integers(0, 9)) == 0:
        return Files(text, None, 0)
    lines = draw(_lines(text))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    final = draw(st.booleans()) or not lines
    bom = draw(st.sampled_from(["", "\ufeff"]))
    ann = bom + end.join(lines) + (end if final and lines else "")
    return Files(text, ann, len(lines))


@st.composite
def _lines(draw, text: str) -> list:
    labels = st.sampled_from(LABELS)
    numbers = iter(draw(st.permutations(range(1, 60))))
    mentions, events, relations, others = [], [], [], []

    def add(ids: list, kind: str, rest: str) -> str:
        ids.append(f"{kind}{next(numbers)}")
        return f"{ids[-1]}\t{rest}"

    lines = []
    for _ in range(draw(st.integers(0, 5)) if text else 0):
        fragments = draw(_fragments(len(text)))
        offsets = ";".join(f"{start} {end}" for start, end in fragments)
        column = draw(st.sampled_from(_columns(text, fragments)))
        lines.append(add(mentions, "T", f"{draw(labels)} {offsets}\t{column}"))
    if mentions:
        for _ in range(draw(st.integers(0, 3))):
            arguments = draw(st.lists(st.sampled_from(mentions + events), max_size=3))
            roles = "".join(f" Role{i or ''}:{target}" for i, target in enumerate(arguments))
            trigger = draw(st.sampled_from(mentions))
            space = draw(st.sampled_from(["", " "]))
            lines.append(add(events, "E", f"{draw(labels)}:{trigger}{roles}{space}"))
        ends = st.sampled_from(mentions + events)
        for _ in range(draw(st.integers(0, 3))):
            first, second = draw(st.sampled_from([("Arg1", "Arg2"), ("Arg2", "Arg1"), ("Cause", "Effect")]))
            tab = draw(st.sampled_from(["\t", ""]))
            lines.append(add(relations, "R", f"{draw(labels)} {first}:{draw(ends)} {second}:{draw(ends)}{tab}"))
        for _ in range(draw(st.integers(0, 3))):
            members = draw(st.lists(ends, min_size=2, max_size=4, unique=True)) if len(mentions) > 1 else []
            if members:
                lines.append(f"*\tEquiv {' '.join(members)}")
        targets = st.sampled_from(mentions + events + relations)
        for _ in range(draw(st.integers(0, 2))):
            value = draw(st.sampled_from(["", " NEG", " very likely"]))
            lines.append(add(others, draw(st.sampled_from("AM")), f"Polarity {draw(targets)}{value}"))
        for _ in range(draw(st.integers(0, 2))):
            column = draw(st.one_of(st.just(""), TEXTS.map("\t{}".format)))
            lines.append(add(others, "N", f"Reference {draw(targets)} CIE-O:8000/{draw(st.integers(0, 9))}{column}"))
        for _ in range(draw(st.integers(0, 3))):
            target = draw(st.sampled_from(mentions + events + relations + others))
            column = draw(st.one_of(st.just(""), TEXTS.map("\t{}".format)))
            lines.append(add(others, "#", f"AnnotatorNotes {target}{column}"))
    return draw(st.permutations(lines))


@st.composite
def _fragments(draw, length: int) -> list:
    """One to three fragments in any order; they may touch, overlap and repeat."""
    fragments = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        start = draw(st.integers(0, length - 1))
        fragments.append((start, draw(st.integers(start + 1, length))))
    return fragments


def _columns(text: str, fragments: list) -> list:
    """The ways in which tools put a mention with line breaks into its column."""
    plain = " ".join(text[start:end] for start, end in fragments)
    return [
        plain.replace("\r", " ").replace("\n", " "),
        plain.replace("\n", " "),
        plain.replace("\r\n", " ").replace("\r", " ").replace("\n", " "),
    ]
