"""Encoders of Hugging Face with their tokenizers: from a folder, the hub, or what a pipeline carries along."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import srsly
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from spacy_clinical_ner.errors import ClinicalNerError, one_line

_NO_LIMIT = 10**9  # tokenizers that know of none say some such number


def load_encoder(
    name: str,
    kind: Any = AutoModel,
    tokenizer_config: Mapping[str, Any] = {},
    model_config: Mapping[str, Any] = {},
) -> Tuple[Any, Any]:
    """(tokenizer, model) of a folder, which needs no network, or of a name on the Hugging Face hub.

    kind: the class that makes the model, such as AutoModelForMaskedLM. tokenizer_config, model_config: settings for the
    tokenizer and for the model's config.
    Raises ClinicalNerError, in one line, if there is no such encoder, or none with a fast tokenizer.
    """
    tokenizer = load_tokenizer(name, **tokenizer_config)
    with _one_line_errors(name):
        local = Path(name).is_dir()
        config = AutoConfig.from_pretrained(name, local_files_only=local, **model_config)
        return tokenizer, kind.from_pretrained(name, local_files_only=local, config=config)


def load_tokenizer(name: str, **config: Any) -> Any:
    """The tokenizer of an encoder, as for `load_encoder`: a fast one, which tells where in a text each piece lies."""
    with _one_line_errors(name):
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=Path(name).is_dir(), **config)
    if not tokenizer.is_fast:
        raise ClinicalNerError(
            f"encoder '{name}': {type(tokenizer).__name__} does not tell where in a text its word pieces lie; choose "
            "one with a fast tokenizer (tokenizer.json)"
        )
    return tokenizer


def load_encoder_config(name: str) -> Dict[str, Any]:
    """What an encoder says of itself, as for `load_encoder`, without its weights."""
    with _one_line_errors(name):
        return dict(AutoConfig.from_pretrained(name, local_files_only=Path(name).is_dir()).to_dict())


def build_encoder(config: Mapping[str, Any]) -> nn.Module:
    """An encoder with random weights, from its config as `config.to_dict()` gives it. Needs no hub."""
    settings = dict(config)
    return AutoModel.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)).float()


def pack_tokenizer(tokenizer: Any) -> Dict[str, bytes]:
    """A fast tokenizer as the files that it is saved in, by name."""
    with tempfile.TemporaryDirectory() as folder:
        # The one file that a fast tokenizer needs; vocabularies of slow ones may be missing.
        tokenizer.save_pretrained(folder, legacy_format=False)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


def unpack_tokenizer(files: Mapping[str, bytes], config: Mapping[str, Any]) -> Any:
    """The tokenizer of `pack_tokenizer`. config: of its encoder, which may decide on the tokenizer's class.

    Raises ValueError for a name that leads out of a folder: pipelines come from anywhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if Path(name).name != name or name == "..":
                raise ValueError("a file of the tokenizer in this pipeline has no plain name")
            (Path(folder) / name).write_bytes(content)
        srsly.write_json(Path(folder) / "config.json", config)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def unused_positions(model: Any) -> int:
    """RoBERTa and its kin count positions from behind the number of their padding: how many before are never used."""
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def position_count(model: Any) -> Optional[int]:
    """Word pieces that a model has positions for, special ones included; None if their number does not matter to it."""
    count = getattr(model.config, "max_position_embeddings", None)
    return count - unused_positions(model) if isinstance(count, int) and count > 0 else None


def longest_input(tokenizer: Any, model: Any) -> Optional[int]:
    """Word pieces that an encoder takes at once, special ones included; None if neither part of it sets a limit."""
    limits = [tokenizer.model_max_length, position_count(model)]
    return min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Errors of the library in one line, and without its remarks on weights that a model does not use."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    except Exception as error:  # the library raises whatever its parts raise
        what = "cannot be loaded" if Path(name).is_dir() else "is no folder with one and cannot be fetched"
        raise ClinicalNerError(f"encoder '{name}' {what}: {one_line(error)}") from error
    finally:
        transformers_logging.set_verbosity(level)
