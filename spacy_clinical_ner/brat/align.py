"""From character offsets to tokens: which mentions a Doc can show, and what the choices behind that cost.

Nothing is thrown away here: every mention gets an outcome, so that what a policy hides can be counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IDX, LENGTH, NORM, ORTH, SPACY
from spacy.tokens import Doc, Span
from spacy.vocab import Vocab

from spacy_clinical_ner.brat.document import (
    DROPPED,
    KEPT,
    REPAIRED,
    BratDocument,
    Entity,
    Fragment,
    RelationLine,
)
from spacy_clinical_ner.tokenization import HasTokenizer

_Grid = Tuple[NDArray[np.int64], NDArray[np.int64]]

OVERLAP = ("longest", "first", "shortest")
MISALIGNED = ("split", "expand", "contract", "drop")
DISCONTINUOUS = ("outer", "first", "longest", "skip")


@dataclass(frozen=True)
class Policy:
    """How mentions become spans of tokens.

    overlap: which of overlapping mentions `doc.ents` shows: "longest", "first" or "shortest". Ties go to the one
        that begins first, then to the longer one, then to the one that stands first in the file.
    misaligned: a mention that begins or ends inside a token: "split" the token there, "expand" to whole tokens,
        "contract" to whole tokens, or "drop" the mention.
    discontinuous: what of a mention in several pieces is shown: the "outer" extent, the "first" or the "longest"
        piece, or nothing ("skip").
    trim_whitespace: take white space off the edges of mentions, as spaCy's own `ner` needs (it fails with E024).

    Raises ValueError for an unknown choice.
    """

    overlap: str = "longest"
    misaligned: str = "split"
    discontinuous: str = "outer"
    trim_whitespace: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("overlap", OVERLAP),
            ("misaligned", MISALIGNED),
            ("discontinuous", DISCONTINUOUS),
        ):
            if getattr(self, name) not in choices:
                expected = ", ".join(choices)
                raise ValueError(f"{name} is one of {expected}, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class MentionOutcome:
    """What the Doc shows of one mention.

    state, reason: "kept" exactly, "repaired" (how) to another extent, or "dropped" (why): not shown at all.
    extent: (start, end) characters shown, None if dropped. tokens: the same in tokens of `Alignment.doc`.
    misaligned: the tokenizer has no boundary where the extent begins or ends, so no model can find it exactly.
    hidden: why it is shown in the spans group but not in `doc.ents`; "" if it is in `doc.ents` or dropped.
    """

    entity: Entity
    state: str
    reason: str = ""
    extent: Optional[Fragment] = None
    tokens: Optional[Tuple[int, int]] = None
    misaligned: bool = False
    hidden: str = ""

    @property
    def in_ents(self) -> bool:
        return self.tokens is not None and not self.hidden


@dataclass(frozen=True)
class RelationOutcome:
    """Whether the Doc shows a relation (between the mentions `head` and `tail`, triggers for events) or why not."""

    relation: RelationLine
    state: str
    reason: str
    head: Entity
    tail: Entity


@dataclass(frozen=True)
class Alignment:
    """A Doc with nothing but tokens, and an outcome for every mention and relation, in file order."""

    doc: Doc
    mentions: List[MentionOutcome]
    relations: List[RelationOutcome]

    def counts(self) -> Dict[str, int]:
        """Mentions per state; the three sum to the number of mentions."""
        counter = Counter(outcome.state for outcome in self.mentions)
        return {state: counter[state] for state in (KEPT, REPAIRED, DROPPED)}


def align(nlp: HasTokenizer, document: BratDocument, policy: Policy = Policy()) -> Alignment:
    """Tokenise a note and find the tokens of its mentions.

    Raises ValueError if the tokenizer of `nlp` changes the text.
    """
    # Not nlp.make_doc, which refuses notes longer than nlp.max_length: that limit protects the parser, not us.
    doc = nlp.tokenizer(document.text)
    if doc.text != document.text:
        raise ValueError(f"the tokenizer changed the text of {document.name}: offsets would no longer fit")
    extents = [_extent(entity, document.text, policy) for entity in document.entities]
    grid = _boundaries(doc)
    misaligned = [extent is not None and _tokens(extent, grid) is None for extent, _ in extents]
    if policy.misaligned == "split" and any(misaligned):
        crooked = [extent for (extent, _), bad in zip(extents, misaligned) if extent and bad]
        tokens = _split(doc, {start for start, _ in crooked}, {end for _, end in crooked})
        vocab = doc.vocab
        del doc  # of a long note there is memory for one
        doc = make_doc(vocab, tokens)
        grid = _boundaries(doc)
    outcomes = [
        _outcome(entity, extent, reason, bad, grid, policy.misaligned)
        for entity, (extent, reason), bad in zip(document.entities, extents, misaligned)
    ]
    mentions = _choose_flat(outcomes, len(doc), policy.overlap)
    return Alignment(doc, mentions, _relation_outcomes(document, mentions))


def split_tokens(doc: Doc, starts: Set[int], ends: Set[int]) -> Doc:
    """The same text with token boundaries wherever a mention starts or ends (character offsets).

    A single space between words is no token in spaCy; it becomes one where a mention starts or ends with it.
    """
    return make_doc(doc.vocab, _split(doc, starts, ends))


class Tokens(NamedTuple):
    """What a Doc is made of; norms: of tokens that have another than their word."""

    words: List[str]
    spaces: List[bool]
    norms: Dict[int, str]


def make_doc(vocab: Vocab, tokens: Tokens) -> Doc:
    """A Doc of these tokens and nothing else."""
    doc = Doc(vocab, words=tokens.words, spaces=tokens.spaces)
    for index, norm in tokens.norms.items():
        doc[index].norm_ = norm
    return doc


def tokens_of(part: Union[Doc, Span]) -> Tokens:
    """The tokens of a Doc or Span, each word once in memory, with the norms that tokenizer exceptions gave them."""
    strings = part.vocab.strings
    array = part.to_array([ORTH, NORM, SPACY])  # type: ignore[union-attr]  # spaCy's stubs forget that spans have it
    rows = array.reshape(-1, 3)
    orths, places = np.unique(rows[:, 0], return_inverse=True)
    usual = np.array([part.vocab[orth].norm for orth in orths.tolist()], dtype="uint64")
    words = np.array([strings[orth] for orth in orths.tolist()] or [""], dtype=object)
    other = np.flatnonzero(rows[:, 1] != usual[places]).tolist()
    norms = {index: strings[int(rows[index, 1])] for index in other}
    return Tokens(words[places].tolist(), rows[:, 2].astype(bool).tolist(), norms)


def _split(doc: Doc, starts: Set[int], ends: Set[int]) -> Tokens:
    words, spaces, norms = tokens_of(doc)
    firsts, lasts = _boundaries(doc)
    text = doc.text
    # Token -> the cuts inside of it; one with a space behind it, before or after a cut, may lose that to a mention.
    inner: Dict[int, List[int]] = {}
    for cut in sorted(starts | ends):
        for token in np.searchsorted(firsts, (cut - 1, cut), side="right").tolist():
            if token:
                inner.setdefault(token - 1, [])
        if token and firsts[token - 1] < cut < lasts[token - 1]:
            inner[token - 1].append(cut)
    new = Tokens([], [], {})
    done = 0
    shift: List[Tuple[int, int]] = []  # (token from which on, new tokens before it)
    for token, cuts in inner.items():
        start, end = int(firsts[token]), int(lasts[token])
        lone_space = spaces[token] and (end in starts or end + 1 in ends)
        if not cuts and not lone_space:
            continue
        new.words.extend(words[done:token])
        new.spaces.extend(spaces[done:token])
        edges = [start, *cuts, end]
        new.words.extend(text[a:b] for a, b in zip(edges, edges[1:]))
        new.spaces.extend([False] * len(cuts) + [spaces[token] and not lone_space])
        if lone_space:
            new.words.append(" ")
            new.spaces.append(False)
        if cuts:
            norms.pop(token, None)
        done = token + 1
        shift.append((done, len(new.words) - done))
    new.words.extend(words[done:])
    new.spaces.extend(spaces[done:])
    for token, norm in norms.items():
        index = bisect_right(shift, (token, len(new.words))) - 1
        new.norms[token + (shift[index][1] if index >= 0 else 0)] = norm
    return new


def _extent(entity: Entity, text: str, policy: Policy) -> Tuple[Optional[Fragment], str]:
    """The characters of a mention that are to be shown, and how they differ from the mention."""
    start, end, reasons = entity.start, entity.end, []
    if entity.is_discontinuous:
        if policy.discontinuous == "skip":
            return None, "discontinuous: skipped"
        if policy.discontinuous == "first":
            start, end = entity.pieces[0]
        elif policy.discontinuous == "longest":
            start, end = max(entity.pieces, key=lambda piece: piece[1] - piece[0])
        reasons.append(
            f"discontinuous: {policy.discontinuous} {'extent' if policy.discontinuous == 'outer' else 'piece'}"
        )
    if policy.trim_whitespace:
        shown = text[start:end]
        if shown.isspace():
            return None, "nothing but white space"
        trimmed = start + len(shown) - len(shown.lstrip()), end - len(shown) + len(shown.rstrip())
        if trimmed != (start, end):
            start, end = trimmed
            reasons.append("white space trimmed from the edges")
    return (start, end), "; ".join(reasons)


def _boundaries(doc: Doc) -> _Grid:
    """The first character of each token, and the character after its last one: (tokens,) each, rising."""
    rows = doc.to_array([IDX, LENGTH]).reshape(-1, 2).astype("int64")
    return rows[:, 0], rows[:, 0] + rows[:, 1]


def _tokens(extent: Fragment, grid: _Grid) -> Optional[Tuple[int, int]]:
    """The tokens, first and one past the last, that begin and end where the extent does; None if there are none."""
    starts, ends = grid
    first, last = int(np.searchsorted(starts, extent[0])), int(np.searchsorted(ends, extent[1]))
    fits = first < len(starts) and last < len(ends) and (starts[first], ends[last]) == extent
    return (first, last + 1) if fits else None


def _outcome(
    entity: Entity,
    extent: Optional[Fragment],
    reason: str,
    misaligned: bool,
    grid: _Grid,
    policy: str,
) -> MentionOutcome:
    if extent is None:
        return MentionOutcome(entity, DROPPED, reason)
    firsts, lasts = grid
    tokens = _tokens(extent, grid)
    if tokens is not None:
        return MentionOutcome(entity, REPAIRED if reason else KEPT, reason, extent, tokens, misaligned)
    if policy == "drop":
        return MentionOutcome(entity, DROPPED, "begins or ends inside a token", misaligned=True)
    if policy == "expand":
        tokens = (int(np.searchsorted(lasts, extent[0], "right")), int(np.searchsorted(firsts, extent[1])))
        how, none = "expanded to whole tokens", "no token to expand to"
    else:
        tokens = (int(np.searchsorted(firsts, extent[0])), int(np.searchsorted(lasts, extent[1], "right")))
        how, none = "contracted to whole tokens", "no whole token inside"
    if tokens[0] >= tokens[1]:
        return MentionOutcome(entity, DROPPED, none, misaligned=True)
    shown = (int(firsts[tokens[0]]), int(lasts[tokens[1] - 1]))
    reasons = "; ".join(filter(None, (reason, how)))
    return MentionOutcome(entity, REPAIRED, reasons, shown, tokens, True)


def _choose_flat(outcomes: Sequence[MentionOutcome], n_tokens: int, overlap: str) -> List[MentionOutcome]:
    """Mark the mentions that `doc.ents` cannot show because a preferred one takes their tokens."""

    def rank(index: int) -> Tuple[int, ...]:
        start, end = outcomes[index].extent or (0, 0)
        length = end - start
        leading = {"longest": -length, "first": start, "shortest": length}[overlap]
        return (leading, start, -length, index)

    chosen = list(outcomes)
    taken = bytearray(n_tokens)
    seen: Set[Tuple[str, Fragment]] = set()
    for index in sorted((i for i, outcome in enumerate(outcomes) if outcome.tokens), key=rank):
        outcome = outcomes[index]
        assert outcome.tokens is not None and outcome.extent is not None
        first, last = outcome.tokens
        key = (outcome.entity.label, outcome.extent)
        if key in seen:
            chosen[index] = _hide(outcome, "same label and offsets as another mention")
        elif any(taken[first:last]):
            chosen[index] = _hide(outcome, "overlaps another mention")
        else:
            taken[first:last] = b"\1" * (last - first)
        seen.add(key)
    return chosen


def _hide(outcome: MentionOutcome, why: str) -> MentionOutcome:
    return MentionOutcome(
        outcome.entity,
        outcome.state,
        outcome.reason,
        outcome.extent,
        outcome.tokens,
        outcome.misaligned,
        why,
    )


def _relation_outcomes(document: BratDocument, mentions: Iterable[MentionOutcome]) -> List[RelationOutcome]:
    by_id = document.mentions()
    shown = {outcome.entity.id for outcome in mentions if outcome.tokens}
    outcomes = []
    for relation in document.relations:
        head, tail = by_id[relation.head], by_id[relation.tail]
        whole = head.id in shown and tail.id in shown
        reason = "" if whole else "one of its mentions is not shown"
        outcomes.append(RelationOutcome(relation, KEPT if whole else DROPPED, reason, head, tail))
    return outcomes
