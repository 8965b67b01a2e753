"""Annotations into a Doc and out of it again.

The whole .ann travels in `doc.user_data` as text, which every way of saving a Doc can hold, together with what the
Doc showed of it. What is missing from the Doc later has been deleted; what is there and was not shown is new.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from spacy.language import Language
from spacy.tokens import Doc, Span

from spacy_clinical_ner.brat.align import Alignment, Policy, align
from spacy_clinical_ner.brat.document import (
    BratDocument,
    Entity,
    Note,
    RelationLine,
    column_texts,
)
from spacy_clinical_ner.brat.parts import joined, store, stored_parts, without_dangling
from spacy_clinical_ner.brat.references import ID
from spacy_clinical_ner.extensions import Relation, get_confidence, get_relations, set_relations

MentionKey = Tuple[str, int, int]  # label, start and end character
RelationKey = Tuple[str, MentionKey, MentionKey]  # label, head, tail


def to_doc(
    nlp: Language,
    document: BratDocument,
    *,
    spans_key: str = "sc",
    overlap: str = "longest",
    misaligned: str = "split",
    discontinuous: str = "outer",
    trim_whitespace: bool = False,
) -> Doc:
    """A Doc with the text of the note, exactly, and its annotations.

    `doc.ents` holds a flat choice of the mentions, `doc.spans[spans_key]` all of them by offset (`span.id_` is the T
    id; mentions with the same label and offsets stand there once; `doc.spans[spans_key].attrs["fragments"]` has the
    pieces of discontinuous ones by T id), `doc._.relations` the relations, events standing for their triggers.
    For the policies see `Policy`. Everything else survives in `doc.user_data` for `from_doc`.

    Raises ValueError for an unknown policy or a tokenizer that changes the text.
    """
    policy = Policy(overlap, misaligned, discontinuous, trim_whitespace)
    return fill_doc(align(nlp, document, policy), document, spans_key=spans_key)


def fill_doc(alignment: Alignment, document: BratDocument, *, spans_key: str = "sc") -> Doc:
    """Put the annotations of `document` into the Doc of its alignment, and return that Doc."""
    doc = alignment.doc
    spans: Dict[MentionKey, Span] = {}
    flat: List[Span] = []
    fragments: Dict[str, List[List[int]]] = {}
    shown: List[Tuple[str, int, int, bool]] = []
    key_of: Dict[str, MentionKey] = {}
    for outcome in alignment.mentions:
        if outcome.tokens is None or outcome.extent is None:
            continue
        entity = outcome.entity
        key = (entity.label, *outcome.extent)
        if key not in spans:
            spans[key] = Span(doc, *outcome.tokens, label=entity.label, span_id=entity.id)
        if outcome.in_ents:
            flat.append(spans[key])
        if entity.is_discontinuous:
            fragments[entity.id] = [list(fragment) for fragment in entity.fragments]
        shown.append((entity.id, *outcome.extent, outcome.in_ents))
        key_of[entity.id] = key
    doc.ents = flat
    doc.spans[spans_key] = sorted(spans.values(), key=lambda span: (span.start, span.end))
    doc.spans[spans_key].attrs["fragments"] = fragments
    set_relations(
        doc,
        (
            Relation(spans[key_of[outcome.head.id]], spans[key_of[outcome.tail.id]], outcome.relation.label)
            for outcome in alignment.relations
            if not outcome.reason
        ),
    )
    store(doc, document, shown, spans_key)
    return doc


def from_doc(
    doc: Doc,
    *,
    spans_key: str = "sc",
    name: Optional[str] = None,
    confidence: bool = False,
    source: Optional[BratDocument] = None,
) -> BratDocument:
    """What the Doc holds now, as BRAT annotations.

    Mentions are those of `doc.ents` and of `doc.spans[spans_key]`. One that came from BRAT stands, with its id,
    fragments and all lines about it, unless it has gone from one of the places where `to_doc` showed it. Mentions
    that a policy hid stand. New mentions get fresh T ids in the order of their offsets. Relations likewise; one that
    lost a mention goes, and so do attributes, normalizations and notes about what went, arguments of events and
    members of equivalences; an event goes with its trigger, an equivalence when fewer than two members remain.

    name: the document's name; by default the one it had in BRAT, or "".
    confidence: write `span._.confidence` of new mentions and the score of new relations into AnnotatorNotes lines.
    source: the document that `to_doc` made the Doc of, where it is at hand: its annotations need not be parsed again.

    A part of a Doc (`Span.as_doc(copy_user_data=True)`) keeps what lies inside; in Docs put together (`Doc.from_docs`)
    ids that clash are given anew. Raises ValueError if the text is not the one that the annotations belong to.
    """
    source, rows = _source(doc, spans_key, source)
    places = _places(doc, spans_key)
    entities = [entity for entity in source.entities if rows[entity.id].stands(places)]
    standing = {entity.id for entity in entities}
    key_of = {id: row.key for id, row in rows.items() if row.key}
    gone = {key for id, key in key_of.items() if id not in standing}
    known: Dict[MentionKey, str] = {}
    for entity in entities:
        if entity.id in key_of:
            known.setdefault(key_of[entity.id], entity.id)

    now = get_relations(doc)
    ends = (span for relation in now for span in (relation.head, relation.tail))
    fresh = {
        _key(span): span
        for span in (*_spans(doc, spans_key), *ends)
        if span.start_char < span.end_char and _key(span) not in known and _key(span) not in gone
    }
    ids = _FreshIds(line.id for line in (*source.annotations(), *source.other_lines))
    new_entities, new_notes = [], []
    text = doc.text if rows else source.text  # `doc.text` is put together anew each time one asks for it
    for key in sorted(fresh, key=lambda key: (key[1], key[2], key[0])):
        label, start, end = key
        known[key] = ids.next("T")
        column = next(column_texts(text, ((start, end),)))
        new_entities.append(Entity(known[key], label, ((start, end),), column))
        probability = get_confidence(fresh[key]) if confidence else None
        if probability is not None:
            new_notes.append(_confidence_note(ids, known[key], probability))

    relations, seen = _standing_relations(source, key_of, {_relation_key(relation) for relation in now})
    new_relations = []
    for relation in now:
        relation_key = _relation_key(relation)
        _, head, tail = relation_key
        if relation_key in seen or head not in known or tail not in known:
            continue
        seen.add(relation_key)
        arguments = (("Arg1", known[head]), ("Arg2", known[tail]))
        new_relations.append(RelationLine(ids.next("R"), relation.label, arguments))
        if confidence:
            new_notes.append(_confidence_note(ids, new_relations[-1].id, relation.score))

    kept = without_dangling(source, entities, relations)
    return replace(
        kept,
        name=source.name if name is None else name,
        entities=[*kept.entities, *new_entities],
        relations=[*kept.relations, *new_relations],
        notes=[*kept.notes, *new_notes],
    )


def without_relations(document: BratDocument, keep: Sequence[RelationLine] = ()) -> BratDocument:
    """The document without its R lines, but for those to keep, and whatever is said about them."""
    return without_dangling(document, document.entities, list(keep))


class _Row(NamedTuple):
    """Where and how a mention from BRAT was shown; `key` is None and `places` empty if it was not."""

    key: Optional[MentionKey]
    places: Tuple[str, ...]

    def stands(self, now: Dict[str, Set[MentionKey]]) -> bool:
        return all(self.key in now[place] for place in self.places if place in now)


class _FreshIds:
    """Ids that no line of the source had, not even one that has gone since, or is malformed."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.last: Dict[str, int] = {}
        for id in ids:
            if id != "*" and ID.fullmatch(id):
                self.last[id[0]] = max(self.last.get(id[0], 0), int(id[1:]))

    def next(self, kind: str) -> str:
        self.last[kind] = self.last.get(kind, 0) + 1
        return f"{kind}{self.last[kind]}"


def _source(doc: Doc, spans_key: str, document: Optional[BratDocument]) -> Tuple[BratDocument, Dict[str, _Row]]:
    """The document that `to_doc` put into the Doc (an empty one if it did not), and how each mention was shown.

    Of a Doc put together from several, that of all of them.
    """
    parts = stored_parts(doc, document)
    if not parts:
        return BratDocument("", doc.text if document is None else document.text), {}
    rows: Dict[str, _Row] = {}
    for part in parts:
        labels = {entity.id: entity.label for entity in part.document.entities}
        rows.update((id, _Row(None, ())) for id in labels)
        for id, start, end, in_ents in part.shown:
            places = (("spans",) if part.spans_key == spans_key else ()) + (("ents",) if in_ents else ())
            rows[id] = _Row((labels[id], start, end), places)
    return joined([part.document for part in parts]), rows


def _places(doc: Doc, spans_key: str) -> Dict[str, Set[MentionKey]]:
    """Mentions the Doc shows now, by place; a place that the Doc does not have says nothing about mentions."""
    places = {}
    if doc.has_annotation("ENT_IOB"):
        places["ents"] = {_key(span) for span in doc.ents}
    if spans_key in doc.spans:
        places["spans"] = {_key(span) for span in doc.spans[spans_key]}
    return places


def _spans(doc: Doc, spans_key: str) -> List[Span]:
    return [*doc.ents, *doc.spans.get(spans_key, ())]


def _key(span: Span) -> MentionKey:
    return (span.label_, span.start_char, span.end_char)


def _relation_key(relation: Relation) -> RelationKey:
    return (relation.label, _key(relation.head), _key(relation.tail))


def _confidence_note(ids: _FreshIds, target: str, probability: float) -> Note:
    return Note(ids.next("#"), "AnnotatorNotes", target, f"confidence={probability:.4f}")


def _standing_relations(
    source: BratDocument, key_of: Dict[str, MentionKey], now: Set[RelationKey]
) -> Tuple[List[RelationLine], Set[RelationKey]]:
    """The R lines that the Doc still shows or never did, and the keys of all that it showed at first."""
    mentions = source.mentions()
    relations, shown = [], set()
    for relation in source.relations:
        head, tail = (key_of.get(mentions[end].id) for end in (relation.head, relation.tail))
        if head and tail:
            key = (relation.label, head, tail)
            shown.add(key)
            if key not in now:
                continue
        relations.append(relation)
    return relations, shown
