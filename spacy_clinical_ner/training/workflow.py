"""`spacy train` for a workflow: with its paths, and with other settings where the corpus is small.

Configs are made for the published corpora. On some dozens of notes, training would end before spaCy evaluates for the
second time, and the "best" pipeline would be the one after the first step.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any, Dict, Optional, Union

import srsly
import torch
from spacy.util import walk_dict
from wasabi import msg

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.training.over_encoder import put_over_encoder
from spacy_clinical_ner.training.spacy_train import read_config, train_config, training_config

PathLike = Union[str, Path]


def parse_overrides(text: str) -> Dict[str, Any]:
    """'a.b=1 c.d=x' -> {"a.b": 1, "c.d": "x"}: values are JSON where they can be, as on spaCy's command line.

    Raises ClinicalNerError for a word that is not of the form section.name=value.
    """
    overrides: Dict[str, Any] = {}
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if not equals or "." not in key:
            raise ClinicalNerError(f"'{word}' is no override of a config; write section.name=value")
        try:
            overrides[key] = srsly.json_loads(value)
        except ValueError:
            overrides[key] = value
    return overrides


def is_small(folder: PathLike, kilobytes: int) -> bool:
    """Whether the notes (.txt) below a folder hold less text than that."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*.txt")) < kilobytes * 1000


def uses_vectors(config: PathLike) -> bool:
    """Whether a component of the config takes static word vectors. Raises InputError if there is no such config."""
    components = read_config(config).get("components", {})
    return any(path[-1] == "include_static_vectors" and value is True for path, value in walk_dict(components))


def prepare_config(config: PathLike, output: Path, encoder: Optional[str] = None) -> Path:
    """OUTPUT/train.cfg: the config over the encoder, if there is one, and with our logger, which writes
    OUTPUT/log.jsonl, unless it names one itself."""
    loaded = read_config(config)
    if encoder is not None:
        put_over_encoder(loaded, encoder)
    logger = {"@loggers": "spacy-clinical-ner.JsonlLogger.v1", "path": str(output / "log.jsonl")}
    loaded["training"].setdefault("logger", logger)
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "train.cfg") as temporary:
        loaded.to_disk(temporary, interpolate=False)
    return output / "train.cfg"


def train_pipeline(
    config: PathLike,
    data: PathLike,
    output: PathLike,
    overrides: Dict[str, Any],
    *,
    encoder: Optional[str] = None,
    gpu_id: int = -1,
    threads: int = 1,
) -> Path:
    """Train on DATA/train.spacy, stop early on DATA/dev.spacy, and return the folder of the best pipeline.

    The word vectors at DATA/vectors are used if the config has a place for them: a pipeline would carry them along
    otherwise for nothing. The equivalent `spacy train` command is printed, so that it can be repeated by hand; loss and
    scores go to OUTPUT/log.jsonl.
    encoder: folder or hub name of one that the pipeline is put over, see `training.over_encoder`.
    threads: of torch on the CPU. The matrices are small, and threads that share busy cores wait for each other: on two
    of them, two threads were seen to take ten times as long as one.
    """
    data, output = Path(data), Path(output)
    overrides = {"paths.train": str(data / "train.spacy"), "paths.dev": str(data / "dev.spacy"), **overrides}
    if uses_vectors(config):
        overrides["paths.vectors"] = str(data / "vectors")
    training_config(config, overrides)  # before anything is written
    made = prepare_config(config, output, encoder)
    shown = str(made if encoder is not None else config)
    words = ["python", "-m", "spacy", "train", shown, "--output", str(output), "--gpu-id", str(gpu_id)]
    for key, value in overrides.items():
        words += [f"--{key}", value if isinstance(value, str) else srsly.json_dumps(value)]
    msg.text(shlex.join(words))
    torch.set_num_threads(threads)
    train_config(made, output, overrides, gpu_id)
    for audit in data.glob("*.audit.json"):  # `clinical-ner report --training` shows what lies beside the pipeline
        shutil.copy(audit, output)
    return output / "model-best"
