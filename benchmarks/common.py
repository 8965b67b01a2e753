"""What the benchmarks share: running a command with its log in a file, results on disk, tables."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import typer

from benchmarks.rounds import ROOT, WorkerFailed, threads_environment
from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.files import replacing

BENCHMARKS = ROOT / "benchmarks"
WORK = BENCHMARKS / "work" / "tagger"
_NEWS_SECONDS = 60.0


class Finished(NamedTuple):
    """How long a command took (wall-clock seconds) and the most memory it had resident (MiB)."""

    seconds: float
    peak_rss_mib: float


def run_logged(name: str, command: Sequence[Any], log: Path, *, threads: int = 1) -> Finished:
    """Run a command from the repository's root with all that it prints in `log`, and tell now and then how far it is.

    Raises ClinicalNerError, naming the log, if the command fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started = news = time.monotonic()
    reader, writer = os.pipe()
    with open(log, "wb") as stream, open(reader, encoding="ascii") as peak:
        launcher = (sys.executable, "-I", "-S", BENCHMARKS / "measured.py", writer)
        process = subprocess.Popen(
            [str(word) for word in (*launcher, *command)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=threads_environment(threads),
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - news > _NEWS_SECONDS:
                    news = time.monotonic()
                    typer.echo(f"  {name}, {(news - started) / 60:.0f} min: {last_line(log)}")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.monotonic() - started
        if process.returncode:
            raise ClinicalNerError(f"{name} failed with status {process.returncode}; see {log}")
        return Finished(seconds, float(peak.readline()))


def last_line(log: Path) -> str:
    """The last line with anything in it; progress bars overwrite theirs with carriage returns."""
    lines = log.read_text(encoding="utf8", errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def package_command(*words: Any) -> List[str]:
    """A command of the `clinical-ner` command line, run by this Python."""
    return [sys.executable, "-m", "spacy_clinical_ner", *(str(word) for word in words)]


def annotate(name: str, model: Path, notes: Path, folder: Path, *, given_entities: bool = False) -> Finished:
    """Write the mentions that a pipeline finds in `notes` to folder/predictions, in place of what was there.

    given_entities: keep the mentions that there are, and write them and the relations found to folder/given.
    """
    target = folder / ("given" if given_entities else "predictions")
    shutil.rmtree(target, ignore_errors=True)
    command = package_command("annotate", model, notes, target, *["--given-entities"] * given_entities)
    return run_logged(f"{name}: annotate", command, folder / "annotate.log")


def digest(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that change with anything in `settings`: results of other settings are not reused."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf8")).hexdigest()[:8]


def fingerprint(folder: Path) -> str:
    """Changes when a note or its annotations are added, removed or of another size."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".txt", ".ann"))
    return digest({path.relative_to(folder).as_posix(): path.stat().st_size for path in files})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def read_json(path: Path) -> Optional[Dict[str, Any]]:
    """The object in a file, or None if there is no such file."""
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else None


def score(gold: Path, predicted: Path, *, compare: Optional[Path] = None) -> Dict[str, Any]:
    """The strict micro scores of a folder of predictions: character level, 95% interval over documents.

    Returns {"f", "p", "r", "ci_low", "ci_high", ...}, and {"comparison": {"difference", "ci_low", "ci_high",
    "p_value"}} where `compare` is the folder of another system's predictions. See `spacy_clinical_ner.evaluation`.
    """
    from spacy_clinical_ner.evaluation import evaluate_folders

    metrics = evaluate_folders(gold, predicted, compare=compare, relations=False)
    result = dict(metrics["entities"]["strict"]["micro"])
    if metrics["comparison"] is not None:
        result["comparison"] = metrics["comparison"]["entities"]["strict"]["micro"]
    return result


def score_relations(gold: Path, predicted: Path) -> Dict[str, Any]:
    """The strict micro scores of the relations in a folder of predictions, directed, with both mentions right."""
    from spacy_clinical_ner.evaluation import evaluate_folders

    return dict(evaluate_folders(gold, predicted, relations=True)["relations"]["strict"]["micro"])


def show_f(scores: Mapping[str, Any]) -> str:
    """0.8432 [0.831, 0.855]"""
    return f"{scores['f']:.4f} [{scores['ci_low']:.3f}, {scores['ci_high']:.3f}]"


def show_difference(comparison: Mapping[str, Any]) -> str:
    """+0.0636 [+0.044, +0.084]"""
    return f"{comparison['difference']:+.4f} {show_interval(comparison)}"


def show_interval(comparison: Mapping[str, Any]) -> str:
    """[+0.044, +0.084]"""
    return f"[{comparison['ci_low']:+.3f}, {comparison['ci_high']:+.3f}]"


def show_spread(values: Sequence[float], digits: int = 0) -> str:
    """Median with the lowest and highest value: 1,234 (1,100 to 1,300)."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]

    def line(row: Sequence[str]) -> str:
        first, *others = (cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        return "  ".join([first, *others]).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def record_figures(
    benchmark: str, rows: Sequence[Dict[str, Any]], setting: str = "", *, packages: Sequence[str]
) -> None:
    """Add figures to benchmarks/results/, and say so; see `benchmarks.results.record`."""
    from benchmarks.results import record as write

    typer.echo(f"Recorded in {write(benchmark, rows, packages, setting=setting)}")


def run_app(app: typer.Typer, name: str) -> None:
    """Run the command line of a benchmark; what a person can put right ends with one line and status 2."""
    try:
        app()
    except (ClinicalNerError, WorkerFailed) as error:
        print(f"benchmarks.{name}: {error}", file=sys.stderr)
        sys.exit(2)


def versions(*names: str) -> Dict[str, str]:
    """Installed versions of distributions, by name."""
    from importlib.metadata import version

    return {name: version(name) for name in names}
