"""Single words to word pieces, by a tokenizer that fits into a few lines of JSON."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Sequence

from tokenizers import Tokenizer

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.transformers.special_pieces import SpecialPieces, special_pieces

# Distinct words that are remembered; clinical notes repeat theirs.
_REMEMBERED = 200_000


class WordPieces:
    """Word pieces of single words.

    tokenizer: JSON of a `tokenizers.Tokenizer`. special: what stands around a window, one piece on each side.
    pad, unk: numbers of the pieces for padding and for what is unknown.
    prefix: written before each word; a space for byte-level tokenizers, which know the start of a word by it.
    """

    def __init__(self, tokenizer: str, special: SpecialPieces, pad: int, unk: int, prefix: str = "") -> None:
        self.tokenizer = tokenizer
        self.special = special
        self.pad = pad
        self.unk = unk
        self.prefix = prefix
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._known: Dict[str, List[int]] = {}

    @classmethod
    def of(cls, tokenizer: Any) -> WordPieces:
        """Those of a fast Hugging Face tokenizer. Raises ClinicalNerError if it lacks a special piece."""
        special, pad, unk = special_pieces(tokenizer), tokenizer.pad_token_id, tokenizer.unk_token_id
        if (len(special.prefix), len(special.suffix)) != (1, 1) or pad is None or unk is None:
            raise ClinicalNerError(
                f"{type(tokenizer).__name__} lacks [PAD] or [UNK], or does not put one piece, such as [CLS] and [SEP], "
                "on each side of a text: choose another encoder"
            )
        text = tokenizer.backend_tokenizer.to_str()
        byte_level = (json.loads(text).get("pre_tokenizer") or {}).get("type") == "ByteLevel"
        return cls(text, special, pad, unk, " " if byte_level else "")

    def __call__(self, words: Sequence[str], max_pieces: int) -> List[List[int]]:
        """The pieces of each word: at least one (that for the unknown, if need be) and at most `max_pieces`."""
        unseen = sorted(set(words).difference(self._known))
        if len(self._known) + len(unseen) > _REMEMBERED:
            self._known.clear()
            unseen = sorted(set(words))
        encoded = self._tokenizer.encode_batch([self.prefix + word for word in unseen], add_special_tokens=False)
        for word, pieces in zip(unseen, encoded):
            # White space, control characters and the like have no pieces in most vocabularies.
            self._known[word] = pieces.ids or [self.unk]
        return [self._known[word][:max_pieces] for word in words]

    def to_json(self) -> str:
        special = [self.pad, self.unk, *self.special.prefix, *self.special.suffix]
        return json.dumps({"tokenizer": self.tokenizer, "special": special, "prefix": self.prefix})

    @classmethod
    def from_json(cls, text: str) -> WordPieces:
        data = json.loads(text)
        pad, unk, first, last = data["special"]
        return cls(data["tokenizer"], SpecialPieces([first], [last]), pad, unk, data["prefix"])
