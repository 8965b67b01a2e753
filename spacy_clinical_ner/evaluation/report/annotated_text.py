"""A note as the page shows it: its text in pieces, each with the mentions of gold and prediction that cover it."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from spacy_clinical_ner.evaluation.matching import Mention
from spacy_clinical_ner.evaluation.report.analysis import NoteErrors


def annotated(note: NoteErrors, number: int) -> Dict[str, Any]:
    """JSON-ready view of a note for the template.

    {"id", "name", "pieces": [{"text", "gold": [labels], "predicted": [labels], "errors": [ids], "starts": [rows]}],
     "errors": [{"id", "kind", "label", "is_gold", "text", "start"}], "relations": [...]}
    starts: marks drawn before the piece: (side, label) of the mentions that begin there.
    """
    errors: List[Dict[str, Any]] = [
        {
            "id": f"n{number}e{index}",
            "kind": error.kind,
            "label": error.mention.label,
            "is_gold": error.is_gold,
            "start": error.mention.fragments[0][0],
            "text": _quote(note.document.text, error.mention),
        }
        for index, error in enumerate(note.mentions)
    ]
    return {
        "id": f"note-{number}",
        "name": note.document.name,
        "pieces": _pieces(note, [row["id"] for row in errors]),
        "errors": errors,
        "relations": [
            {
                "kind": error.kind,
                "label": error.relation.label,
                "is_gold": error.is_gold,
                "head": _quote(note.document.text, error.relation.head),
                "tail": _quote(note.document.text, error.relation.tail),
            }
            for error in note.relations
        ],
        "kinds": sorted({row["kind"] for row in errors}),
        "labels": sorted({mention.label for mention in note.gold | note.predicted}),
    }


def _pieces(note: NoteErrors, ids: Sequence[str]) -> List[Dict[str, Any]]:
    text = note.document.text
    rows: List[Tuple[int, int, str, str, str]] = []  # start, end, side, label, id of the error
    wrong = {(error.mention, error.is_gold): id_ for error, id_ in zip(note.mentions, ids)}
    for side, mentions in (("gold", note.gold), ("predicted", note.predicted)):
        for mention in mentions:
            id_ = wrong.get((mention, side == "gold"), "")
            rows += [(start, end, side, mention.label, id_) for start, end in mention.fragments]
    edges = sorted({0, len(text), *(row[0] for row in rows), *(row[1] for row in rows)})
    rows.sort()
    pieces: List[Dict[str, Any]] = []
    first, active = 0, []  # type: int, List[Tuple[int, int, str, str, str]]
    for start, end in zip(edges, edges[1:]):
        active = [row for row in active if row[1] > start]
        begun = []
        while first < len(rows) and rows[first][0] == start:
            begun.append(rows[first])
            first += 1
        active += begun
        pieces.append(
            {
                "text": text[start:end],
                "gold": sorted({row[3] for row in active if row[2] == "gold"}),
                "predicted": sorted({row[3] for row in active if row[2] == "predicted"}),
                "errors": [row[4] for row in begun if row[4]],
                "wrong": any(row[4] for row in active),
                "starts": [(row[2], row[3]) for row in begun],
            }
        )
    return pieces


def _quote(text: str, mention: Mention) -> str:
    return " … ".join(text[start:end] for start, end in mention.fragments)
