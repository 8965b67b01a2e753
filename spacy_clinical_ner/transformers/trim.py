"""A multilingual vocabulary cut to what notes use: the encoder computes the same, with most of its embeddings gone.

Kept are the special pieces, those that the tokenizer makes of the notes, and the single characters that any text of the
languages may hold: its letters, and everything that is no letter (digits, punctuation, signs). A text whose pieces are
all kept, and known, is split as before:
- WordPiece takes the longest piece that fits, Unigram the best path, and either stays the best when others go. (The
  score of the unknown hangs on the lowest one in the vocabulary, so that piece stays too.)
- BPE joins pairs in a fixed order; whatever stands around it, a piece is made of its characters by the same steps. So
  these and the pieces between are kept with it.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerFast

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.outputs import ENCODER, check_output
from spacy_clinical_ner.transformers.loading import load_encoder, unused_positions
from spacy_clinical_ner.transformers.pieces import collapse

# What is written before a piece that begins a word, or one that continues it.
_MARKS = ("\u2581", "##", "\u0120")
_BYTES = {f"<0x{number:02X}>" for number in range(256)}
# Scripts by the names of their letters in Unicode; Greek is in all clinical notes (µg, α-blocker).
_EVERYWHERE = ("LATIN", "GREEK")
_SCRIPTS: Dict[str, Tuple[str, ...]] = {
    **dict.fromkeys(("bg", "ky", "mk", "ru", "sr", "tt", "uk"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("DEVANAGARI",)),
    **dict.fromkeys(("am", "ti"), ("ETHIOPIC",)),
    "bn": ("BENGALI",),
    "gu": ("GUJARATI",),
    "he": ("HEBREW",),
    "hy": ("ARMENIAN",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "kn": ("KANNADA",),
    "ko": ("HANGUL", "CJK"),
    "ml": ("MALAYALAM",),
    "si": ("SINHALA",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
    "zh": ("CJK", "BOPOMOFO"),
}


@dataclass(frozen=True)
class TrimSummary:
    """Word pieces, and megabytes (10^6 bytes) of the weights on disk, before and after."""

    notes: int
    pieces_before: int
    pieces: int
    megabytes_before: float
    megabytes: float


def trim(
    encoder: str,
    output: Path,
    texts: Iterable[str],
    langs: Sequence[str] = (),
    *,
    float16: bool = False,
    sources: Sequence[Path] = (),
    overwrite: bool = False,
) -> TrimSummary:
    """Write the encoder with the word pieces that texts and languages need to the folder `output`, whole or not at all.

    encoder: a folder, or a name on the Hugging Face hub; a head for masked language modelling is trimmed with it.
    langs: spaCy's codes. float16: store the weights in half precision. sources: files and folders that the texts come
    from, which are never written over.
    Raises OutputError for an output that cannot or may not be written, and ClinicalNerError for an encoder, language or
    tokenizer that this cannot be done with.
    """
    check_output(output, ENCODER, inputs=[encoder], overwrite=overwrite)
    tokenizer, model = _load(encoder)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = _Vocabulary(spec)
    scripts = _scripts(langs)
    used, notes = _used(tokenizer, texts)
    added = {token["content"] for token in spec["added_tokens"]}
    needed = {piece for piece in vocabulary.numbers if _is_needed(piece, scripts)}
    first = set(tokenizer.convert_ids_to_tokens(range(unused_positions(model))))  # positions count from the padding
    kept = _cut(spec, vocabulary, vocabulary.closed({*used, *needed, *first, *added, *_BYTES}))
    pieces_before, before = model.get_input_embeddings().weight.shape[0], _megabytes(model)
    _cut_weights(model, kept)
    if float16:
        model = model.half()
    with replacing(output) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        _rewrap(tokenizer, spec).save_pretrained(temporary)
    return TrimSummary(notes, pieces_before, len(kept), before, _megabytes(model))


def _load(encoder: str) -> Tuple[Any, Any]:
    """(tokenizer, model), with its head for masked language modelling if it has one."""
    tokenizer, model = load_encoder(encoder, AutoModelForMaskedLM)
    if any(str(name).endswith("ForMaskedLM") for name in model.config.architectures or []):
        return tokenizer, model
    return load_encoder(encoder)


def _used(tokenizer: Any, texts: Iterable[str]) -> Tuple[Set[str], int]:
    """The pieces that notes are split into, as they are and as models see them; and how many notes."""
    used: Set[str] = set()
    notes = 0
    for text in texts:
        notes += 1
        for form in dict.fromkeys((text, collapse(text).text)):
            used.update(tokenizer.backend_tokenizer.encode(form, add_special_tokens=False).tokens)
    return used, notes


def _scripts(langs: Sequence[str]) -> Tuple[str, ...]:
    """Names of scripts. Raises ClinicalNerError for a language that spaCy does not know."""
    for lang in langs:
        if not (lang.isalpha() and lang.isascii() and find_spec(f"spacy.lang.{lang}")):
            raise ClinicalNerError(f"no language '{lang}': use spaCy's codes, such as es, en, zh")
    return (*_EVERYWHERE, *(script for lang in langs for script in _SCRIPTS.get(lang, ())))


def _is_needed(piece: str, scripts: Tuple[str, ...]) -> bool:
    """Whether a piece is a single character that is no letter, or a letter of these scripts, marks left out."""
    for mark in _MARKS:
        if piece.startswith(mark) and len(piece) > len(mark):
            piece = piece[len(mark) :]
            break
    if len(piece) != 1:
        return False
    return not unicodedata.category(piece).startswith("L") or unicodedata.name(piece, "").startswith(scripts)


class _Vocabulary:
    """The vocabulary of a tokenizer's model, from the tokenizer's JSON. numbers: of its pieces, added ones left out.

    Raises ClinicalNerError for a kind that cannot be trimmed.
    """

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._model = model = spec["model"]
        self.kind = model.get("type")
        if self.kind == "Unigram":
            self.numbers = {piece: number for number, (piece, _) in enumerate(model["vocab"])}
        elif self.kind in ("WordPiece", "BPE") and not model.get("end_of_word_suffix"):
            self.numbers = model["vocab"]
        else:
            raise ClinicalNerError("this vocabulary cannot be trimmed: only Unigram, WordPiece and BPE by bytes can")
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model.get("merges", [])]
        self._rank = {pair: rank for rank, pair in enumerate(merges)}
        self._joined: Set[Tuple[str, ...]] = set()
        self._by_bytes = self.kind == "BPE" and "ByteLevel" in json.dumps(spec["pre_tokenizer"])

    def closed(self, keep: Set[str]) -> Set[str]:
        """The pieces of `keep` that there are, and those that they cannot do without."""
        keep = keep.intersection(self.numbers)
        if self.kind == "Unigram":
            keep.add(min(self._model["vocab"], key=lambda entry: entry[1])[0])
        if self._by_bytes:
            keep.update(piece for piece in self.numbers if len(piece) == 1)
        if self.kind == "BPE":
            for piece in sorted(keep):
                keep.update(self._steps(piece))
        return keep

    def _steps(self, piece: str) -> Iterator[str]:
        """Characters and pieces that BPE joins one after the other to make this piece; none if it never makes it."""
        parts = list(piece)
        passed, joined = [*parts], []
        while len(parts) > 1:
            pairs = list(zip(parts, parts[1:]))
            best = min(range(len(pairs)), key=lambda place: (self._rank.get(pairs[place], len(self._rank)), place))
            if pairs[best] not in self._rank:
                return
            joined.append(pairs[best])
            parts[best : best + 2] = ["".join(pairs[best])]
            passed.append(parts[best])
        self._joined.update(joined)
        yield from passed

    def cut(self, keep: Set[str]) -> None:
        """Leave only these pieces in the JSON, in their order and numbered anew."""
        if self.kind == "Unigram":
            self._model["vocab"] = [entry for entry in self._model["vocab"] if entry[0] in keep]
            return
        order = sorted(keep, key=self.numbers.__getitem__)
        self._model["vocab"] = {piece: number for number, piece in enumerate(order)}
        if self.kind == "BPE":
            # Pairs as the installed tokenizers writes and reads them: "a b" before its version 0.20.
            written = " ".join if any(isinstance(pair, str) for pair in self._model["merges"]) else list
            self._model["merges"] = [written(pair) for pair in self._rank if pair in self._joined]


def _cut(spec: Dict[str, Any], vocabulary: _Vocabulary, keep: Set[str]) -> List[int]:
    """Cut a tokenizer's JSON down to these pieces; returns the old number of each new one."""
    kept = sorted(vocabulary.numbers[piece] for piece in keep)
    own = set(vocabulary.numbers.values())
    kept += sorted(token["id"] for token in spec["added_tokens"] if token["id"] not in own)
    new = {old: number for number, old in enumerate(kept)}
    if vocabulary.kind == "Unigram" and spec["model"].get("unk_id") is not None:
        spec["model"]["unk_id"] = new[spec["model"]["unk_id"]]
    vocabulary.cut(keep)
    for token in spec["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber(spec["post_processor"], new)
    spec["padding"] = spec["truncation"] = None
    return kept


def _renumber(part: Any, new: Dict[int, int]) -> None:
    """Put the new numbers of special pieces into a post-processor: `ids` of templates, `cls` and `sep` of others."""
    if isinstance(part, list):
        for each in part:
            _renumber(each, new)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "ids":
                part[key] = [new[old] for old in value]
            elif key in ("cls", "sep") and isinstance(value, list):
                part[key] = [value[0], new[value[1]]]
            else:
                _renumber(value, new)


def _rewrap(tokenizer: Any, spec: Dict[str, Any]) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        model_max_length=tokenizer.model_max_length,
        model_input_names=tokenizer.model_input_names,
        padding_side=tokenizer.padding_side,
        clean_up_tokenization_spaces=False,
        **tokenizer.special_tokens_map_extended,
    )


def _cut_weights(model: Any, kept: List[int]) -> None:
    """Leave only these rows of the embeddings, and of the head's output where there is one."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tables = {id(each): each for each in (embeddings.weight, *([] if head is None else [head.weight, head.bias]))}
    for table in tables.values():
        if table is not None:
            table.data = table.data[kept].clone()
    embeddings.num_embeddings = len(kept)
    new = {old: number for number, old in enumerate(kept)}
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = new[embeddings.padding_idx]
    config = model.config
    config.vocab_size = len(kept)
    for key, value in config.to_dict().items():
        if key.endswith("_token_id") and isinstance(value, int):
            setattr(config, key, new.get(value))


def _megabytes(model: nn.Module) -> float:
    return sum(each.numel() * each.element_size() for each in model.parameters()) / 1e6
