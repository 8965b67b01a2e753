"""What kind of mistake is each error of a system? A taxonomy whose kinds sum to false positives + false negatives.

Every mention that is not found exactly (strictly: label and all fragments) is one error, a false negative of gold or
a false positive of the prediction, and gets exactly one kind. In this order, each step looking at what the steps
before it left over:

1. `wrong_label`: gold and prediction have the same fragments and other labels; paired one-to-one.
2. Same label, shared characters. The overlaps of gold with prediction fall into connected groups: one gold mention and
   one prediction are `too_short`, `too_long` or `shifted`; one gold mention and several predictions are `split`;
   several gold mentions and one prediction are `merged`; several of both are `tangled`.
3. `wrong_label_and_edges`: shares characters with a left-over mention of another label.
4. The rest: gold is `missed` altogether, or `missed_overlapped` where what was predicted there belongs to another
   mention; a prediction is `invented`, or `invented_overlapping` where gold has another mention.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import AbstractSet, Dict, Hashable, Iterable, List, NamedTuple, Sequence, Set, Tuple

from spacy_clinical_ner.evaluation.matching import Mention, overlapping
from spacy_clinical_ner.evaluation.pairs import RelationKey

KINDS = {
    "wrong_label": "right edges, wrong label",
    "too_short": "right label, too short",
    "too_long": "right label, too long",
    "shifted": "right label, shifted edges",
    "split": "right label, one mention found as several",
    "merged": "right label, several mentions found as one",
    "tangled": "right label, several found as other several",
    "wrong_label_and_edges": "wrong label and wrong edges",
    "missed": "missed altogether",
    "missed_overlapped": "missed beneath another mention",
    "invented": "invented",
    "invented_overlapping": "invented over another mention",
}
RELATION_KINDS = {
    "wrong_label": "right mentions, wrong label",
    "wrong_direction": "right mentions and label, wrong direction",
    "mention_missing": "a mention of the relation was not found",
    "not_a_candidate": "its mentions are no candidate pair",
    "missed": "missed although both mentions were found",
    "mention_invented": "joins a mention that gold lacks",
    "invented": "joins gold mentions that are not related",
}


class MentionError(NamedTuple):
    """One error. is_gold: a false negative (a gold mention) or a false positive (a predicted one)."""

    kind: str
    mention: Mention
    is_gold: bool


class RelationError(NamedTuple):
    """One error of a relation; see `MentionError`."""

    kind: str
    relation: RelationKey
    is_gold: bool


def mention_errors(gold: AbstractSet[Mention], predicted: AbstractSet[Mention]) -> List[MentionError]:
    """The errors of one document: as many as it has strict false negatives and false positives, sorted by place."""
    missed, extra = sorted(gold - predicted), sorted(predicted - gold)
    errors: List[MentionError] = []
    missed, extra = _same_edges(missed, extra, errors)
    missed, extra = _same_label(missed, extra, errors)
    missed_beside, extra_beside = _touched(missed, extra)
    for mentions, beside, others, is_gold in (
        (missed, missed_beside, predicted, True),
        (extra, extra_beside, gold, False),
    ):
        covered, _ = _touched(mentions, sorted(others))
        for mention in mentions:
            if mention in beside:
                kind = "wrong_label_and_edges"
            elif is_gold:
                kind = "missed_overlapped" if mention in covered else "missed"
            else:
                kind = "invented_overlapping" if mention in covered else "invented"
            errors.append(MentionError(kind, mention, is_gold))
    return sorted(errors, key=lambda error: (error.mention.fragments, not error.is_gold, error.mention.label))


def relation_errors(
    gold: AbstractSet[RelationKey],
    predicted: AbstractSet[RelationKey],
    predicted_mentions: AbstractSet[Mention],
    gold_mentions: AbstractSet[Mention],
    candidates: AbstractSet[Tuple[Mention, Mention]] | None = None,
) -> List[RelationError]:
    """The errors of the relations of one document: as many as it has false negatives and false positives.

    A missed and an invented relation between the same mentions are paired one-to-one as `wrong_label`, those with the
    same label between swapped mentions as `wrong_direction`.
    candidates: ordered pairs of mentions that the system looks at, if that is known.
    """
    missed, extra = sorted(gold - predicted), sorted(predicted - gold)
    errors: List[RelationError] = []
    swapped = {RelationKey(label, tail, head): RelationKey(label, head, tail) for label, head, tail in extra}
    for relation in list(missed):
        if relation in swapped and swapped[relation] in extra:
            missed.remove(relation)
            extra.remove(swapped[relation])
            errors.append(RelationError("wrong_direction", relation, True))
            errors.append(RelationError("wrong_direction", swapped[relation], False))
    for ours, theirs in _paired(missed, extra, lambda relation: (relation.head, relation.tail)):
        missed.remove(ours)
        extra.remove(theirs)
        errors += [RelationError("wrong_label", ours, True), RelationError("wrong_label", theirs, False)]
    for relation in missed:
        kind = "missed"
        if not {relation.head, relation.tail} <= predicted_mentions:
            kind = "mention_missing"
        elif candidates is not None and (relation.head, relation.tail) not in candidates:
            kind = "not_a_candidate"
        errors.append(RelationError(kind, relation, True))
    for relation in extra:
        known = {relation.head, relation.tail} <= gold_mentions
        errors.append(RelationError("invented" if known else "mention_invented", relation, False))
    return errors


def count_kinds(errors: Iterable[MentionError | RelationError]) -> Dict[str, Dict[str, Dict[str, int]]]:
    """{label: {kind: {"fn": n, "fp": n}}}: under the label of gold for misses, of the prediction for the others."""
    counts: Dict[str, Dict[str, Dict[str, int]]] = {}
    for error in errors:
        item = error.mention if isinstance(error, MentionError) else error.relation
        row = counts.setdefault(item.label, {}).setdefault(error.kind, {"fn": 0, "fp": 0})
        row["fn" if error.is_gold else "fp"] += 1
    return counts


def overlap_pairs(left: Sequence[Mention], right: Sequence[Mention]) -> List[List[int]]:
    """For each mention on the left, the indices of those on the right that share a character with it."""
    return overlapping([mention.fragments for mention in left], [mention.fragments for mention in right])


def _same_edges(
    missed: List[Mention], extra: List[Mention], errors: List[MentionError]
) -> Tuple[List[Mention], List[Mention]]:
    pairs = _paired(missed, extra, lambda mention: mention.fragments)
    for ours, theirs in pairs:
        errors += [MentionError("wrong_label", ours, True), MentionError("wrong_label", theirs, False)]
    return _without(missed, {pair[0] for pair in pairs}), _without(extra, {pair[1] for pair in pairs})


def _same_label(
    missed: List[Mention], extra: List[Mention], errors: List[MentionError]
) -> Tuple[List[Mention], List[Mention]]:
    used_gold: Set[Mention] = set()
    used_predicted: Set[Mention] = set()
    for label in sorted({mention.label for mention in missed}):
        ours = [mention for mention in missed if mention.label == label]
        theirs = [mention for mention in extra if mention.label == label]
        for golds, predictions in _groups(overlap_pairs(ours, theirs)):
            kind = _edge_kind([ours[i] for i in golds], [theirs[i] for i in predictions])
            for mentions, indices, used, is_gold in (
                (ours, golds, used_gold, True),
                (theirs, predictions, used_predicted, False),
            ):
                used.update(mentions[i] for i in indices)
                errors += [MentionError(kind, mentions[i], is_gold) for i in indices]
    return _without(missed, used_gold), _without(extra, used_predicted)


def _edge_kind(gold: Sequence[Mention], predicted: Sequence[Mention]) -> str:
    if len(gold) > 1 or len(predicted) > 1:
        return "split" if len(gold) == 1 else "merged" if len(predicted) == 1 else "tangled"
    ours, theirs = (_characters(mention) for mention in (gold[0], predicted[0]))
    if theirs < ours:
        return "too_short"
    return "too_long" if theirs > ours else "shifted"


def _groups(neighbours: Sequence[Sequence[int]]) -> List[Tuple[List[int], List[int]]]:
    """Connected groups of a bipartite graph that have both sides: sorted indices on the left, on the right."""
    back: Dict[int, List[int]] = defaultdict(list)
    for left, rights in enumerate(neighbours):
        for right in rights:
            back[right].append(left)
    groups = []
    reached: Set[int] = set()
    for start, rights in enumerate(neighbours):
        if start in reached or not rights:
            continue
        lefts, found, frontier = {start}, set(), [start]
        while frontier:
            for right in neighbours[frontier.pop()]:
                found.add(right)
                new = set(back[right]) - lefts
                lefts |= new
                frontier += new
        reached |= lefts
        groups.append((sorted(lefts), sorted(found)))
    return groups


def _touched(left: Sequence[Mention], right: Sequence[Mention]) -> Tuple[Set[Mention], Set[Mention]]:
    """The mentions of each side that share a character with one of the other side."""
    neighbours = overlap_pairs(left, right)
    ours = {mention for mention, found in zip(left, neighbours) if found}
    return ours, {right[index] for found in neighbours for index in found}


def _paired(missed: Sequence, extra: Sequence, key) -> List[Tuple]:
    """Pairs with an equal key, one-to-one, in sorted order."""
    waiting: Dict[Hashable, List] = defaultdict(list)
    for item in extra:
        waiting[key(item)].append(item)
    return [(item, waiting[key(item)].pop(0)) for item in missed if waiting[key(item)]]


def _without(mentions: Sequence[Mention], used: AbstractSet[Mention]) -> List[Mention]:
    return [mention for mention in mentions if mention not in used]


def _characters(mention: Mention) -> Set[int]:
    return {i for start, end in mention.fragments for i in range(start, end)}


def total(counts: Dict[str, Dict[str, Dict[str, int]]]) -> Counter:
    """All labels of `count_kinds` together: {kind: errors}."""
    kinds: Counter = Counter()
    for row in counts.values():
        for kind, sides in row.items():
            kinds[kind] += sides["fn"] + sides["fp"]
    return kinds
