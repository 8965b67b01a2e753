"""From a grammar to the draft of a note."""

from __future__ import annotations

import re
from random import Random
from typing import Dict, List, Optional, Sequence, Set, Tuple, TypeVar

from generator.drafts import Draft, Marked, Said
from generator.grammar import Alternative, Choice, Feature, Grammar, GrammarError, Mention, Number, Slot, Text, variant

Chosen = TypeVar("Chosen")
Scope = Dict[str, Marked]

# A word in small letters at the start of a line or after a full stop that ends no abbreviation of one letter.
_SENTENCE_START = re.compile(
    r"(?:^(?:- |\d\. )?|(?<=[^\s.][\w)%]\. )|(?<= \d\. ))[a-záéíóúñ](?=[a-záéíóúñ]{2})", re.MULTILINE
)

# How often dev and test take a held-out alternative where a slot has one.
HELD_OUT_SHARE = 0.45


def pick(random: Random, among: Sequence[Chosen]) -> Chosen:
    """One of a sequence. Only `Random.random` is promised to give the same in all versions of Python."""
    return among[int(random.random() * len(among))]


def derive(grammar: Grammar, random: Random, *, held_out: Optional[float], slot: str = "note") -> Draft:
    """A note: an expansion of `slot`.

    held_out: the share of held-out alternatives where there are any; None takes all alternatives alike.
    """
    derivation = _Derivation(grammar, random, held_out)
    derivation.expand(slot, random)
    text = derivation.text
    if "capitals" in grammar.settings:
        text = _SENTENCE_START.sub(lambda start: start[0].upper(), text)
    return Draft(text, derivation.mentions, derivation.said, frozenset(derivation.templates))


class _Derivation:
    def __init__(self, grammar: Grammar, random: Random, held_out: Optional[float]) -> None:
        self.grammar, self.random, self.held_out = grammar, random, held_out
        self.pieces: List[str] = []
        self.length = 0
        self.mentions: List[Marked] = []
        self.said: List[Said] = []
        self.templates: Set[Tuple[str, int]] = set()
        self.features: Tuple[str, ...] = ()
        self.seeds: Dict[str, float] = {}
        self.spent: Dict[str, Set[int]] = {}
        self.latest: Dict[str, int] = {}
        self.known: Scope = {}
        self.labels = dict(setting.split("=") for setting in grammar.setting("labels"))

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def expand(self, name: str, random: Random, *, once: bool = False) -> Scope:
        """Write an expansion of a slot, not the same twice in a row; `once` avoids all that the note has used up.

        Returns the mentions in it by key.
        """
        full_name = variant(self.grammar, name, self.features)
        if full_name is None:
            raise GrammarError(f"slot {name} is not there for a note with the features {self.features}")
        alternative = self._alternative(full_name, random, once)
        self.templates.add((full_name, alternative.number))
        scope: Scope = {}
        self._write(alternative.nodes, scope, random)
        for statement in alternative.statements:
            self._say(statement.name, statement.arguments, scope)
        return scope

    def _alternative(self, name: str, random: Random, once: bool) -> Alternative:
        alternatives = [a for a in self.grammar.slots[name] if self.held_out != 0 or not a.held_out]
        if not alternatives:
            raise GrammarError(f"all alternatives of {name} are held out")
        if once:
            spent = self.spent.setdefault(name, set())
            if all(a.number in spent for a in alternatives):
                spent.clear()
            alternatives = [a for a in alternatives if a.number not in spent]
        elif random is self.random and len(alternatives) > 1:
            alternatives = [a for a in alternatives if a.number != self.latest.get(name)]
        if self.held_out is not None:
            wanted = random.random() < self.held_out
            alternatives = [a for a in alternatives if a.held_out == wanted] or alternatives
        chosen = pick(random, alternatives)
        if once:
            self.spent[name].add(chosen.number)
        if random is self.random:
            self.latest[name] = chosen.number
        return chosen

    def _write(self, nodes: Sequence, scope: Scope, random: Random) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self._put(node.text)
            elif isinstance(node, Number):
                self._put(self._number(node, random))
            elif isinstance(node, Feature):
                self.features += (node.name,)
            elif isinstance(node, Choice):
                self._write(pick(random, node.branches), scope, random)
            elif isinstance(node, Mention):
                self._mark(node, scope, random)
            else:
                self._fill(node, scope, random)

    def _fill(self, slot: Slot, scope: Scope, random: Random) -> None:
        if slot.least:
            count = slot.least + int(random.random() * (slot.most - slot.least + 1))
            for number in range(count):
                self._put(slot.joiner if number else "")
                self.expand(slot.name, random, once=True)
            return
        if slot.same:
            # The same seed again derives the same text, with mentions of its own.
            random = Random(self.seeds.setdefault(slot.name, random.random()))
        inner = self.expand(slot.name, random)
        if slot.key:
            prefix = "" if slot.key == "_" else f"{slot.key}."
            scope.update({f"{prefix}{key}": mention for key, mention in inner.items()})

    def _mark(self, node: Mention, scope: Scope, random: Random) -> None:
        start = self.length
        known = self.known if node.key.startswith("!") else scope
        if node.label:
            mention = Marked(self.labels.get(node.label, node.label))
            self.mentions.append(mention)
            if node.key:
                known[node.key] = mention
        else:
            mention = known[node.key]
        self._write(node.nodes, scope, random)
        mention.add(start, self.length)

    def _say(self, name: str, arguments: Tuple[str, ...], scope: Scope) -> None:
        """Keep a statement if all its mentions are there: some stand in branches that were not taken."""
        kinds = {"relations": "R", "attributes": "A", "equivalences": "*"}
        kind = next((kinds[kind] for kind in kinds if name in self.grammar.setting(kind)), "#")
        count = 1 if kind in "A#" else len(arguments)
        found = [(self.known if key.startswith("!") else scope).get(key) for key in arguments[:count]]
        mentions = [mention for mention in found if mention is not None]
        if len(mentions) == count:
            name = "AnnotatorNotes" if kind == "#" else name
            self.said.append(Said(kind, name, mentions, " ".join(arguments[count:])))

    def _put(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)

    def _number(self, node: Number, random: Random) -> str:
        steps = round((node.high - node.low) * 10**node.decimals)
        value = node.low + int(random.random() * (steps + 1)) / 10**node.decimals
        written = f"{value:0{node.width}.{node.decimals}f}"
        return written.replace(".", (*self.grammar.setting("decimal"), ".")[0])
