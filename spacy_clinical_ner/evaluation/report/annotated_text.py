"""A note as the page shows it: its text in pieces, each with the mentions of gold and prediction that cover it."""

from __future__ import annotations

from typing import AbstractSet, Any, Dict, List, NamedTuple, Tuple

from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.report.analysis import NoteErrors


class _Fragment(NamedTuple):
    """A fragment of a mention. side: "gold", "predicted" or "both"."""

    start: int
    end: int
    side: str
    mention: Mention


class Piece(NamedTuple):
    """A stretch of text under the same mentions. Not a dictionary, since templates read these much faster.

    id: "" unless an error or a relation is to be found here. gold, predicted: labels. starts: names drawn before the
    piece, (side, label) of the mentions that begin here.
    """

    text: str
    id: str
    gold: List[str]
    predicted: List[str]
    wrong: bool
    starts: List[Tuple[str, str]]


def annotated(note: NoteErrors, number: int) -> Dict[str, Any]:
    """A note for the template.

    {"id", "name", "labels", "pieces": [Piece],
     "errors": [{"kind", "label", "is_gold", "place", "text"}],
     "relations": [{"kind" or "", "label", "side", "head", "tail", "head_place", "tail_place"}]}
    place: the id of a piece. Relations that were found have no kind.
    """
    relations = note.gold_relations | note.predicted_relations
    linked = {error.mention for error in note.mentions}
    linked |= {mention for relation in relations for mention in (relation.head, relation.tail)}
    pieces, places = _pieces(note, f"n{number}p", linked)
    text = note.document.text
    wrong = {(error.relation, error.is_gold): error.kind for error in note.relations}
    sides = [(True, "gold", note.gold_relations), (False, "predicted", note.predicted_relations)]
    return {
        "id": f"note-{number}",
        "name": note.document.name,
        "pieces": pieces,
        "errors": [
            {
                "kind": error.kind,
                "label": error.mention.label,
                "is_gold": error.is_gold,
                "place": places.get(error.mention, f"note-{number}"),
                "text": _quote(text, error.mention),
            }
            for error in note.mentions
        ],
        "relations": [
            {
                "kind": wrong.get((relation, is_gold), ""),
                "label": relation.label,
                "side": side if (relation, is_gold) in wrong else "both",
                "head": _quote(text, relation.head),
                "tail": _quote(text, relation.tail),
                "head_place": places.get(relation.head, f"note-{number}"),
                "tail_place": places.get(relation.tail, f"note-{number}"),
            }
            for is_gold, side, found in sides
            for relation in sorted(found)
            if is_gold or (relation, is_gold) in wrong
        ],
        "labels": sorted({mention.label for mention in note.gold | note.predicted}),
    }


def _pieces(note: NoteErrors, prefix: str, linked: AbstractSet[Mention]) -> Tuple[List[Piece], Dict[Mention, str]]:
    """The pieces of the text, and the id of the one at which each of the `linked` mentions begins."""
    text = note.document.text
    parts: List[_Fragment] = []
    for mention in note.gold | note.predicted:
        in_gold, found = mention in note.gold, mention in note.predicted
        side = "both" if in_gold and found else "gold" if in_gold else "predicted"
        parts += [_Fragment(start, end, side, mention) for start, end in mention.fragments]
    parts.sort()
    edges = sorted({0, len(text), *(part.start for part in parts), *(part.end for part in parts)})
    pieces: List[Piece] = []
    places: Dict[Mention, str] = {}
    first, active = 0, []  # type: int, List[_Fragment]
    for start, end in zip(edges, edges[1:]):
        active = [part for part in active if part.end > start]
        begun = []
        while first < len(parts) and parts[first].start == start:
            begun.append(parts[first])
            first += 1
        active += begun
        to_link = [part.mention for part in begun if part.mention in linked and part.mention not in places]
        places.update((mention, f"{prefix}{start}") for mention in to_link)
        pieces.append(
            Piece(
                text[start:end],
                f"{prefix}{start}" if to_link else "",
                sorted({part.mention.label for part in active if part.side != "predicted"}),
                sorted({part.mention.label for part in active if part.side != "gold"}),
                any(part.side != "both" for part in active),
                [(part.side, part.mention.label) for part in begun],
            )
        )
    return pieces, places


def _quote(text: str, mention: Mention) -> str:
    return " … ".join(text[start:end] for start, end in mention.fragments)
