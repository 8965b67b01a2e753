"""Where the encoder of a joint extractor comes from: a model of Hugging Face, or a small one made on the spot."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Protocol

import torch
from spacy.util import registry
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from spacy_clinical_ner.errors import ClinicalNerError, one_line
from spacy_clinical_ner.layers.focused_attention import check_layout
from spacy_clinical_ner.layers.joint_network import build_encoder
from spacy_clinical_ner.layers.word_pieces import SpecialPieces, WordPieces

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class EncoderParts(NamedTuple):
    """All that it takes to build an encoder again.

    config: JSON of its Hugging Face config. pieces: its word pieces. weights: its state dict.
    """

    config: str
    pieces: WordPieces
    weights: Dict[str, Tensor]


class EncoderSource(Protocol):
    """What makes the parts of an encoder when a pipeline is initialised."""

    def __call__(self, notes: Iterable[List[str]]) -> EncoderParts:
        """notes: the words of each training note."""


class TinyEncoder(NamedTuple):
    width: int
    layers: int
    heads: int
    inner_width: int
    positions: int
    vocabulary: int
    min_documents: int
    dropout: float

    def __call__(self, notes: Iterable[List[str]]) -> EncoderParts:
        tokenizer = train_pieces(notes, self.vocabulary, self.min_documents)
        config = {
            "model_type": "bert",
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.inner_width,
            "max_position_embeddings": self.positions,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout,
            # Much less is learned from some dozens of notes with the 0.02 of BERT, which is for larger widths.
            "initializer_range": self.width**-0.5,
            "pad_token_id": 0,
        }
        pieces = WordPieces(tokenizer.to_str(), SpecialPieces(pad=0, unk=1, cls=2, sep=3))
        model: Any = build_encoder(json.dumps(config))
        with torch.no_grad():
            # What each layer adds to its input starts small, or six layers do not begin to learn (Radford et al. 2019).
            for layer in model.encoder.layer:
                for dense in (layer.attention.output.dense, layer.output.dense):
                    dense.weight.mul_((2 * self.layers) ** -0.5)
        return EncoderParts(json.dumps(config), pieces, model.state_dict())


@registry.misc("spacy-clinical-ner.TinyEncoder.v1")
def make_tiny_encoder(
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    inner_width: int = 256,
    positions: int = 512,
    vocabulary: int = 2000,
    min_documents: int = 2,
    dropout: float = 0.1,
) -> TinyEncoder:
    """A small BERT without pre-training, and word pieces learned from the training notes. Needs no download.

    width, layers, heads, inner_width (of the feed-forward layers), positions, dropout: of the BERT.
    vocabulary: most word pieces. min_documents: words and characters of fewer notes have no part in them, so that
        the name of one patient is no word piece of the pipeline.
    """
    if width % heads:
        raise ValueError(f"the heads of a tiny encoder must divide its width: {width} and {heads} do not fit")
    if positions < 8:
        raise ValueError(f"an encoder needs at least 8 positions, not {positions}")
    return TinyEncoder(width, layers, heads, inner_width, positions, vocabulary, min_documents, dropout)


class PretrainedEncoder(NamedTuple):
    name: str

    def __call__(self, notes: Iterable[List[str]]) -> EncoderParts:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        try:
            config = AutoConfig.from_pretrained(self.name)
            check_layout(config)
            tokenizer = AutoTokenizer.from_pretrained(self.name, use_fast=True)
            model = AutoModel.from_pretrained(self.name)
        except (OSError, ImportError) as error:
            raise ClinicalNerError(f"the encoder {self.name} cannot be loaded: {one_line(error)}") from error
        if not tokenizer.is_fast:
            raise ClinicalNerError(f"the encoder {self.name} has no fast tokenizer")
        model.pooler = None
        ids = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
        if None in ids:
            raise ClinicalNerError(f"the tokenizer of the encoder {self.name} lacks [PAD], [UNK], [CLS] or [SEP]")
        text = tokenizer.backend_tokenizer.to_str()
        byte_level = (json.loads(text).get("pre_tokenizer") or {}).get("type") == "ByteLevel"
        pieces = WordPieces(text, SpecialPieces(*ids), " " if byte_level else "")
        settings = {**config.to_dict(), "model_type": config.model_type}
        return EncoderParts(json.dumps(settings, default=str), pieces, model.state_dict())


@registry.misc("spacy-clinical-ner.PretrainedEncoder.v1")
def make_pretrained_encoder(name: str) -> PretrainedEncoder:
    """A BERT, or a model that shares its layout (RoBERTa, ELECTRA), with the weights it was published with.

    name: a folder, which needs no network, or a name on the Hugging Face hub. It is read once, when the pipeline is
        initialised: the pipeline carries weights and tokenizer itself.
    """
    path = Path(name)
    return PretrainedEncoder(str(path.resolve()) if path.is_dir() else name)


def train_pieces(notes: Iterable[List[str]], vocabulary: int, min_documents: int) -> Tokenizer:
    """Word pieces merged from characters (byte-pair encoding), the same ones for the same notes.

    WordPiece's trainer numbers pieces by the order of a hash table, which is another one in each process.
    """
    words: Counter = Counter()
    documents: Counter = Counter()
    characters: Counter = Counter()
    total = 0
    for note in notes:
        total += 1
        words.update(note)
        documents.update(set(note))
        characters.update(set("".join(note)))
    least = min(min_documents, total)
    alphabet = sorted(character for character, count in characters.items() if count >= least)

    def common() -> Iterator[str]:
        for word in sorted(words):
            if documents[word] >= least:
                for _ in range(words[word]):
                    yield word

    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary, len(alphabet) + len(_SPECIAL)),
        special_tokens=_SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(common(), trainer)
    return tokenizer
