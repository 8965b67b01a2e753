"""Words to word pieces: a tokenizer of Hugging Face `tokenizers` that fits into a few lines of JSON."""

from __future__ import annotations

import json
from typing import Dict, Iterable, List, NamedTuple, Sequence

from tokenizers import Tokenizer

# Distinct words that are remembered; clinical notes repeat theirs.
_REMEMBERED = 200_000


class SpecialPieces(NamedTuple):
    """Numbers of the pieces that stand for no text."""

    pad: int
    unk: int
    cls: int
    sep: int


class WordPieces:
    """Word pieces of single words.

    tokenizer: JSON of a `tokenizers.Tokenizer`. special: its special pieces.
    prefix: written before each word; a space for byte-level tokenizers, which know the start of a word by it.
    """

    def __init__(self, tokenizer: str, special: SpecialPieces, prefix: str = "") -> None:
        self.tokenizer = tokenizer
        self.special = special
        self.prefix = prefix
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._known: Dict[str, List[int]] = {}

    def __call__(self, words: Sequence[str], most: int) -> List[List[int]]:
        """The pieces of each word: at least one (that for the unknown, if need be) and at most `most`."""
        unseen = sorted(set(words).difference(self._known))
        if len(self._known) + len(unseen) > _REMEMBERED:
            self._known.clear()
            unseen = sorted(set(words))
        for word, ids in zip(unseen, self._encode(unseen)):
            # White space, control characters and the like have no pieces in most vocabularies.
            self._known[word] = ids or [self.special.unk]
        return [self._known[word][:most] for word in words]

    def _encode(self, words: Iterable[str]) -> List[List[int]]:
        encoded = self._tokenizer.encode_batch([self.prefix + word for word in words], add_special_tokens=False)
        return [each.ids for each in encoded]

    def to_json(self) -> str:
        return json.dumps({"tokenizer": self.tokenizer, "special": list(self.special), "prefix": self.prefix})

    @classmethod
    def from_json(cls, text: str) -> WordPieces:
        data = json.loads(text)
        return cls(data["tokenizer"], SpecialPieces(*data["special"]), data["prefix"])
