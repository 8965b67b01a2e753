"""The training loop of masked language modelling: AdamW, warm-up and linear decay, held-out perplexity, checkpoints."""

from __future__ import annotations

import math
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from spacy_clinical_ner.bridge.precision import has_bfloat16
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.raw_notes.checkpoint import CheckpointFolder, Progress
from spacy_clinical_ner.raw_notes.data import Batch, MaskedNotes
from spacy_clinical_ner.raw_notes.network import gathers, masked_logits, parameter_groups
from spacy_clinical_ner.raw_notes.settings import PretrainingSettings, Schedule

BETAS, EPSILON, WEIGHT_DECAY, CLIP = (0.9, 0.98), 1e-6, 0.01, 1.0
# Where time is the limit: steps not timed, since first calls are slow, and steps timed before the total is decided.
_UNTIMED, _TIMED = 3, 20
_FLUSH = 10  # steps between looks at the loss: on a GPU, each look waits for it


class Trainer:
    """Trains `model` on `notes`, and evaluates it on `held_out` batches.

    model: a Hugging Face masked language model; left on `device`. checkpoints: None for a run that keeps no state.
    identity: what a checkpoint must agree in to be resumed. started: time.monotonic() from which minutes count.
    report: called with each evaluation.
    """

    def __init__(
        self,
        model: Any,
        notes: MaskedNotes,
        held_out: Sequence[Batch],
        settings: PretrainingSettings,
        *,
        rate: float,
        total: Optional[int],
        device: torch.device,
        checkpoints: Optional[CheckpointFolder] = None,
        identity: Optional[Dict[str, Any]] = None,
        started: Optional[float] = None,
        report: Callable[[Dict[str, Any]], None] = lambda row: None,
        progress: bool = False,
    ) -> None:
        self.model = model.to(device)
        self.notes, self.held_out, self.settings, self.device = notes, held_out, settings, device
        self.optimizer = torch.optim.AdamW(parameter_groups(model, WEIGHT_DECAY), lr=rate, betas=BETAS, eps=EPSILON)
        # With a limit on time, the total is decided once the first steps have been timed.
        if settings.max_minutes is not None and (total is None or total > _UNTIMED + _TIMED):
            self.schedule = Schedule.of(rate, None)
        else:
            self.schedule = Schedule.of(rate, total)
        self.most_steps = total
        self.progress = Progress()
        if self.schedule.total is not None:
            self.progress.every = max(1, math.ceil(self.schedule.total / settings.evaluations))
        self.checkpoints, self.identity = checkpoints, identity or {}
        self.report, self.show = report, progress
        self._gather = gathers(model)
        self._on_gpu = device.type == "cuda"
        self._half = torch.float16 if self._on_gpu and not has_bfloat16(device) else torch.bfloat16
        self._autocast = not settings.full_precision and (self._on_gpu or has_bfloat16(device))
        scaled = self._autocast and self._half == torch.float16
        if hasattr(torch.amp, "GradScaler"):
            self._scaler = torch.amp.GradScaler(device.type, enabled=scaled)
        else:  # before torch 2.3
            self._scaler = torch.cuda.amp.GradScaler(enabled=scaled)
        self._began = time.monotonic() if started is None else started
        self._before = 0.0  # seconds of the runs that this one resumes
        self._pending: List[torch.Tensor] = []

    def run(self) -> Progress:
        """Train to the end, from where `resume` has put the run."""
        self.model.train()
        limit = self.settings.max_minutes
        if not self.progress.evaluations:
            self._evaluate()
        written = time.monotonic()
        first = self.progress.step
        timed = (first, self.progress.training_seconds)  # where the stretch begins that the pace is measured on
        bar = tqdm(total=self.schedule.total, initial=first, unit="step", disable=not self.show)
        while self.schedule.total is None or self.progress.step < self.schedule.total:
            began = time.monotonic()
            self._step(bar)
            self.progress.training_seconds += time.monotonic() - began
            step = self.progress.step
            if step == first + _UNTIMED:
                timed = (step, self.progress.training_seconds)
            evaluates = self.progress.every > 0 and (step % self.progress.every == 0 or step == self.schedule.total)
            # Other programs come and go: what is left of the time decides ever anew how many steps are left.
            if limit is not None and step - timed[0] >= _TIMED and (evaluates or self.schedule.total is None):
                self._plan((self.progress.training_seconds - timed[1]) / (step - timed[0]))
                timed = (step, self.progress.training_seconds)
                bar.total = self.schedule.total
            if evaluates:
                self._evaluate()
            if evaluates or time.monotonic() - written > 60 * self.settings.checkpoint_minutes:
                self._write()
                written = time.monotonic()
        bar.close()
        self._flush()
        return self.progress

    def perplexity(self) -> float:
        """exp of the mean loss over all predicted pieces of the held-out batches."""
        return math.exp(min(self.held_out_loss(), 700.0))

    def held_out_loss(self) -> float:
        """Mean loss in nats over all predicted pieces of the held-out batches, without dropout."""
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in self.held_out:
                total += float(self._loss(batch.to(self.device), "sum"))
                count += len(batch.labels)
        self.model.train()
        return total / max(1, count)

    def _step(self, bar: tqdm) -> None:
        batch = self.notes.training_batch(self.progress.step)
        rate = self.schedule.rate(self.progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._loss(batch.to(self.device), "sum") / max(1, len(batch.labels))
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._pending.append(loss.detach())
        self.progress.step += 1
        self.progress.pieces += batch.pieces
        self.progress.rates.append(rate)
        if len(self._pending) >= _FLUSH:
            self._flush()
            bar.set_postfix_str(
                f"loss {self.progress.losses[-1]:.3f}, {self.progress.speed():,.0f} tokens/s", refresh=False
            )
        bar.update()

    def _loss(self, batch: Batch, reduction: str) -> torch.Tensor:
        # The perplexity is told in full precision.
        with torch.autocast(self.device.type, dtype=self._half, enabled=self._autocast and self.model.training):
            logits = masked_logits(self.model, batch.ids, batch.mask, batch.selected, self._gather)
        return cross_entropy(logits.float(), batch.labels, reduction=reduction)

    def _flush(self) -> None:
        if self._pending:
            losses = torch.stack(self._pending).tolist()
            self._pending = []
            self.progress.losses += losses
            if not all(map(math.isfinite, losses)) and not self._scaler.is_enabled():
                raise ClinicalNerError(
                    f"the loss is no number any more near step {self.progress.step}; lower --learning-rate"
                )

    def _evaluate(self) -> None:
        began = time.monotonic()
        self._flush()
        loss = self.held_out_loss()
        recent = self.progress.losses[-(self.progress.every or 1) :]
        row: Dict[str, Any] = {
            "step": self.progress.step,
            "epoch": round(self.progress.step / self.notes.steps_per_epoch, 3),
            "held_out_loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "training_loss": sum(recent) / len(recent) if recent else None,
            "tokens_per_second": round(self.progress.speed(), 1),
            "seconds": round(self._seconds(), 1),
            "evaluation_seconds": time.monotonic() - began,
        }
        self.progress.evaluations.append(row)
        self.report({**row, "total": self.schedule.total or 0})

    def _plan(self, seconds_per_step: float) -> None:
        """Decide at how many steps the time will be over."""
        assert self.settings.max_minutes is not None
        step, evaluations = self.progress.step, self.settings.evaluations
        one = self.progress.evaluations[-1]["evaluation_seconds"]
        done = step // self.progress.every if self.progress.every else 0
        left = 60 * self.settings.max_minutes - self._seconds() - one * max(1, evaluations - done)
        total = step + max(1, int(left / seconds_per_step))
        if self.most_steps is not None:
            total = min(total, self.most_steps)
        self.schedule.end_at(total, step)
        if not self.progress.every:
            self.progress.every = max(1, math.ceil(total / evaluations))

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _write(self) -> None:
        if self.checkpoints is None:
            return
        self._flush()
        self.progress.seconds = self._seconds()
        self.checkpoints.write(
            self.identity,
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "random": torch.get_rng_state(),
                "random_gpu": torch.cuda.get_rng_state(self.device) if self._on_gpu else None,
                "schedule": vars(self.schedule),
                "progress": vars(self.progress),
            },
        )

    def resume(self) -> bool:
        """Go to the last checkpoint; False if there is none. Raises ClinicalNerError if it is of another run."""
        state = self.checkpoints.read(self.identity) if self.checkpoints is not None else None
        if state is None:
            return False
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if state["random_gpu"] is not None and self._on_gpu:
            torch.cuda.set_rng_state(state["random_gpu"], self.device)
        self.schedule = Schedule(**state["schedule"])
        self.progress = Progress(**state["progress"])
        self._before = self.progress.seconds
        return True
