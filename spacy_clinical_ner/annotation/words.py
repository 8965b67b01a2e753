"""The words of notes: spelled fast, and forgotten again."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Dict

from spacy.attrs import ORTH, SPACY
from spacy.language import Language
from spacy.tokens import Doc

# A word that was forgotten costs some 20 microseconds when it comes again; one that is kept, 500 bytes.
_NEW_WORDS = 45_000


class Forgetting:
    """A block in which the vocabulary of a pipeline keeps so many new words, and at whose end it has none (spaCy 3.8).

    `between` is to be called between two parts of the work, where no Doc is held: if there are more words than that,
    they are forgotten there. Else the vocabulary would grow with every note.
    """

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        self._zone = ExitStack()
        self._known = 0

    def __enter__(self) -> Forgetting:
        self._begin()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._zone.close()

    def between(self) -> None:
        """No Doc is held: forget the words, if there are many."""
        if len(self._nlp.vocab) - self._known > _NEW_WORDS:
            self._zone.close()
            self._begin()

    def _begin(self) -> None:
        self._known = len(self._nlp.vocab)
        if hasattr(self._nlp, "memory_zone"):
            self._zone.enter_context(self._nlp.memory_zone())


class Spelling:
    """The text of Docs, each different word looked up once: in a third of the time of `doc.text`."""

    def __init__(self) -> None:
        self._words: Dict[int, str] = {}

    def text(self, doc: Doc) -> str:
        """`doc.text`."""
        if not len(doc):
            return ""
        keys, spaces = (column.tolist() for column in doc.to_array([ORTH, SPACY]).T)
        words, strings = self._words, doc.vocab.strings
        for key in set(keys).difference(words):
            words[key] = strings[key]
        return "".join([f"{words[key]} " if space else words[key] for key, space in zip(keys, spaces)])
