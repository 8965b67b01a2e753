"""Grammars of notes: what their files say, as Python objects.

A grammar file holds slots and, below each, its alternatives, one per line (an indented line continues the one above):

    @slot             a slot; `@slot.feature` replaces it in notes that have that feature
    text              an alternative, in every split
    ~ text            a held-out alternative: never in train

Inside an alternative:

    {slot}            an expansion of that slot
    {$slot}           the same expansion every time in one note
    {slot:k}          an expansion whose mentions are known here as `k.key`; with `_` for k, as `key`
    {slot*2-5}        two to five different expansions, joined by a space; {slot*2-5/\\n} by something else
    {a|b|}            one of these, in place
    {#3-12}           a number; {#1.5-9.5} with one decimal, {#01-12} padded with zeros
    {!feature}        gives the note a feature
    [Label|text]      a mention; [Label:k|text] one with a key, [+k|text] a further fragment of it; mentions nest
    \\n \\t \\[ \\{ \\|    the character itself
    ## NAME a b; ...  what is said of the mentions with these keys: a relation, attribute, equivalence or NOTE

A key that begins with an exclamation mark is known in the entire note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Set, Tuple, Union


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Number:
    low: float
    high: float
    decimals: int
    width: int


@dataclass(frozen=True)
class Feature:
    name: str


@dataclass(frozen=True)
class Slot:
    name: str
    same: bool = False
    key: str = ""
    least: int = 0  # 0: once, not a repetition
    most: int = 0
    joiner: str = " "


@dataclass(frozen=True)
class Choice:
    branches: Tuple[Tuple[Node, ...], ...]


@dataclass(frozen=True)
class Mention:
    """label is empty for a further fragment of the mention `key`."""

    label: str
    key: str
    nodes: Tuple[Node, ...]


Node = Union[Text, Number, Feature, Slot, Choice, Mention]


@dataclass(frozen=True)
class Statement:
    """What a grammar says of mentions: `name` of a relation, attribute or equivalence, or NOTE."""

    name: str
    arguments: Tuple[str, ...]


@dataclass(frozen=True)
class Alternative:
    slot: str
    number: int
    held_out: bool
    nodes: Tuple[Node, ...]
    statements: Tuple[Statement, ...]


@dataclass
class Grammar:
    """Slots with their alternatives, and the `%name value ...` settings at the top of the file."""

    slots: Dict[str, List[Alternative]] = field(default_factory=dict)
    settings: Dict[str, Tuple[str, ...]] = field(default_factory=dict)

    def setting(self, name: str) -> Tuple[str, ...]:
        return self.settings.get(name, ())


class GrammarError(ValueError):
    """A mistake in a grammar file."""


_SLOT = re.compile(r"(?P<same>\$?)(?P<name>[\w.]+)(:(?P<key>\w+))?(\*(?P<least>\d+)-(?P<most>\d+)(/(?P<joiner>.*))?)?")
_NUMBER = re.compile(r"#(?P<low>\d+(\.\d+)?)-(?P<high>\d+(\.\d+)?)")
_MENTION = re.compile(r"(\+(?P<more>!?\w+)|(?P<label>\w+)(:(?P<key>!?\w+))?)\|")
_ESCAPES = {"n": "\n", "t": "\t"}


def load_grammar(path: Path) -> Grammar:
    """Read a grammar file. Raises GrammarError, also for slots that nobody defined and unknown names or keys."""
    grammar = Grammar()
    slot = ""
    for line in _logical_lines(path.read_text("utf8")):
        if line.startswith("%"):
            name, *values = line[1:].split(" ")
            grammar.settings[name] = tuple(values)
        elif line.startswith("@"):
            slot = line[1:].strip()
            if slot in grammar.slots:
                raise GrammarError(f"{path.name}: slot {slot} stands there twice")
            grammar.slots[slot] = []
        else:
            alternatives = grammar.slots[slot]
            alternatives.append(_parse_alternative(line, slot, len(alternatives)))
    try:
        _check(grammar)
    except GrammarError as error:
        raise GrammarError(f"{path.name}: {error}") from None
    return grammar


def _logical_lines(text: str) -> List[str]:
    lines: List[str] = []
    for line in text.split("\n"):
        if not line.strip() or line.startswith("# "):
            continue
        if line.startswith("    "):
            lines[-1] += line[4:]
        else:
            lines.append(line)
    return lines


def _parse_alternative(line: str, slot: str, number: int) -> Alternative:
    held_out = line.startswith("~ ")
    body, _, said = line[2 if held_out else 0 :].partition(" ## ")
    nodes, position = _parse_nodes(body, 0, "")
    if position != len(body):
        raise GrammarError(f"unbalanced bracket in an alternative of {slot}: {body[position:]!r}")
    statements = [part.strip().split(" ") for part in said.split(";") if part.strip()]
    return Alternative(slot, number, held_out, nodes, tuple(Statement(s[0], tuple(s[1:])) for s in statements))


def _parse_nodes(body: str, position: int, until: str) -> Tuple[Tuple[Node, ...], int]:
    """The nodes from `position` up to one of the characters in `until`, and where that character stands."""
    nodes: List[Node] = []
    text = ""
    while position < len(body) and body[position] not in until:
        sign = body[position]
        if sign == "\\":
            text += _ESCAPES.get(body[position + 1], body[position + 1])
            position += 2
            continue
        if sign not in "[{":
            text += sign
            position += 1
            continue
        if text:
            nodes.append(Text(text))
            text = ""
        node, position = (_parse_mention if sign == "[" else _parse_braces)(body, position + 1)
        nodes.append(node)
    if text:
        nodes.append(Text(text))
    return tuple(nodes), position


def _parse_mention(body: str, position: int) -> Tuple[Node, int]:
    head = _MENTION.match(body, position)
    if head is None:
        raise GrammarError(f"a mention is [Label|text] or [Label:key|text]: {body[position:]!r}")
    nodes, end = _parse_nodes(body, head.end(), "]")
    _expect(body, end, "]")
    return Mention(head["label"] or "", head["more"] or head["key"] or "", nodes), end + 1


def _parse_braces(body: str, position: int) -> Tuple[Node, int]:
    branches = []
    start = position
    while True:
        nodes, position = _parse_nodes(body, position, "|}")
        branches.append(nodes)
        if body[position : position + 1] != "|":
            break
        position += 1
    _expect(body, position, "}")
    if len(branches) > 1:
        return Choice(tuple(branches)), position + 1
    return _parse_simple(body[start:position]), position + 1


def _parse_simple(inside: str) -> Node:
    number, slot = _NUMBER.fullmatch(inside), _SLOT.fullmatch(inside)
    if inside.startswith("!"):
        return Feature(inside[1:])
    if number:
        low, high = number["low"], number["high"]
        width = len(low) if low.startswith("0") and "." not in low else 0
        return Number(float(low), float(high), len(low.partition(".")[2]), width)
    if slot is None:
        raise GrammarError(f"neither slot nor number: {inside!r}")
    joiner = " " if slot["joiner"] is None else slot["joiner"].replace("\\n", "\n")
    return Slot(
        slot["name"], bool(slot["same"]), slot["key"] or "", int(slot["least"] or 0), int(slot["most"] or 0), joiner
    )


def _expect(body: str, position: int, sign: str) -> None:
    if body[position : position + 1] != sign:
        raise GrammarError(f"missing {sign} in {body!r}")


def _walk(nodes: Tuple[Node, ...]) -> List[Node]:
    found: List[Node] = []
    for node in nodes:
        found.append(node)
        inner = node.nodes if isinstance(node, Mention) else ()
        for branch in node.branches if isinstance(node, Choice) else (inner,):
            found.extend(_walk(branch))
    return found


def _check(grammar: Grammar) -> None:
    """Whatever is named anywhere must be defined somewhere: a misspelt key would silently lose a relation."""
    kinds = ("relations", "attributes", "equivalences")
    names = {name for kind in kinds for name in grammar.setting(kind)} | {"NOTE"}
    alternatives = [alternative for each in grammar.slots.values() for alternative in each]
    everywhere = {key for alternative in alternatives for key in _keys(grammar, alternative)}
    for alternative in alternatives:
        for node in _walk(alternative.nodes):
            if isinstance(node, Slot) and not _variants(grammar, node.name):
                raise GrammarError(f"no slot {node.name}, which {alternative.slot} names")
        keys = _keys(grammar, alternative)
        for statement in alternative.statements:
            if statement.name not in names:
                raise GrammarError(f"{statement.name} in {alternative.slot} is not declared at the top of the file")
            mentions = 1 if statement.name == "NOTE" or statement.name in grammar.setting("attributes") else None
            for argument in statement.arguments[:mentions]:
                if argument not in (everywhere if argument.startswith("!") else keys):
                    raise GrammarError(f"no mention {argument} in this alternative of {alternative.slot}")


def _keys(grammar: Grammar, alternative: Alternative) -> Set[str]:
    """The keys by which statements of this alternative may call mentions in it and in the slots it gives a key."""
    keys: Set[str] = set()
    for node in _walk(alternative.nodes):
        if isinstance(node, Mention) and node.label and node.key:
            keys.add(node.key)
        elif isinstance(node, Slot) and node.key:
            prefix = "" if node.key == "_" else f"{node.key}."
            inner = [inner for name in _variants(grammar, node.name) for inner in grammar.slots[name]]
            keys.update(f"{prefix}{key}" for each in inner for key in _keys(grammar, each))
    return keys


def _variants(grammar: Grammar, name: str) -> List[str]:
    return [slot for slot in grammar.slots if slot == name or slot.startswith(f"{name}.")]


def variant(grammar: Grammar, name: str, features: Tuple[str, ...]) -> Optional[str]:
    """The name of the slot to expand for `name` in a note with these features; the latest feature wins."""
    for feature in reversed(features):
        if f"{name}.{feature}" in grammar.slots:
            return f"{name}.{feature}"
    return name if name in grammar.slots else None
