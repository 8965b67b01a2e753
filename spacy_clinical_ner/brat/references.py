"""Which ids a line may name, and which lines name what is not there."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from typing import Dict, List, Optional, Sequence, Set, Tuple

from spacy_clinical_ner.brat.document import Annotation, Entity, Equivalence, Event, Malformed, RelationLine

ID = re.compile(r"[TREAMN#][0-9]{1,18}|\*")
NAMES = {
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


def dangling(lines: Sequence[Annotation]) -> List[Tuple[Annotation, Malformed]]:
    """Lines that point to nothing, and in turn the lines that point to those, in file order, each with the reason.

    Linear in the number of references. Lines are told apart by their line numbers.
    """
    known = {line.id for line in lines}
    needed_by: Dict[str, List[Annotation]] = defaultdict(list)
    queue = deque(lines)
    for line in lines:
        for target in references(line):
            needed_by[target].append(line)
    fallen: Dict[int, Tuple[Annotation, Malformed]] = {}
    while queue:
        line = queue.popleft()
        error = _broken_reference(line, known)
        if error and line.line not in fallen:
            fallen[line.line] = (line, error)
            if line.id != "*":
                known.discard(line.id)
                queue.extend(needed_by[line.id])
    return sorted(fallen.values(), key=lambda pair: pair[0].line)


def _broken_reference(annotation: Annotation, known: Set[str]) -> Optional[Malformed]:
    kind = annotation.id[0]
    name = NAMES[kind]
    for position, target in enumerate(references(annotation)):
        is_trigger = kind == "E" and position == 0
        if not ID.fullmatch(target) or target == "*":
            return Malformed(f"the {name} points to something that is not an id")
        if target[0] not in ("T" if is_trigger else _MAY_POINT_TO[kind]):
            role = "trigger" if is_trigger else "target"
            wrong = NAMES[target[0]]
            return Malformed(
                f"the {role} of the {name} cannot be of kind {wrong}",
                f"{name} {annotation.id} points to {target}: its {role} cannot be of kind {wrong}",
            )
        if target not in known:
            return Malformed(
                f"the {name} points to an id that no line defines",
                f"{name} {annotation.id} points to {target}, which no line defines",
            )
    return None
