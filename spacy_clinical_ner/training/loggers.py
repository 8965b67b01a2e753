"""A training logger for trainings whose scores say nothing: a progress bar, and how many updates there were."""

from __future__ import annotations

import sys
from typing import IO, Any, Callable, Dict, Optional, Tuple

from spacy.language import Language
from spacy.util import registry
from tqdm import tqdm

Logger = Callable[[Language, IO, IO], Tuple[Callable[[Optional[Dict[str, Any]]], None], Callable[[], None]]]


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
