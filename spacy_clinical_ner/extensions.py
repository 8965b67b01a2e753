"""What the package hangs on Docs and Spans: `doc._.relations`, `doc._.confidence`, `doc._.label_attention` and
`span._.confidence`.

All are kept in `doc.user_data` as plain numbers, strings and arrays, so they survive to_bytes, to_disk, DocBin,
pickling and `n_process`. They belong to characters, not to tokens, and their keys have the form of spaCy's own
extension attributes, ("._.", name, start, end): `Span.as_doc` and `Doc.from_docs` move the offsets of such keys along
with the text. What then lies outside the Doc, or on other words than it was set for, is not there any more. Names hold
checksums of the mentions, never their text, since warnings and errors show them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

RELATIONS = "spacy_clinical_ner.relations"
CONFIDENCE = "spacy_clinical_ner.confidence"
LABEL_ATTENTION = "spacy_clinical_ner.label_attention"
BRAT = "spacy_clinical_ner.brat"  # name, fragments and other lines of a Doc that came from BRAT: see `brat.docs`

_SPACY = "._."


class Relation(Dict[str, Any]):
    """A directed, labelled pair of mentions. `score` is a probability, 1.0 for gold relations.

    As a dictionary it is its own form in JSON: head and tail with "start" and "end" (characters), "label" and "id",
    then "label" and "score". Equal relations join mentions of equal offsets, labels and ids.
    """

    def __init__(self, head: Span, tail: Span, label: str, score: float = 1.0) -> None:
        super().__init__(head=_plain(head), tail=_plain(tail), label=label, score=score)
        self.head = head
        self.tail = tail
        self.label = label
        self.score = score

    def __hash__(self) -> int:  # type: ignore[override]
        return hash((tuple(self["head"].values()), tuple(self["tail"].values()), self.label, self.score))

    def _replace(self, **fields: Any) -> Relation:
        """A copy with other fields, as a named tuple makes it."""
        return Relation(**{"head": self.head, "tail": self.tail, "label": self.label, "score": self.score, **fields})


def _plain(span: Span) -> Dict[str, Any]:
    return {"start": span.start_char, "end": span.end_char, "label": span.label_, "id": span.id_}


def get_relations(doc: Doc) -> List[Relation]:
    """The Doc's relations, in the order in which they were set; a mention inside a merged token is that token."""
    found = []
    for head, tail, label, score in _user_data(doc).get(RELATIONS, ()):  # as Docs were saved before: by token numbers
        first, last = (Span(doc, start, end, label=name, span_id=id) for start, end, name, id in (head, tail))
        found.append(Relation(first, last, label, score))
    rows = [(key[2], value) for key, value in _entries(doc, RELATIONS) if value is not None]
    if not rows:
        return found
    text, starts = doc.text, [token.idx for token in doc]

    def span(start: int, end: int, label: str, id: str) -> Span:
        return Span(doc, bisect_right(starts, start) - 1, bisect_left(starts, end), label=label, span_id=id)

    for offset, (head, tail, label, score, check) in rows:
        ends = [(start + offset, end + offset, name, id) for start, end, name, id in (head, tail)]
        if check == _checksum(*(text[start:end] for start, end, _, _ in ends)):
            found.append(Relation(span(*ends[0]), span(*ends[1]), label, score))
    return found


def set_relations(doc: Doc, relations: Iterable[Union[Relation, Mapping[str, Any]]]) -> None:
    """Replace the Doc's relations, given as such or as in JSON.

    Raises ValueError for a relation whose mentions are of another Doc, or lie outside of this one.
    """
    given = [each if isinstance(each, Relation) else _from_plain(doc, each) for each in relations]
    if any(relation.head.doc is not doc or relation.tail.doc is not doc for relation in given):
        raise ValueError("a relation's head and tail must be spans of the Doc that holds it")
    data = _user_data(doc)
    for key in [key for key in data if key == RELATIONS or _is_ours(key, RELATIONS)]:
        del data[key]
    data[(_SPACY, RELATIONS, 0, 0)] = None  # says that the Doc is annotated, be it that there are none
    seen: Dict[str, int] = {}
    for relation in given:
        ends = (relation.head, relation.tail)
        first, last = min(span.start_char for span in ends), max(span.end_char for span in ends)
        rows = [[span.start_char - first, span.end_char - first, span.label_, span.id_] for span in ends]
        row = [*rows, relation.label, float(relation.score), _checksum(*(span.text for span in ends))]
        name = _checksum(repr(row))
        seen[name] = seen.get(name, 0) + 1
        data[(_SPACY, f"{RELATIONS}:{name}:{len(seen)}:{seen[name]}", first, last)] = row


def has_relations(doc: Doc) -> bool:
    """Whether the Doc says anything about relations, be it that there are none."""
    return RELATIONS in doc.user_data or any(_is_ours(key, RELATIONS) for key in doc.user_data)


def _from_plain(doc: Doc, fields: Mapping[str, Any]) -> Relation:
    ends = []
    for end in (fields["head"], fields["tail"]):
        span = doc.char_span(end["start"], end["end"], label=end["label"], span_id=end["id"], alignment_mode="expand")
        if span is None:
            raise ValueError(f"no tokens from character {end['start']} to {end['end']}")
        ends.append(span)
    return Relation(ends[0], ends[1], fields["label"], fields["score"])


def get_confidence(span: Span) -> Optional[float]:
    """Posterior probability (0 to 1) of this span with this label under the model that set it; None if none did."""
    data = _user_data(span.doc)
    value = data.get(_confidence_key(span))
    return data.get((CONFIDENCE, span.start_char, span.end_char, span.label_)) if value is None else value


def set_confidence(span: Span, value: float) -> None:
    """Store the posterior probability of `span` with its present label."""
    _user_data(span.doc)[_confidence_key(span)] = float(value)


def get_confidences(doc: Doc) -> List[Dict[str, Any]]:
    """All confidences of a Doc, as JSON has them: "start" and "end" (characters), "label" and "value"."""
    text = doc.text
    found = []
    for (_, name, start, end), value in _entries(doc, CONFIDENCE):
        check, label = name[len(CONFIDENCE) + 1 :].split(":", 1)
        if check == _checksum(text[start:end]):
            found.append({"start": start, "end": end, "label": label, "value": value})
    return found


def set_confidences(doc: Doc, values: Iterable[Mapping[str, Any]]) -> None:
    """Replace the confidences of a Doc by those that `get_confidences` gave."""
    data, text = _user_data(doc), doc.text
    for key in [key for key in data if _is_ours(key, CONFIDENCE)]:
        del data[key]
    for row in values:
        start, end = row["start"], row["end"]
        data[(_SPACY, f"{CONFIDENCE}:{_checksum(text[start:end])}:{row['label']}", start, end)] = row["value"]


def _confidence_key(span: Span) -> Tuple[str, str, int, int]:
    return (_SPACY, f"{CONFIDENCE}:{_checksum(span.text)}:{span.label_}", span.start_char, span.end_char)


def _checksum(*texts: str) -> str:
    return format(crc32("\0".join(texts).encode("utf8", "surrogatepass")), "08x")


def _is_ours(key: Any, name: str) -> bool:
    return isinstance(key, tuple) and len(key) == 4 and key[0] == _SPACY and key[1].split(":", 1)[0] == name


def _entries(doc: Doc, name: str) -> Iterator[Tuple[Tuple[str, str, int, int], Any]]:
    """What is stored under a name and lies inside the Doc."""
    length = len(doc) and doc[-1].idx + len(doc[-1].text_with_ws)
    return (
        (key, value)
        for key, value in _user_data(doc).items()
        if _is_ours(key, name) and 0 <= key[2] <= key[3] <= length
    )


class LabelAttention(Dict[str, Any]):
    """How much each token attends to each tag of a label attention network.

    weights: (layers, heads, tokens, tags) float32; over the tags (of each chain of tags, in the last layer) they sum
        to 1. tags: names of the tags, "O", "B-<label>", ...
    As a dictionary it is its own form in JSON: "weights" as lists of lists, and "tags".
    """

    def __init__(self, weights: NDArray[np.float32], tags: List[str]) -> None:
        super().__init__(weights=weights.tolist(), tags=tags)
        self.weights = weights
        self.tags = tags


def get_label_attention(doc: Doc) -> Optional[LabelAttention]:
    """What `label_attention_ner` stored, with `store_attention`; None if it did not, or for other tokens than now."""
    stored = doc.user_data.get(LABEL_ATTENTION)  # as Docs were saved before
    if stored is not None and stored["weights"].shape[2] == len(doc):
        return LabelAttention(stored["weights"], list(stored["tags"]))
    columns: Dict[Tuple[int, int], NDArray[np.float32]] = {}
    tags: List[str] = []
    for key, stored in _user_data(doc).items():
        if _is_ours(key, LABEL_ATTENTION):
            if tags and tags != list(stored["tags"]):
                return None
            tags = list(stored["tags"])
            if not len(doc):
                return LabelAttention(stored["weights"][:, :, :0], tags)
            places = zip(stored["places"] + key[2], stored["words"])
            columns.update(
                ((int(place), int(word)), stored["weights"][:, :, i]) for i, (place, word) in enumerate(places)
            )
    now = [(token.idx, token.orth) for token in doc]
    if not columns or any(place not in columns for place in now):
        return None
    return LabelAttention(np.stack([columns[place] for place in now], axis=2), tags)


def set_label_attention(doc: Doc, value: Mapping[str, Any]) -> None:
    """Replace the attention by a `LabelAttention`, or by one in its JSON form."""
    store_label_attention(doc, np.asarray(value["weights"], dtype="float32"), value["tags"])


def store_label_attention(doc: Doc, weights: NDArray[np.float32], tags: Sequence[str]) -> None:
    """Store the attention. Raises ValueError if its shape is not that of the Doc and the tags."""
    if weights.ndim != 4 or weights.shape[2:] != (len(doc), len(tags)):
        raise ValueError(f"label attention of shape {weights.shape} for {len(doc)} tokens and {len(tags)} tags")
    data = _user_data(doc)
    for key in [key for key in data if key == LABEL_ATTENTION or _is_ours(key, LABEL_ATTENTION)]:
        del data[key]
    places = np.asarray([token.idx for token in doc], dtype="int64")
    words = np.asarray([token.orth for token in doc], dtype="uint64")
    name = f"{LABEL_ATTENTION}:{format(crc32(weights.tobytes()), '08x')}"
    stored = {"weights": weights, "tags": list(tags), "places": places, "words": words}
    data[(_SPACY, name, 0, len(doc.text))] = stored


def stored_notes(doc: Doc) -> List[Tuple[int, Dict[str, Any]]]:
    """What `brat.parts.store` left, under the key of old too, each with the place in the Doc where its note begins."""
    found: List[Tuple[int, Dict[str, Any]]] = []
    items: List[Tuple[Any, Any]] = list(doc.user_data.items())
    for key, value in items:
        if key == BRAT:
            found.append((0, value))
        elif _is_ours(key, BRAT):
            found.append((key[2], value))
    return found


def note_name(doc: Doc) -> Optional[str]:
    """The name of the note that the Doc was made of; None if it was not made of one."""
    return next((stored["name"] for _, stored in stored_notes(doc)), None)


def _user_data(doc: Doc) -> Dict[Any, Any]:
    return doc.user_data  # spaCy's stubs allow string keys only; spaCy itself uses tuples


def register() -> None:
    """Make the extensions known to spaCy; harmless when called twice."""
    if not Doc.has_extension("relations"):
        Doc.set_extension("relations", getter=get_relations, setter=set_relations)
    if not Doc.has_extension("confidence"):
        Doc.set_extension("confidence", getter=get_confidences, setter=set_confidences)
    if not Doc.has_extension("label_attention"):
        Doc.set_extension("label_attention", getter=get_label_attention, setter=set_label_attention)
    if not Span.has_extension("confidence"):
        Span.set_extension("confidence", getter=get_confidence, setter=set_confidence)


register()
