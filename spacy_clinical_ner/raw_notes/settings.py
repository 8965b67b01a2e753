"""What an encoder is pre-trained with; the sizes and what suits each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Size:
    """A BERT and the settings that suit it. dropout: while pre-training; few passes over the notes need none."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocab_size: int
    sequence_length: int
    batch_size: int
    learning_rate: float
    dropout: float


SIZES = {
    "tiny": Size(4, 256, 4, 1024, 10_000, 128, 16, 1e-3, 0.0),
    "small": Size(6, 512, 8, 2048, 20_000, 256, 32, 5e-4, 0.1),
    "base": Size(12, 768, 12, 3072, 30_000, 512, 64, 2e-4, 0.1),
}
# Continuing an encoder: it has learnt its language, and must not forget it.
CONTINUED_LENGTH, CONTINUED_BATCH, CONTINUED_RATE = 128, 32, 1e-4
PASSES = 10  # over the notes, where nothing else limits a run
HELD_OUT_SEQUENCES = 256  # at most, for the perplexity


@dataclass(frozen=True)
class PretrainingSettings:
    """Settings of a run; together with the notes they decide its loss curve.

    size: a name of SIZES; with `start` (folder or name of an encoder to continue from) only a default for nothing.
    random_start: begin with nothing but random weights, without `start.informed_start`.
    max_steps: optimizer steps. max_minutes: wall time, over all resumptions. Without both: PASSES over the notes.
    vocab_size, sequence_length (pieces), batch_size (sequences), learning_rate (peak): None for what suits the size.
    min_notes: a word gives pieces to the vocabulary if so many notes have it. held_out: share of the notes.
    evaluations: of the perplexity, spread evenly; a checkpoint is written at each, and every `checkpoint_minutes`.
    full_precision: train in float32 also where the device has something faster.
    """

    size: str = "tiny"
    start: Optional[str] = None
    random_start: bool = False
    max_steps: Optional[int] = None
    max_minutes: Optional[float] = None
    seed: int = 0
    vocab_size: Optional[int] = None
    min_notes: int = 3
    sequence_length: Optional[int] = None
    batch_size: Optional[int] = None
    learning_rate: Optional[float] = None
    held_out: float = 0.02
    evaluations: int = 20
    checkpoint_minutes: float = 5.0
    full_precision: bool = False


@dataclass
class Schedule:
    """Learning rate by step: linear warm-up to `peak`, then linear to zero at `total`.

    Where time is the limit, `total` is known only after the first steps, and may be corrected: from then on the line
    goes from where it is to zero at the new total. All of this is state of the run, kept in its checkpoints.
    """

    peak: float
    warmup: int
    total: Optional[int]
    start: int = 0
    start_rate: float = 0.0

    SHARE = 0.06  # of the steps that are warm-up
    PROVISIONAL = 500  # warm-up steps while the total is unknown

    @classmethod
    def of(cls, peak: float, total: Optional[int]) -> Schedule:
        if total is None:
            return cls(peak, cls.PROVISIONAL, None)
        warmup = cls._warmup(total)
        return cls(peak, warmup, total, warmup, peak)

    def rate(self, step: int) -> float:
        """Learning rate of the step with this number, from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.total is None:
            return self.peak
        left = (self.total - step) / max(1, self.total - self.start)
        return self.start_rate * min(1.0, max(0.0, left))

    def end_at(self, total: int, step: int) -> None:
        """Make `total` the number of steps, as decided before the step with this number."""
        total = max(total, step)
        if self.total is None:
            self.warmup = self._warmup(total)
        if step < self.warmup:
            self.warmup = max(step, min(self.warmup, self._warmup(total)), 1)
            self.start, self.start_rate = self.warmup, self.peak
        else:
            self.start, self.start_rate = step, self.rate(step)
        self.total = total

    @classmethod
    def _warmup(cls, total: int) -> int:
        return max(1, min(math.ceil(cls.SHARE * total), 10_000))
