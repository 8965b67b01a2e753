"""The masked language model: Hugging Face's classes, and a loss that projects only what is to be predicted."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Optional, Tuple

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM
from transformers.utils import logging as transformers_logging

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.raw_notes.settings import Size

FINE_TUNING_DROPOUT = 0.1
_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")
# Where model classes keep the head that turns the encoder's output (..., width) into scores (..., vocabulary).
_HEADS = ("cls", "lm_head", "predictions")


def new_model(size: Size, vocab_size: int, length: int, pad: int) -> BertForMaskedLM:
    """A BERT with random weights, from torch's random state. length: of the longest sequence it can read."""
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.feed_forward,
        max_position_embeddings=length,
        pad_token_id=pad,
        # BERT's 0.02 is made for a width of 768; narrower layers would hardly change what goes through them.
        initializer_range=0.8 / size.width**0.5,
        **dict.fromkeys(_DROPOUTS, size.dropout),
    )
    return BertForMaskedLM(config)


def load_encoder(start: str) -> Tuple[Any, Any]:
    """(tokenizer, model with a head for masked language modelling) of a folder or a name that Hugging Face knows.

    Raises ClinicalNerError, in one line, if it cannot be loaded, or if it has no mask or no fast tokenizer.
    """
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(start)
            model = AutoModelForMaskedLM.from_pretrained(start)
    except Exception as error:  # the library raises whatever its parts raise
        what = "cannot be loaded" if Path(start).is_dir() else "is no folder, and not found in the cache or on the hub"
        raise ClinicalNerError(f"encoder {start} {what} ({type(error).__name__})") from None
    if not getattr(tokenizer, "is_fast", False) or tokenizer.mask_token_id is None:
        raise ClinicalNerError(f"encoder {start} needs a fast tokenizer (tokenizer.json) that has a mask")
    return tokenizer, model


def longest_sequence(tokenizer: Any, model: Any) -> int:
    """Pieces that the encoder can read at once, special ones included."""
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)  # RoBERTa and its kin count positions from behind it
    return min(positions - (0 if padding is None else padding + 1), tokenizer.model_max_length)


def gathers(model: Any) -> bool:
    """Whether the head of this model can be applied to single positions."""
    return any(isinstance(getattr(model, name, None), nn.Module) for name in _HEADS)


def masked_logits(
    model: Any, ids: torch.Tensor, mask: Optional[torch.Tensor], selected: torch.Tensor, gather: bool = True
) -> torch.Tensor:
    """Scores (selected positions, vocabulary) of what stands at the selected positions of `ids` (sequences, length).

    mask: which positions are no padding, None if all. The vocabulary is by far the widest layer of a small encoder,
    and a seventh of the positions is to be predicted: only these go through it, where the model class allows it.
    """
    if gather:
        hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[selected]
        head = next(module for name in _HEADS if (module := getattr(model, name, None)) is not None)
        return head(hidden)
    return model(input_ids=ids, attention_mask=mask).logits[selected]


def parameter_groups(model: nn.Module, weight_decay: float) -> list:
    """For the optimizer: biases and normalisation layers are not decayed."""
    decayed = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def save_encoder(folder: Path, tokenizer: Any, model: Any, fresh: bool) -> None:
    """Write an ordinary Hugging Face folder. fresh: the config then asks for dropout, which fine-tuning needs."""
    if fresh:
        for name in _DROPOUTS:
            setattr(model.config, name, FINE_TUNING_DROPOUT)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's remarks on weights that a head does not use."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
