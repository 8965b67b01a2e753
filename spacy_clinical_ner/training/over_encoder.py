"""Any config over a pre-trained encoder: what a component knows of words alone, beside what the encoder makes of them.

The settings are those that a CPU can bear: the lower two thirds of the encoder's layers stay as they are, and are run
once a note. Configs that were written for an encoder keep theirs; see `fit_to_encoder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping

import srsly
from spacy.util import load_model_from_config
from thinc.api import Config

from spacy_clinical_ner.errors import ClinicalNerError, InputError, one_line
from spacy_clinical_ner.transformers.loading import load_encoder_config

# Components whose model has a tok2vec, to which the encoder is added.
OVER_TOK2VEC = ("crf_ner", "label_attention_ner", "relation_classifier")
UPDATES = 1600  # of 1,000 word pieces
_BASE_WIDTH, _BASE_LAYERS = 768, 12


def put_over_encoder(config: Config, encoder: str) -> None:
    """Change a config, not yet interpolated, so that its components read an encoder: a folder, or a name on the hub.

    A tagger or relation classifier gets the encoder's vectors beside its own; a joint extractor has it in place of its
    own small one. Raises ClinicalNerError if no component can, or there is no such encoder.
    """
    known = encoder_config(encoder)
    if any(section not in config for section in ("nlp", "components", "training")):
        raise ClinicalNerError("an encoder needs a config with [nlp], [components] and [training]")
    if "encoder" in config.setdefault("paths", {}):
        fit_to_encoder(config, encoder, known)
        return
    components = config["components"]
    frozen = _frozen(known)
    readers = [name for name in OVER_TOK2VEC if name in components]
    if "joint_extractor" in components:
        source = {"@misc": "spacy-clinical-ner.PretrainedEncoder.v1", "name": "${paths.encoder}"}
        components["joint_extractor"]["model"].update(frozen, encoder=source)
    elif readers:
        filled = _filled(config)
        for name in readers:
            _read_both(components[name].setdefault("model", {}), filled[name]["model"]["tok2vec"])
        components["transformer"] = _transformer(frozen, known)
        components["trf_data_cleaner"] = {"factory": "trf_data_cleaner"}
        config["nlp"]["pipeline"] = ["transformer", *config["nlp"]["pipeline"], "trf_data_cleaner"]
        config["nlp"]["batch_size"] = 32
        config["training"]["batcher"] = {
            "@batchers": "spacy-clinical-ner.BatchByWordPieces.v1",
            "size": 1000,
            "tokenizer": "${paths.encoder}",
        }
    else:
        raise ClinicalNerError("none of the components in this config can read an encoder")
    config["paths"]["encoder"] = encoder
    _train_gently(config["training"])


def encoder_config(encoder: str) -> Mapping[str, Any]:
    """What an encoder says of itself. Raises InputError for a folder without one, ClinicalNerError for no such name."""
    folder = Path(encoder)
    if not folder.is_dir() and folder.is_absolute():
        raise InputError(folder, None, "no such folder")
    if not folder.is_dir():
        return load_encoder_config(encoder)
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(path, None, "no such file; give the folder of an encoder")
    try:
        return dict(srsly.read_json(path))
    except (ValueError, TypeError):
        raise InputError(path, None, "not the config of an encoder") from None


def fit_to_encoder(config: Config, encoder: str, known: Mapping[str, Any]) -> None:
    """Change a config with a transformer to fit an encoder, for example of `clinical-ner pretrain`.

    The configs are made for encoders of 768 that read 512 word pieces and have learnt much, and for a GPU. A narrower
    one trains within the hour on a CPU: with most of its layers frozen if it is as deep, which is how such an encoder
    was distilled from a wide one; else, as it has learnt little, at half the rate of the layers above it, not a tenth,
    and from smaller batches at a higher rate. Where layers are frozen already, only the windows change.
    """
    config["paths"]["encoder"] = encoder
    model, training = config["components"]["transformer"]["model"], config["training"]
    model["get_spans"].update(_windows(known))
    if model.get("freeze_layers") or int(known.get("hidden_size", _BASE_WIDTH)) >= _BASE_WIDTH:
        return
    if int(known.get("num_hidden_layers", 0)) >= _BASE_LAYERS:
        model.update(_frozen(known))
        _train_gently(training)
        training["accumulate_gradient"] = 1
        training["batcher"]["size"] = 1000
    else:
        model["rate"] = 0.5
        training.update(accumulate_gradient=1, max_steps=1500)
        training["batcher"]["size"] = 2500
        training["optimizer"]["learn_rate"].update(warmup_steps=150, initial_rate=0.001)


def _frozen(known: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings of a model whose encoder a CPU fine-tunes."""
    layers = int(known.get("num_hidden_layers", 0)) * 2 // 3
    return {"rate": 0.1, "layer_decay": 0.95, "freeze_embeddings": True, "freeze_layers": layers}


def _windows(known: Mapping[str, Any]) -> Dict[str, int]:
    """The settings of windows, special pieces included, that an encoder for less than 512 word pieces asks for."""
    pieces = int(known.get("max_position_embeddings", 512))
    return {"window": pieces, "overlap": pieces // 4} if pieces < 512 else {}


def _filled(config: Config) -> Dict[str, Any]:
    """The components of a config with all that their factories add."""
    try:
        return load_model_from_config(config.copy(), auto_fill=True, validate=False).config["components"]
    except (KeyError, ValueError) as error:
        raise ClinicalNerError(f"the config makes no pipeline: {one_line(error)}") from error


def _read_both(model: Dict[str, Any], own: Dict[str, Any]) -> None:
    """Give a model the encoder's vectors beside those of its own tok2vec, of which a config may say only a part."""
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    model["tok2vec"] = {
        "@architectures": "spacy-clinical-ner.Concatenate.v1",
        "*": {"transformer": listener, "words": own},
    }
    if "dropout" in model:
        model["dropout"] = min(model["dropout"], 0.2)
    if "members" in model:  # they would share the encoder, so more of them bring little
        model["members"] = 1


def _transformer(settings: Mapping[str, Any], known: Mapping[str, Any]) -> Dict[str, Any]:
    windows = {"@span_getters": "spacy-clinical-ner.WordPieceWindows.v1", "window": 256, "overlap": 32}
    model = {
        "@architectures": "spacy-clinical-ner.TransformerModel.v1",
        "name": "${paths.encoder}",
        "max_batch_pieces": 2048,
        **settings,
        "get_spans": {**windows, **_windows(known)},
    }
    setter = {"@annotation_setters": "spacy-clinical-ner.EveryTokenRepresented.v1"}
    return {"factory": "transformer", "set_extra_annotations": setter, "model": model}


def _train_gently(training: Dict[str, Any]) -> None:
    """A short training with a warm-up: what an encoder has learnt is soon lost."""
    rate = {
        "@schedules": "warmup_linear.v1",
        "warmup_steps": UPDATES // 20,
        "total_steps": "${training.max_steps}",
        "initial_rate": 0.001,
    }
    training["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": rate}
    training.update(dropout=0.1, max_steps=UPDATES, patience=0, eval_frequency=UPDATES // 4)
