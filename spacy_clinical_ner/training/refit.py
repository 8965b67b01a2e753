"""Training a finished pipeline once more, on the notes that had stopped its training too."""

from __future__ import annotations

import io
import math
import tempfile
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

import spacy
from spacy.cli._util import setup_gpu
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import set_dot_to_object, walk_dict
from thinc.api import Config

from spacy_clinical_ner.brat import list_notes
from spacy_clinical_ner.brat.reader import open_docbin
from spacy_clinical_ner.errors import ClinicalNerError, InputError, one_line
from spacy_clinical_ner.pipelines import load_pipeline

PathLike = Union[str, Path]

READER = "spacy-clinical-ner.BratCorpus.v1"
# What is chosen on notes that were not trained on, and cannot be chosen once all are.
TUNED = ("threshold", "temperature")
# The evaluation that spaCy does before the first and after the last step says nothing here, so it is kept short.
EVALUATED = 5


def refit(
    pipeline: str,
    sources: Sequence[PathLike],
    *,
    steps: Optional[int] = None,
    same_passes: bool = False,
    seed: Optional[int] = None,
    gpu_id: int = -1,
) -> Language:
    """Train the config of a pipeline from the start on all of `sources`, and give it the thresholds of the old one.

    Early stopping and tuning want notes that are not trained on, and a small corpus can ill spare them. The first
    training tells what they have to tell; the second goes on to its last step, or epoch, on those notes too.

    pipeline: a trained pipeline, folder or installed package. sources: BRAT folders or .spacy files. steps: by default
    `training.max_steps` of the config, which the learning rates of a schedule are made for. same_passes:
    as many more steps as there are more notes than in the first training, so that each is seen as often. seed: of
    weights and order; by default that of the config. gpu_id: -1 for the CPU.

    Its meta has no scores, since no note is left to score it on, and tells under "refit" how many notes there were and
    how many updates.

    Raises InputError for notes that cannot be read, ClinicalNerError for a pipeline that cannot be loaded, or whose
    config has no `training.max_steps`, another reader than `BratCorpus.v1`, or vectors that are no longer there; with
    same_passes also if the notes of the first training are not there.
    """
    old = load_pipeline(pipeline)
    n_notes = sum(count_notes(Path(source)) for source in sources)
    if same_passes:
        steps = steps_of_same_passes(old.config, pipeline, n_notes)
    config = refit_config(old.config, pipeline, sources, steps, seed)
    setup_gpu(gpu_id, silent=True)
    try:
        nlp = init_nlp(config, use_gpu=gpu_id)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise ClinicalNerError(f"{pipeline}: its config cannot be trained again: {one_line(error)}") from error
    with tempfile.TemporaryDirectory() as folder:
        # What spaCy prints would tell of this folder, and of scores on notes that are trained on.
        train(nlp, Path(folder), use_gpu=gpu_id, stdout=io.StringIO())
        nlp = spacy.load(Path(folder) / "model-last")
    for name in old.pipe_names:
        copy_tuned(old.get_pipe(name), nlp.get_pipe(name))
    nlp.meta["performance"] = {}
    nlp.meta["refit"] = {"notes": n_notes, "updates": nlp.meta.pop("updates")}
    return nlp


def count_notes(source: Path) -> int:
    """Notes of a BRAT folder or .spacy file. Raises InputError for anything else."""
    if source.suffix != ".spacy":
        return len(list_notes(source))
    return len(open_docbin(source))


def steps_of_same_passes(config: Config, pipeline: str, n_notes: int) -> int:
    """The steps of a config in proportion to the notes: `n_notes` now to those that it was trained on.

    Raises ClinicalNerError if those cannot be counted.
    """
    config = Config(config).interpolate()
    reader = config.get("corpora", {}).get("train", {})
    paths = reader.get("path") or []
    try:
        counts = [count_notes(Path(path)) for path in ([paths] if isinstance(paths, str) else paths)]
    except InputError as error:
        raise ClinicalNerError(f"{pipeline}: the notes it was trained on cannot be counted: {error}") from error
    n_before = min(sum(counts), reader.get("limit") or sum(counts))
    if not n_before:
        raise ClinicalNerError(f"{pipeline}: its config does not name the notes it was trained on: say --steps")
    return math.ceil(config["training"]["max_steps"] * n_notes / n_before)


def refit_config(
    config: Config, pipeline: str, sources: Sequence[PathLike], steps: Optional[int], seed: Optional[int] = None
) -> Config:
    """The config for `refit`: all notes, all steps, no stopping; components that were frozen are those of `pipeline`.

    The config that is given stays as it is. Raises ClinicalNerError as `refit` says.
    """
    config = config.copy()
    training = config["training"]
    if steps is not None:
        # Pipelines are saved with the number itself in their schedules, which end where the training does.
        for path, value in walk_dict(training.get("optimizer") or {}):
            if path[-1] == "total_steps" and value == training["max_steps"]:
                set_dot_to_object(training["optimizer"], ".".join(path), steps)
        training["max_steps"] = steps
    if seed is not None:
        config["system"]["seed"] = training["seed"] = seed
    if not training["max_steps"]:
        raise ClinicalNerError(f"{pipeline}: its config has no training.max_steps: say how many with --steps")
    training.update({"patience": 0, "eval_frequency": training["max_steps"]})
    training["logger"] = {"@loggers": "spacy-clinical-ner.UpdateLogger.v1"}
    for part, limit in (("train", 0), ("dev", EVALUATED)):
        reader = config.get("corpora", {}).get(part, {})
        if reader.get("@readers") != READER:
            raise ClinicalNerError(f"{pipeline}: corpora.{part} of its config is not read by {READER}")
        reader.update({"path": [str(Path(source).resolve()) for source in sources], "limit": limit})
    for name in training.get("frozen_components") or ():
        config["components"][name] = {"source": pipeline}
    return config


def copy_tuned(old: Any, new: Any) -> None:
    """Give a component what was tuned for another one like it."""
    known: Dict[str, Any] = getattr(old, "cfg", {})
    new_cfg: Dict[str, Any] = getattr(new, "cfg", {})
    new_cfg.update({key: known[key] for key in TUNED if key in known})
