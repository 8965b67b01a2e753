"""Training loggers: one that leaves what the report draws, and one for trainings whose scores say nothing."""

from __future__ import annotations

import json
import platform
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Callable, Dict, Optional, Tuple

from spacy.language import Language
from spacy.training.loggers import console_logger
from spacy.util import registry
from tqdm import tqdm

from spacy_clinical_ner.files import replacing

Logger = Callable[[Language, IO, IO], Tuple[Callable[[Optional[Dict[str, Any]]], None], Callable[[], None]]]

_PACKAGES = ("spacy-clinical-ner", "spacy", "thinc", "torch", "transformers", "numpy")


@registry.loggers("spacy-clinical-ner.JsonlLogger.v1")
def JsonlLogger(path: Optional[str] = None, progress_bar: bool = False) -> Logger:
    """spaCy's console table and, at `path`, the same as JSON lines, which `clinical-ner report --training` draws.

    The first line is {"started": time in UTC, "versions": {package: version}}; then there is one for each evaluation:
    {"step", "epoch", "seconds": since the start, "words": trained on so far, "losses": {component: loss since the last
    evaluation}, "scores": {name: percent}, "score": the one that counts, 0 to 1}. A file of an earlier training is
    replaced. progress_bar: as of spaCy's console logger.
    """

    def setup(
        nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr
    ) -> Tuple[Callable[[Optional[Dict[str, Any]]], None], Callable[[], None]]:
        log_console, finish = console_logger(progress_bar=progress_bar)(nlp, stdout, stderr)
        weights = nlp.config["training"]["score_weights"]
        shown = [name for name, weight in weights.items() if weight is not None and name != "speed"]
        if path is not None:
            started = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with replacing(path) as temporary:
                temporary.write_text(json.dumps({"started": started, "versions": _versions()}) + "\n", encoding="utf8")

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            log_console(info)
            if info is None or path is None:
                return
            scores = {name: info["other_scores"].get(name) for name in shown}
            row = {
                **{key: info[key] for key in ("step", "epoch", "seconds", "words")},
                "losses": {name: float(loss) for name, loss in info["losses"].items()},
                "scores": {name: 100 * float(score) for name, score in scores.items() if score is not None},
                "score": float(info["score"]),
            }
            # Opened each time: a training that is killed leaves whole lines.
            with Path(path).open("a", encoding="utf8") as file:
                file.write(json.dumps(row) + "\n")

        return log_step, finish

    return setup


@registry.loggers("spacy-clinical-ner.UpdateLogger.v1")
def UpdateLogger() -> Logger:
    """A bar over `training.max_steps` on a terminal's stderr; the number of updates goes to `nlp.meta["updates"]`."""

    def setup(
        nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr
    ) -> Tuple[Callable[[Optional[Dict[str, Any]]], None], Callable[[], None]]:
        nlp.meta["updates"] = 0
        progress = tqdm(total=nlp.config["training"]["max_steps"] or None, unit="update", file=stderr, disable=None)

        def log_step(info: Optional[Dict[str, Any]]) -> None:
            nlp.meta["updates"] += 1
            progress.update()

        return log_step, progress.close

    return setup


def _versions() -> Dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
