"""Registered functions for the configs of benchmarks, for `spacy train --code`.

What the comparison with EDS-NLP needs to be equal on both sides: a learning rate of its own for the tagger's head, and
the time that updates take, noted step by step. And for the papers' tables: what an epoch takes, evaluation left out.
"""

import json
import re
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Tuple, Union

from spacy.language import Language
from spacy.schemas import ConfigSchemaTraining
from spacy.training.loggers import console_logger
from spacy.util import registry, resolve_dot_names
from thinc.api import Optimizer
from thinc.types import Generator


class HeadRateOptimizer(Optimizer):
    """Thinc's Adam, with the rate of some parameters multiplied.

    head: regular expression that the names of those parameters match from their start. head_factor: the multiplier.
    """

    def __init__(self, *args: Any, head: str, head_factor: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_head = re.compile(head).match
        self._head_factor = head_factor

    def __call__(self, key: Tuple[int, str], weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> Tuple[Any, Any]:
        factor = self._head_factor if self._is_head(key[1]) else 1.0
        return super().__call__(key, weights, gradient, lr_scale=lr_scale * factor)


@registry.optimizers("clinical-benchmarks.HeadRateAdam.v1")
def create_head_rate_adam(
    learn_rate: Union[float, List[float], Generator],
    head: str,
    head_factor: float,
    L2: float = 0.0,
    grad_clip: float = 1.0,
) -> Optimizer:
    """Adam with decoupled weight decay (AdamW) without averages."""
    return HeadRateOptimizer(
        learn_rate,
        L2=L2,
        grad_clip=grad_clip,
        L2_is_weight_decay=True,
        use_averages=False,
        head=head,
        head_factor=head_factor,
    )


@registry.loggers("clinical-benchmarks.StepTimes.v1")
def create_step_times(path: str) -> Callable[[Language, IO, IO], Tuple[Callable, Callable]]:
    """Write both clocks after every step to a JSON list of pairs: wall and CPU time, in seconds since some moment."""

    def set_up(nlp: Language, stdout: IO, stderr: IO) -> Tuple[Callable, Callable]:
        clocks: List[Tuple[float, float]] = []

        def step(info: Optional[Dict[str, Any]]) -> None:
            clocks.append((time.perf_counter(), time.process_time()))
            if info is not None:
                losses = ", ".join(f"{name} {loss:.2f}" for name, loss in info["losses"].items())
                print(f"step {info['step']}, epoch {info['epoch']}: {losses}", file=stdout, flush=True)
            elif len(clocks) % 20 == 0:
                print(f"step {len(clocks) - 1}", file=stdout, flush=True)

        def finish() -> None:
            Path(path).write_text(json.dumps(clocks), encoding="utf8")

        return step, finish

    return set_up


@registry.loggers("clinical-benchmarks.EpochTimes.v1")
def create_epoch_times(path: str) -> Callable[[Language, IO, IO], Tuple[Callable, Callable]]:
    """spaCy's console table, and a JSON file with what training itself takes, without evaluating, saving and reading.

    {"words_in_epoch": tokens of the training corpus, "steps": [[words, wall seconds, CPU seconds], ...]}
    """

    def set_up(nlp: Language, stdout: IO, stderr: IO) -> Tuple[Callable, Callable]:
        step_console, finish_console = console_logger(progress_bar=False)(nlp, stdout, stderr)
        words_in_epoch = _training_words(nlp)
        steps: List[Tuple[int, float, float]] = []
        clock = StepClock()
        update, evaluate = nlp.update, nlp.evaluate

        # The loop tells a logger nothing but that a step is over, evaluation and saving included.
        def timed_update(examples: Any, *args: Any, **kwargs: Any) -> Any:
            examples = list(examples)
            clock.start(sum(map(len, examples)))
            return update(examples, *args, **kwargs)

        def untimed_evaluate(*args: Any, **kwargs: Any) -> Any:
            clock.stop()
            return evaluate(*args, **kwargs)

        def step(info: Optional[Dict[str, Any]]) -> None:
            # Where nothing was evaluated, this call ends the step.
            clock.stop()
            steps.append(clock.take())
            step_console(info)

        def finish() -> None:
            finish_console()
            report = {"words_in_epoch": words_in_epoch, "steps": steps}
            Path(path).write_text(json.dumps(report), encoding="utf8")

        nlp.update, nlp.evaluate = timed_update, untimed_evaluate  # type: ignore[method-assign]
        return step, finish

    return set_up


class StepClock:
    """Words and both clocks of one step, from its first update (gradients may add up over several) to its end."""

    def __init__(self) -> None:
        self._words = 0
        self._begun: Optional[Tuple[float, float]] = None
        self._spent: Optional[Tuple[float, float]] = None

    def start(self, words: int) -> None:
        if self._begun is None:
            self._begun = (time.perf_counter(), time.process_time())
        self._words += words

    def stop(self) -> None:
        """Only the first call of a step counts."""
        if self._begun is not None and self._spent is None:
            wall, cpu = self._begun
            self._spent = (time.perf_counter() - wall, time.process_time() - cpu)

    def take(self) -> Tuple[int, float, float]:
        """(words, wall seconds, CPU seconds); the clock is ready for the next step."""
        wall, cpu = self._spent or (0.0, 0.0)
        result = (self._words, wall, cpu)
        self.__init__()  # type: ignore[misc]
        return result


def _training_words(nlp: Language) -> int:
    config = nlp.config.interpolate()
    training = registry.resolve(config["training"], schema=ConfigSchemaTraining)
    (corpus,) = resolve_dot_names(config, [training["train_corpus"]])
    return sum(map(len, corpus(nlp)))
