"""What is found in a note, as rows of one table: the schema of every output that is not BRAT or spaCy's own.

A row is a mention or a relation, told apart by `kind`; a relation names its two mentions by their ids. All rows have
all columns, whatever a pipeline finds, so that the schema depends on no data. `OMOP` is the other schema: a row of the
OMOP common data model's NOTE_NLP for each mention.
"""

from __future__ import annotations

import datetime
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from spacy.tokens import Doc

from spacy_clinical_ner.brat import BratDocument, from_doc
from spacy_clinical_ner.brat.parts import without_dangling
from spacy_clinical_ner.extensions import get_confidence, get_relations

Row = Dict[str, Any]


class Column(NamedTuple):
    """A column of a table: its name, the type of its values (str, int, float, datetime.date, or list for pairs of
    integers), whether it is never null, and what it means.
    """

    name: str
    type: type
    required: bool
    meaning: str


ROWS: Tuple[Column, ...] = (
    Column("note_id", str, True, "the note's id, as the input has it"),
    Column("kind", str, True, '"mention" or "relation"'),
    Column("id", str, True, "T1, T2, ... for mentions and R1, R2, ... for relations, counted within the note"),
    Column("label", str, True, "type of the mention or of the relation"),
    Column("start", int, False, "mentions: first character, counted from 0"),
    Column("end", int, False, "mentions: one past the last character"),
    Column("text", str, False, "mentions: their text, if asked for"),
    Column("confidence", float, False, "probability from 0 to 1, where the pipeline gives one"),
    Column("fragments", list, False, "mentions: pairs of start and end, more than one if discontinuous"),
    Column("head", str, False, "relations: id of the mention that they start from"),
    Column("tail", str, False, "relations: id of the mention that they lead to"),
)
OMOP: Tuple[Column, ...] = (
    Column("note_nlp_id", int, True, "number of the row"),
    Column("note_id", int, True, "the note's id in NOTE"),
    Column("section_concept_id", int, False, "0: not known"),
    Column("snippet", str, False, "null: no more of the note's text than the mention is written"),
    Column("offset", str, False, "first character of the mention, counted from 0"),
    Column("lexical_variant", str, True, "text of the mention, its first 250 characters"),
    Column("note_nlp_concept_id", int, False, "0: not mapped to a concept"),
    Column("note_nlp_source_concept_id", int, False, "0: not mapped to a concept"),
    Column("nlp_system", str, False, "name and version of the pipeline"),
    Column("nlp_date", datetime.date, True, "day on which the run began"),
    Column("nlp_datetime", datetime.datetime, False, "time at which the run began"),
    Column("term_exists", str, False, "null: the pipeline does not say"),
    Column("term_temporal", str, False, "null: the pipeline does not say"),
    Column("term_modifiers", str, False, "label=..., end=..., confidence=... and fragments=... if discontinuous"),
)
_VARCHAR = 250  # what the common data model allows for lexical_variant and nlp_system


def note_rows(
    doc: Doc,
    note_id: str,
    *,
    spans_key: str = "sc",
    text: bool = False,
    document: Optional[BratDocument] = None,
    columns: Optional[Mapping[str, Any]] = None,
) -> List[Row]:
    """The rows of `ROWS` for one note: mentions in the order of their offsets, then relations.

    spans_key: mentions are those of `doc.ents` and of `doc.spans[spans_key]`.
    text: fill the column "text"; else it is null.
    document: what `brat.from_doc` makes of the Doc, if it is at hand.
    columns: further columns, the same in all rows.
    """
    document = document or from_doc(doc, spans_key=spans_key)
    mentions = document.mentions()
    extents = {entity.id: (entity.start, entity.end, entity.label) for entity in mentions.values()}
    found = get_relations(doc)
    spans = [*doc.ents, *doc.spans.get(spans_key, ()), *(span for each in found for span in (each.head, each.tail))]
    values = {(span.start_char, span.end_char, span.label_): get_confidence(span) for span in spans}
    carried = dict(columns or {})
    rows = []
    for entity in document.entities:
        start, end, label = extents[entity.id]
        rows.append(
            {
                **empty_row(note_id, "mention", entity.id, label),
                "start": start,
                "end": end,
                "text": entity.text if text else None,
                "confidence": values.get((start, end, label)),
                "fragments": [list(piece) for piece in entity.pieces],
                **carried,
            }
        )
    scores = {(each.label, _extent(each["head"]), _extent(each["tail"])): each.score for each in found}
    for relation in document.relations:
        head, tail = mentions[relation.head].id, mentions[relation.tail].id
        rows.append(
            {
                **empty_row(note_id, "relation", relation.id, relation.label),
                "confidence": scores.get((relation.label, extents[head], extents[tail])),
                "head": head,
                "tail": tail,
                **carried,
            }
        )
    return rows


def above(rows: Sequence[Row], threshold: float) -> List[Row]:
    """The rows (of `note_rows`, of one note) without those of a lower confidence and relations that lose a mention.

    Rows without a confidence stay.
    """
    kept = [row for row in rows if row["confidence"] is None or row["confidence"] >= threshold]
    mentions = {row["id"] for row in kept if row["kind"] == "mention"}
    return [row for row in kept if row["kind"] == "mention" or {row["head"], row["tail"]} <= mentions]


def standoff(doc: Doc, rows: Sequence[Row], *, spans_key: str = "sc") -> str:
    """The .ann of a Doc with the mentions and relations of these rows (some of `note_rows`) alone."""
    document = from_doc(doc, spans_key=spans_key)
    ids = {row["id"] for row in rows}
    entities = [each for each in document.entities if each.id in ids]
    relations = [each for each in document.relations if each.id in ids]
    return without_dangling(document, entities, relations).standoff()


def omop_rows(rows: Sequence[Row], first: int, system: str, began: datetime.datetime) -> List[Row]:
    """NOTE_NLP's rows for the mentions among `rows` (of `note_rows`, with text); relations have no place there.

    first: number of the first row. system: name and version of the pipeline. began: when the run did.
    Raises ValueError for a note id that is not an integer.
    """
    result: List[Row] = []
    carried = [name for name in (rows[0] if rows else ()) if name not in {column.name for column in ROWS}]
    for row in rows:
        if row["kind"] != "mention":
            continue
        modifiers = [f"label={row['label']}", f"end={row['end']}"]
        if row["confidence"] is not None:
            modifiers.append(f"confidence={row['confidence']:.4f}")
        if len(row["fragments"]) > 1:
            modifiers.append("fragments=" + ";".join(f"{start} {end}" for start, end in row["fragments"]))
        result.append(
            {
                "note_nlp_id": first + len(result),
                "note_id": int(row["note_id"]),
                "section_concept_id": 0,
                "snippet": None,
                "offset": str(row["start"]),
                "lexical_variant": row["text"][:_VARCHAR],
                "note_nlp_concept_id": 0,
                "note_nlp_source_concept_id": 0,
                "nlp_system": system[:_VARCHAR],
                "nlp_date": began.date(),
                "nlp_datetime": began,
                "term_exists": None,
                "term_temporal": None,
                "term_modifiers": ",".join(modifiers),
                **{name: row[name] for name in carried},
            }
        )
    return result


def flat(row: Row) -> Row:
    """The row as formats hold it that know no lists: fragments as JSON, [[3, 12], [20, 24]]."""
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in row.items()}


def empty_row(note_id: str, kind: str, id: str, label: str) -> Row:
    """A row of `ROWS` with null in all other columns."""
    row: Row = {column.name: None for column in ROWS}
    row.update(note_id=note_id, kind=kind, id=id, label=label)
    return row


def _extent(end: Mapping[str, Any]) -> Tuple[int, int, str]:
    return (end["start"], end["end"], end["label"])
