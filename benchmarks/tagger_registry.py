"""Registered functions for the configs of benchmarks, for `spacy train --code`.

Two things that the comparison with EDS-NLP needs to be equal on both sides: a learning rate of its own for the
tagger's head, and the time that updates take, noted step by step.
"""

import json
import re
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Tuple, Union

from spacy.language import Language
from spacy.util import registry
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
