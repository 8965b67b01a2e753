"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.files import remove_leftovers, replacing

_FILE = "checkpoint.pt"
# May change from one call to the next: more or less time, decided on the way, makes another end but no other run.
_FREE = {"max_minutes", "checkpoint_minutes"}


@dataclass
class Progress:
    """How far a run is. step: steps done, which is also its position in the notes. seconds: of wall time so far, of
    which training_seconds went into steps; pieces: word pieces that these read.

    losses: of each step, nats per predicted piece. rates: learning rate of each step. evaluations: on held-out notes.
    every: steps between evaluations; 0 while the number of steps is unknown.
    """

    step: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    pieces: int = 0
    every: int = 0
    losses: List[float] = field(default_factory=list)
    rates: List[float] = field(default_factory=list)
    evaluations: List[Dict[str, Any]] = field(default_factory=list)

    def speed(self) -> float:
        """Word pieces per second of training."""
        return self.pieces / max(self.training_seconds, 1e-9)

    def rows(self) -> List[Dict[str, Any]]:
        """The loss curve as records: of each step, and of each evaluation before the step that follows it."""
        evaluations = {int(row["step"]): row for row in self.evaluations}
        rows: List[Dict[str, Any]] = []
        for step in range(self.step + 1):
            if step:
                rows.append({"step": step, "loss": self.losses[step - 1], "learning_rate": self.rates[step - 1]})
            if step in evaluations:
                rows.append(evaluations[step])
        return rows


class CheckpointFolder:
    """The folder beside the output in which an unfinished run keeps its state."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + ".partial")

    def write(self, identity: Dict[str, Any], state: Dict[str, Any]) -> None:
        """Replace the last checkpoint; a kill at any moment leaves the old one or the new one, whole."""
        with replacing(self.path / _FILE) as temporary:
            torch.save({"identity": identity, **state}, temporary)

    def read(self, identity: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """The last checkpoint, or None. Raises ClinicalNerError if it belongs to other notes or settings."""
        file = self.path / _FILE
        if not file.is_file():
            return None
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            found = state["identity"]
        except Exception as error:  # torch raises many kinds for a damaged file
            raise ClinicalNerError(
                f"{file}: not a checkpoint ({type(error).__name__}); --restart begins anew"
            ) from None
        keys = {*found, *identity} - (_FREE if found.get("max_minutes") and identity.get("max_minutes") else set())
        different = sorted(key for key in keys if found.get(key) != identity.get(key))
        if different:
            raise ClinicalNerError(
                f"{self.path} holds an unfinished run with other {', '.join(different)}; --restart begins anew"
            )
        return state

    def remove(self) -> None:
        """Forget the run; of a folder that holds anything else, its checkpoint only."""
        (self.path / _FILE).unlink(missing_ok=True)
        remove_leftovers(self.path)
        with suppress(OSError):
            self.path.rmdir()
