"""The masked language model: Hugging Face's classes, and a loss that projects only what is to be predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Tuple

import torch
from torch import nn
from transformers import AutoModelForMaskedLM, BertForMaskedLM

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.raw_notes.settings import Size
from spacy_clinical_ner.transformers.loading import load_encoder
from spacy_clinical_ner.transformers.new_bert import new_bert

FINE_TUNING_DROPOUT = 0.1
_WITH_HEAD = ("ForMaskedLM", "ForPreTraining")  # names of classes that have one
# Where model classes keep the head that turns the encoder's output (..., width) into scores (..., vocabulary).
_HEADS = ("cls", "lm_head", "predictions")


def new_model(size: Size, vocab_size: int, length: int, pad: int) -> BertForMaskedLM:
    """A BERT with random weights, from torch's random state. length: of the longest sequence it can read."""
    config = new_bert(
        vocabulary=vocab_size,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        inner_width=size.feed_forward,
        positions=length,
        dropout=size.dropout,
        gain=0.8,
        pad=pad,
    )
    return BertForMaskedLM(config)


def load_masked_model(start: str) -> Tuple[Any, Any]:
    """(tokenizer, model with a head for masked language modelling) of a folder or a name on the Hugging Face hub.

    An encoder that comes without such a head gets a new one, tied to its embeddings.
    Raises ClinicalNerError, in one line, if it cannot be loaded, or if it has no mask or no fast tokenizer.
    """
    tokenizer, model = load_encoder(start, AutoModelForMaskedLM)
    if not any(str(name).endswith(_WITH_HEAD) for name in model.config.architectures or _WITH_HEAD):
        _tie(model)
    if tokenizer.mask_token_id is None:
        raise ClinicalNerError(f"encoder '{start}': its tokenizer has no mask to train with")
    return tokenizer, model


def _tie(model: Any) -> None:
    """Let the output of a new head be the embeddings of the word pieces, whatever the config says of them."""
    model.config.tie_word_embeddings = True
    output = model.get_output_embeddings()
    if output is not None:
        output.weight = model.get_input_embeddings().weight


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
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = FINE_TUNING_DROPOUT
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
