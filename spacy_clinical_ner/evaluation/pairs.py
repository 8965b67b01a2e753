"""Which prediction belongs to which gold document, and do both speak of the same text?"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Optional, Union

from spacy_clinical_ner.brat import (
    BratDocument,
    Entity,
    document_name,
    list_notes,
    read_document,
)
from spacy_clinical_ner.brat.document import merge_fragments
from spacy_clinical_ner.brat.files import NOTE, STANDOFF, list_files, read_standoff
from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.evaluation.matching import Mention

PathLike = Union[str, Path]


class DocumentPair(NamedTuple):
    """A gold document and what was predicted for it; None if nothing was handed in, not even an empty file."""

    gold: BratDocument
    predicted: Optional[BratDocument]


class RelationKey(NamedTuple):
    """A directed relation as it is compared: its label and both mentions with labels and fragments, ids left out."""

    label: str
    head: Mention
    tail: Mention


def mentions_of(document: BratDocument) -> FrozenSet[Mention]:
    """The unique mentions of a document; fragments split only at a line break are one fragment."""
    return frozenset(_mention(document, entity) for entity in document.entities)


def relations_of(document: BratDocument) -> FrozenSet[RelationKey]:
    """The unique relations (R lines) of a document; an argument that is an event stands for its trigger mention."""
    mention = {id_: _mention(document, entity) for id_, entity in document.mentions().items()}
    return frozenset(
        RelationKey(relation.label, mention[relation.head], mention[relation.tail]) for relation in document.relations
    )


def _mention(document: BratDocument, entity: Entity) -> Mention:
    return Mention(entity.label, merge_fragments(entity.fragments, document.text))


def pair_documents(
    gold: Iterable[BratDocument], predicted: Iterable[BratDocument], *, ignore_extra: bool = False
) -> Iterator[DocumentPair]:
    """Pair documents that are in memory by name.

    Raises InputError for two documents of one name, texts that differ, and, unless `ignore_extra`, predictions for
    documents that are not in gold.
    """
    by_name: Dict[str, BratDocument] = {}
    for document in predicted:
        if document.name in by_name:
            raise InputError(document.name, None, "two predicted documents have this name")
        by_name[document.name] = document
    seen = set()
    for document in gold:
        if document.name in seen:
            raise InputError(document.name, None, "two gold documents have this name")
        seen.add(document.name)
        prediction = by_name.get(document.name)
        if prediction is not None:
            _check_text(document, prediction, document.name)
        yield DocumentPair(document, prediction)
    extra = sorted(set(by_name) - seen)
    if extra and not ignore_extra:
        raise InputError(extra[0], None, _extra_reason(len(extra)))


def pair_folders(
    gold: PathLike,
    predicted: PathLike,
    *,
    ignore_extra: bool = False,
    offsets: str = "characters",
    progress: Callable[[Iterable], Iterable] = iter,
) -> Iterator[DocumentPair]:
    """Pair the documents of two BRAT folders by relative path, one pair in memory at a time, sorted by name.

    predicted: folder of .ann files. A .txt beside them is optional, but where there is one it must hold the text of
        gold, character for character.
    ignore_extra: leave out predicted documents that gold lacks, instead of raising.
    offsets: how the .ann files of both folders count, see `read_document`.
    progress: wraps the list of gold notes, for example tqdm.
    Raises InputError for bad folders or files, texts that differ and predictions for documents that gold lacks.
    """
    notes = {document_name(note, gold): note for note in list_notes(gold)}
    predictions = _list_predictions(Path(predicted))
    extra = sorted(set(predictions) - set(notes))
    if extra and not ignore_extra:
        raise InputError(predictions[extra[0]][-1], None, _extra_reason(len(extra)))
    for name in progress(list(notes)):
        document = read_document(notes[name], name=name, offsets=offsets)
        path = predictions.get(name)
        yield DocumentPair(document, None if path is None else _read_prediction(document, path, offsets))


def _list_predictions(folder: Path) -> Dict[str, List[Path]]:
    """The files of each predicted document, in the order of their endings, by relative path without suffix."""
    found: Dict[str, List[Path]] = {}
    for path in list_files(folder, (NOTE, *STANDOFF)):
        found.setdefault(document_name(path, folder), []).append(path)
    if not found:
        raise InputError(folder, None, "no .ann file in this folder")
    return found


def _read_prediction(gold: BratDocument, files: List[Path], offsets: str) -> BratDocument:
    notes = [path for path in files if path.suffix.lower() == NOTE]
    if not notes:
        return read_standoff(gold.name, gold.text, files, offsets=offsets)
    _check_text(gold, read_document(notes[0], annotations=False), notes[0])
    return read_document(notes[0], name=gold.name, offsets=offsets)


def _check_text(gold: BratDocument, predicted: BratDocument, path: PathLike) -> None:
    if gold.text == predicted.text:
        return
    same = next(
        (index for index, (ours, theirs) in enumerate(zip(gold.text, predicted.text)) if ours != theirs),
        min(len(gold.text), len(predicted.text)),
    )
    line = predicted.text.count("\n", 0, same) + 1
    raise InputError(
        path,
        line,
        f"the text differs from the gold document's from character {same} on "
        f"({len(predicted.text)} characters instead of {len(gold.text)}), so offsets cannot be compared",
    )


def _extra_reason(number: int) -> str:
    others = "" if number == 1 else f" (nor for {number - 1} more)"
    return f"there is no gold document for this prediction{others}; --ignore-extra leaves such predictions out"
