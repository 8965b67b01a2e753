"""Tiny encoders with random weights, and tokenizers of the three common kinds, trained on a few lines."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any, Optional

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import fix_random_seed
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from spacy_clinical_ner.tokenization import blank_pipeline
from tests.tagging.pipelines import make_docs, model_config

_LINES = [
    "Paciente varón de 63 años con carcinoma ductal infiltrante, G3|pT2N1M0. Se pauta 8mg/24h.",
    "Hospital course: the patient was admitted with fever and treated with ceftriaxone; Hb 9.3.",
    "患者男性，四十岁，因糖尿病入院。空腹血糖8.6。",
    "dGhpcyBpcyBiYXNlNjQ= iVBORw0KGgoAAAANSUhEUgAA",
]
KINDS = ("wordpiece", "bpe", "sentencepiece")


def corpus() -> list[str]:
    words = [doc.text for doc in make_docs(blank_pipeline("es"), 20)]
    return [*_LINES * 3, *words]


@cache
def trained_tokenizer(kind: str) -> Any:
    return train_tokenizer(kind)


def train_tokenizer(kind: str) -> Any:
    """A fast Hugging Face tokenizer: of BERT's kind, of RoBERTa's or of XLM-RoBERTa's and ALBERT's."""
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer: Any
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=600, special_tokens=special, unk_token="[UNK]", show_progress=False
        )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **{f"{key}_token": value for key, value in names.items()}
    )


def make_encoder(kind: str, folder: Path, layers: int = 1, positions: int = 64, **sizes: Any) -> Path:
    """A folder with a tokenizer and an encoder: BERT, RoBERTa or ALBERT, by the kind of the tokenizer."""
    from transformers import AlbertConfig, AlbertModel, BertConfig, BertModel, RobertaConfig, RobertaModel

    fix_random_seed(0)
    tokenizer = trained_tokenizer(kind)
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        **sizes,
    }
    if kind == "wordpiece":
        BertModel(BertConfig(max_position_embeddings=positions, **sizes)).save_pretrained(folder)
    elif kind == "bpe":
        # RoBERTa counts positions from its padding id on.
        RobertaModel(RobertaConfig(max_position_embeddings=positions + 1, pad_token_id=0, **sizes)).save_pretrained(
            folder
        )
    else:
        AlbertModel(AlbertConfig(max_position_embeddings=positions, embedding_size=16, **sizes)).save_pretrained(folder)
    return folder


def trf_model(encoder: Path, window: int = 32, overlap: int = 8, **settings: Any) -> dict:
    """The config of our model over an encoder."""
    return {
        "@architectures": "spacy-clinical-ner.TransformerModel.v1",
        "name": str(encoder),
        "get_spans": {
            "@span_getters": "spacy-clinical-ner.WordPieceWindows.v1",
            "window": window,
            "overlap": overlap,
        },
        **settings,
    }


LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "pooling": {"@layers": "reduce_mean.v1"},
}
CHECK = {"@annotation_setters": "spacy-clinical-ner.EveryTokenRepresented.v1"}


def trf_pipeline(encoder: Path, window: int = 32, overlap: int = 8, **settings: Any) -> Language:
    """An initialised pipeline of a transformer alone, spaCy's own tokenizer in front."""
    fix_random_seed(0)
    nlp = spacy.blank("es")
    nlp.add_pipe(
        "transformer", config={"model": trf_model(encoder, window, overlap, **settings), "set_extra_annotations": CHECK}
    )
    nlp.get_pipe("transformer").model.initialize()
    return nlp


def tagging_pipeline(encoder: Path, tagger: Optional[dict] = None, **settings: Any) -> Language:
    """A transformer with a `crf_ner` that listens to it, not initialised."""
    fix_random_seed(0)
    nlp = blank_pipeline("es")
    nlp.add_pipe("transformer", config={"model": trf_model(encoder, **settings), "set_extra_annotations": CHECK})
    nlp.add_pipe("crf_ner", config={"model": model_config(**{"tok2vec": LISTENER, **(tagger or {})})})
    return nlp


def base64_text(length: int, seed: int = 0) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return "".join(random.Random(seed).choices(alphabet, k=length))


def token_vectors(doc: Doc) -> Any:
    """(tokens, width) means over the word pieces of each token, computed without a listener."""
    data = doc._.trf_data
    rows = data.model_output.last_hidden_state.reshape(-1, data.width)
    return [rows[data.align[i].dataXd.ravel()].mean(0) for i in range(len(doc))]
