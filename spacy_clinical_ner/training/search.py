"""Hyperparameters of a config by Optuna: trials on the development notes, kept in a database, so that they go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from spacy_clinical_ner.errors import ClinicalNerError, InputError, one_line
from spacy_clinical_ner.training.learning_curve import Trial, fingerprint, run_training

_RANGE = re.compile(r"(?P<low>[-+.\deE]+)\.\.(?P<high>[-+.\deE]+)(?P<log> log)?")


class Parameter(NamedTuple):
    """A setting in dotted form and what it may be: one of `choices`, or a number from `low` to `high`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: Sequence[Any] = ()

    def suggest(self, trial: Any) -> Any:
        """The value of an `optuna.trial.Trial`."""
        if self.choices:
            return trial.suggest_categorical(self.name, list(self.choices))
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def parse_parameter(text: str) -> Parameter:
    """`NAME=LOW..HIGH`, `NAME=LOW..HIGH log` or `NAME=A,B,C`. Raises ClinicalNerError for anything else."""
    import srsly

    name, equals, values = text.partition("=")
    if not equals or "." not in name or not values:
        raise ClinicalNerError(f"a parameter is NAME=LOW..HIGH, NAME='LOW..HIGH log' or NAME=A,B,C, not {text}")
    match = _RANGE.fullmatch(values.strip())
    if match is None:
        choices = []
        for value in values.split(","):
            try:
                choices.append(srsly.json_loads(value))
            except ValueError:
                choices.append(value)
        return Parameter(name, choices=choices)
    try:
        low, high = float(match["low"]), float(match["high"])
    except ValueError:
        raise ClinicalNerError(f"the range of a parameter has two numbers: {text}") from None
    log = bool(match["log"])
    if not low < high or (log and low <= 0):
        raise ClinicalNerError(f"a range goes from a smaller to a larger number, above 0 with log: {text}")
    whole = all(number.lstrip("+-").isdigit() for number in (match["low"], match["high"]))
    return Parameter(name, low, high, log, whole)


class Finished(NamedTuple):
    """A trial that came to an end: its number among these, its F (None if the training failed), its settings."""

    number: int
    value: Optional[float]
    params: Dict[str, Any]


def search(
    trial: Trial,
    output: Path,
    parameters: Sequence[Parameter],
    n_trials: int,
    seed: int = 0,
    report: Callable[[Finished, str], None] = lambda finished, reason: None,
) -> List[Finished]:
    """Train until the study in `output` has `n_trials` finished trials; the score is strict micro F on `trial.dev`.

    The sampler is Optuna's TPE (Bergstra et al. 2011), seeded for each trial with `seed` plus the number of those
    finished before, so that a search that was stopped in any way goes on as if it had not been: the trial that was
    interrupted is begun anew, in its folder `trial-NUMBER`. A training that fails (a setting that cannot be, no memory)
    is a failed trial and says nothing of the others.

    report: told of each trial that is finished, and why it failed if it did.

    Returns all finished trials. Raises ClinicalNerError if Optuna is not installed, and InputError if the study was
    made with another config, other notes or other settings.
    """
    try:
        import optuna
    except ImportError:
        raise ClinicalNerError("search needs optuna: pip install 'spacy-clinical-ner[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    identity = fingerprint(trial)
    output.mkdir(parents=True, exist_ok=True)
    database = output / "study.sqlite3"
    study = optuna.create_study(
        storage=f"sqlite:///{database}",
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.get("fingerprint", identity) != identity:
        raise InputError(database, None, "made with another config, notes or settings: choose another --output")
    study.set_user_attr("fingerprint", identity)

    def finished() -> List[Finished]:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL)
        rows = sorted(study.get_trials(states=states), key=lambda row: row.number)
        return [Finished(number, row.value, row.params) for number, row in enumerate(rows)]

    for number in range(len(finished()), n_trials):
        # No liar: a trial that was interrupted is one that still runs for Optuna, and tells nothing.
        study.sampler = optuna.samplers.TPESampler(seed=seed + number, constant_liar=False)
        chosen = study.ask()
        values = {parameter.name: parameter.suggest(chosen) for parameter in parameters}
        try:
            scores = run_training(trial, trial.train, output / f"trial-{number}", values)
        except (ClinicalNerError, RuntimeError) as error:
            study.tell(chosen, state=optuna.trial.TrialState.FAIL)
            report(Finished(number, None, values), one_line(error))
        else:
            f = float(scores["micro"]["f"])
            study.tell(chosen, f)
            report(Finished(number, f, values), "")
    return finished()
