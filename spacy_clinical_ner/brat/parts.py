"""The .ann that a Doc carries along, also into parts of Docs (`Span.as_doc`) and Docs put together (`Doc.from_docs`).

It is stored under a key of which spaCy moves the offsets along with the text; see `extensions`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple
from zlib import crc32

from spacy.tokens import Doc

from spacy_clinical_ner.brat.document import Annotation, BratDocument, Entity, OtherLine, RelationLine, merge_fragments
from spacy_clinical_ner.brat.offsets import mention_part
from spacy_clinical_ner.brat.parse import parse_standoff
from spacy_clinical_ner.brat.references import dangling
from spacy_clinical_ner.extensions import BRAT, stored_notes

Shown = Tuple[str, int, int, bool]  # T id, first and last character that the Doc shows, whether in doc.ents


class Stored(NamedTuple):
    """The annotations of one note, the places where `to_doc` showed its mentions, and in which group of spans."""

    document: BratDocument
    shown: List[Shown]
    spans_key: str


def store(doc: Doc, document: BratDocument, shown: Sequence[Shown], spans_key: str) -> None:
    """Put the annotations of a note into the Doc of its text."""
    ann = document.standoff(readable=True)
    key: Any = ("._.", f"{BRAT}:{crc32(ann.encode('utf8', 'surrogatepass')):08x}", 0, len(document.text))
    doc.user_data[key] = {
        "name": document.name,
        "characters": len(document.text),
        "ann": ann,
        "other_lines": [(line.line, line.text) for line in document.other_lines],
        "spans_key": spans_key,
        "shown": list(shown),
    }


def stored_parts(doc: Doc, source: Optional[BratDocument] = None) -> List[Stored]:
    """What the Doc carries of each note that its text is from, with the offsets of the Doc and ids that differ.

    source: the note, where it is at hand and the Doc is of all of it: its annotations need not be parsed again.
    Of a note of which the Doc has only a part, what lies outside of it or needs what lies there is left out.

    Raises ValueError if the annotations are not those of the Doc's text.
    """
    values = stored_notes(doc)
    text = doc.text if values else ""
    if [(0, len(text))] == [(offset, stored["characters"]) for offset, stored in values]:
        [(_, stored)] = values
        document = source or _parsed(text, stored)
        return [Stored(document, [tuple(row) for row in stored["shown"]], stored["spans_key"])]
    parts: List[Stored] = []
    taken: Set[str] = set()
    n_lines = 0
    for offset, stored in values:
        part = _part(text, offset, stored, n_lines, taken)
        if len(values) == 1 and not part.document.entities and part.shown:
            raise ValueError("the Doc's text is not the one that the BRAT annotations in its user_data belong to")
        n_lines += stored["ann"].count("\n") + 1
        taken.update(line.id for line in part.document.annotations())
        parts.append(part._replace(shown=[row for row in part.shown if row[0] in taken]))
    return parts


def joined(notes: Sequence[BratDocument]) -> BratDocument:
    """The annotations of notes whose text, ids and lines are already those of one."""
    if len(notes) == 1:
        return notes[0]
    kinds = ("entities", "relations", "events", "attributes", "equivalences", "normalizations", "notes")
    lines: Dict[str, Any] = {kind: [line for note in notes for line in getattr(note, kind)] for kind in kinds}
    return replace(notes[0], **lines)


def without_dangling(source: BratDocument, entities: List[Entity], relations: List[RelationLine]) -> BratDocument:
    """The source with only these mentions and relations, and without whatever pointed to the others."""
    standing = {entity.id for entity in entities}
    events = [event for event in source.events if event.trigger in standing]
    standing.update(event.id for event in events)
    events = [
        replace(event, arguments=tuple(pair for pair in event.arguments if pair[1] in standing)) for event in events
    ]
    equivalences = [
        replace(equivalence, members=tuple(member for member in equivalence.members if member in standing))
        for equivalence in source.equivalences
    ]
    trimmed = replace(
        source,
        entities=entities,
        events=events,
        relations=relations,
        equivalences=[equivalence for equivalence in equivalences if len(set(equivalence.members)) > 1],
    )
    fallen = {line.line for line, _ in dangling(trimmed.annotations())}

    def left(lines: list) -> list:
        return [line for line in lines if line.line not in fallen]

    return replace(
        trimmed,
        relations=left(relations),
        attributes=left(source.attributes),
        normalizations=left(source.normalizations),
        notes=left(source.notes),
    )


def _parsed(text: str, stored: Dict[str, Any]) -> BratDocument:
    document = parse_standoff(stored["name"], text, stored["ann"], path=stored["name"])
    if "other_lines" not in stored:  # as Docs were saved before
        return document
    return replace(document, other_lines=[OtherLine(line, number) for number, line in stored["other_lines"]])


def _part(text: str, offset: int, stored: Dict[str, Any], n_lines: int, taken: Set[str]) -> Stored:
    """The annotations of a note that begins at character `offset` of the text, as far as it holds them."""
    # Only the length of the note is known here: what was checked when it was read needs no second look.
    blank = "\0" * stored["characters"]
    note = parse_standoff(stored["name"], blank, stored["ann"], path=stored["name"], text_mismatch="trust")
    entities = []
    for entity in note.entities:
        fragments = tuple((start + offset, end + offset) for start, end in entity.fragments)
        inside = all(start >= 0 and end <= len(text) for start, end in fragments)
        if inside and mention_part(entity.text + entity.trailing, text, fragments) is not None:
            entities.append(replace(entity, fragments=fragments, pieces=merge_fragments(fragments, text)))
    note = without_dangling(note, entities, note.relations)
    note = replace(note, other_lines=[])  # where a malformed line belongs, and what it says, nobody knows
    names = _free_ids(note.annotations(), taken)
    shown = [(names.get(id, ""), start + offset, end + offset, flat) for id, start, end, flat in stored["shown"]]
    return Stored(replace(_renamed(note, names, n_lines), text=text), shown, stored["spans_key"])


def _free_ids(lines: Sequence[Annotation], taken: Set[str]) -> Dict[str, str]:
    """An id for each line: its own, or where another note has one of that name, the next that is free."""
    last: Dict[str, int] = {}
    for id in (*taken, *(line.id for line in lines)):
        if id != "*":
            last[id[0]] = max(last.get(id[0], 0), int(id[1:]))
    names = {}
    for line in lines:
        if line.id in taken and line.id != "*":
            last[line.id[0]] += 1
            names[line.id] = f"{line.id[0]}{last[line.id[0]]}"
        else:
            names[line.id] = line.id
    return names


def _renamed(note: BratDocument, names: Dict[str, str], n_lines: int) -> BratDocument:
    """The note with other ids, and its lines behind `n_lines` others."""

    def pairs(arguments: Any) -> Any:
        return tuple((role, names[target]) for role, target in arguments)

    def moved(lines: list, **fields: Any) -> list:
        return [
            replace(
                line,
                id=names[line.id],
                line=line.line + n_lines,
                **{field: change(getattr(line, field)) for field, change in fields.items()},
            )
            for line in lines
        ]

    return replace(
        note,
        entities=moved(note.entities),
        relations=moved(note.relations, arguments=pairs),
        events=moved(note.events, trigger=names.get, arguments=pairs),
        attributes=moved(note.attributes, target=names.get),
        equivalences=moved(note.equivalences, members=lambda members: tuple(names[each] for each in members)),
        normalizations=moved(note.normalizations, target=names.get),
        notes=moved(note.notes, target=names.get),
    )
