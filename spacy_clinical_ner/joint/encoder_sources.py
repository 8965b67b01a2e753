"""Where the encoder of a joint extractor comes from: a model of Hugging Face, or a small one made on the spot."""

import json
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, NamedTuple

import torch
from spacy.util import registry
from torch import Tensor, nn

from spacy_clinical_ner.layers.focused_attention import check_layout
from spacy_clinical_ner.transformers.loading import build_encoder, load_encoder
from spacy_clinical_ner.transformers.new_bert import new_bert
from spacy_clinical_ner.transformers.vocabulary import train_tokenizer
from spacy_clinical_ner.transformers.word_pieces import WordPieces


class EncoderParts(NamedTuple):
    """All that it takes to build an encoder again.

    config: JSON of its Hugging Face config. pieces: its word pieces. weights: its state dict.
    """

    config: str
    pieces: WordPieces
    weights: Dict[str, Tensor]

    @classmethod
    def of(cls, tokenizer: Any, model: Any) -> "EncoderParts":
        model = without_pooler(model)
        return cls(json.dumps(model.config.to_dict(), default=str), WordPieces.of(tokenizer), model.state_dict())


# What makes the parts of an encoder when a pipeline is initialised, from the words of each training note.
EncoderSource = Callable[[Iterable[List[str]]], EncoderParts]


@registry.misc("spacy-clinical-ner.TinyEncoder.v1")
@dataclass(frozen=True)
class TinyEncoder:
    """A small BERT without pre-training, and word pieces learned from the training notes. Needs no download.

    width, layers, heads, inner_width (of the feed-forward layers), positions, dropout: of the BERT.
    vocabulary: most word pieces. min_documents: words of fewer notes have no part in them, so that the name of one
        patient is no word piece of the pipeline.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    inner_width: int = 256
    positions: int = 512
    vocabulary: int = 2000
    min_documents: int = 2
    dropout: float = 0.1

    def __call__(self, notes: Iterable[List[str]]) -> EncoderParts:
        texts = [" ".join(words) for words in notes]
        tokenizer = train_tokenizer(texts, self.vocabulary, min_notes=min(self.min_documents, len(texts)))
        config = new_bert(
            vocabulary=len(tokenizer),
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            inner_width=self.inner_width,
            positions=self.positions,
            dropout=self.dropout,
            gain=1.0,
        )
        model: Any = build_encoder(config.to_dict())
        with torch.no_grad():
            # What each layer adds to its input starts small, or six layers do not begin to learn (Radford et al. 2019).
            for layer in model.encoder.layer:
                for dense in (layer.attention.output.dense, layer.output.dense):
                    dense.weight.mul_((2 * self.layers) ** -0.5)
        return EncoderParts.of(tokenizer, model)


@registry.misc("spacy-clinical-ner.PretrainedEncoder.v1")
@dataclass(frozen=True)
class PretrainedEncoder:
    """A BERT, or a model that shares its layout (RoBERTa, ELECTRA), with the weights it was published with.

    name: a folder, which needs no network, or a name on the Hugging Face hub. It is read once, when the pipeline is
        initialised: the pipeline carries weights and tokenizer itself.
    """

    name: str

    def __call__(self, notes: Iterable[List[str]]) -> EncoderParts:
        tokenizer, model = load_encoder(self.name)
        check_layout(model.config)
        return EncoderParts.of(tokenizer, model)


def without_pooler(model: Any) -> nn.Module:
    """An encoder without what focused attention does not use: the pooler's weights would be saved for nothing."""
    model.pooler = None
    return model
