"""What the command `spacy train` does, in this process and with errors that fit on one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Optional, Union

from spacy.cli._util import setup_gpu
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Config

from spacy_clinical_ner.errors import ClinicalNerError, InputError, one_line
from spacy_clinical_ner.pipelines import problem_of

PathLike = Union[str, Path]

CLEAN = "spacy-clinical-ner.CleanVocabulary.v1"


def read_config(path: PathLike, overrides: Optional[Dict[str, Any]] = None, *, interpolate: bool = False) -> Config:
    """A config file with settings in dotted form put over its own. Raises InputError for a file that is none."""
    if not Path(path).is_file():
        raise InputError(path, None, "no such config")
    try:
        return load_config(path, overrides=overrides or {}, interpolate=interpolate)
    except (OSError, ValueError) as error:
        raise InputError(path, None, f"not a config, or not one with these settings: {one_line(error)}") from None


def training_config(path: PathLike, overrides: Dict[str, Any]) -> Config:
    """`read_config` of a training: it must have a section of that name."""
    config = read_config(path, overrides)
    if "training" not in config:
        raise InputError(path, None, "no [training]: not the config of a training")
    return config


def saves_clean(config: Config) -> bool:
    """Whether a config has the callback that keeps the words of the notes out of what is saved."""
    callback = config.get("training", {}).get("before_to_disk") or {}
    return callback.get("@callbacks") == CLEAN


def train_config(config: PathLike, output: Path, overrides: Dict[str, Any], gpu_id: int = -1) -> None:
    """Train the pipeline of a config file into OUTPUT/model-best and OUTPUT/model-last, without words of the notes.

    Raises InputError for a config or a corpus that cannot be read, and ClinicalNerError if the training cannot be begun
    or breaks off: settings that cannot be, labels that are not there, no memory, no word vectors where a component
    that was taken from another pipeline looks them up.
    """
    loaded = training_config(config, overrides)
    if not saves_clean(loaded):
        before = loaded["training"].get("before_to_disk")
        loaded["training"]["before_to_disk"] = {"@callbacks": CLEAN, **({"first": before} if before else {})}
    output.mkdir(parents=True, exist_ok=True)
    setup_gpu(gpu_id)
    try:
        nlp = init_nlp(loaded, use_gpu=gpu_id)
        problem = problem_of(nlp)
        if problem is not None:
            raise ClinicalNerError(problem)
        train(nlp, output, use_gpu=gpu_id, stdout=sys.stdout, stderr=sys.stderr)
    except InputError:
        raise
    except (ClinicalNerError, OSError, RuntimeError, ValueError) as error:
        raise ClinicalNerError(f"{config}: cannot be trained: {one_line(error)}") from error
