"""Speed and memory of trained pipelines, measured in turns: words per second, and the cost of long notes."""

from __future__ import annotations

import shutil
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import typer

from benchmarks.common import WORK, package_command, run_logged, score, show_f, show_spread, table
from benchmarks.rounds import Worker, alternate, median_ratio, rates

# A note of 100,000 tokens may take this much more time per token than one of 1,000, and this much memory.
LINEAR_WITHIN = 1.3
MEMORY_MIB = 2048


def worker_command(what: str, model: Path, argument: Any, threads: int) -> List[str]:
    """The command of a `benchmarks.tagger.worker` process."""
    return [sys.executable, "-m", "benchmarks.tagger.worker", what, str(model), str(argument), str(threads)]


def measure(models: Mapping[str, Path], what: str, argument: Any, threads: int, rounds: int) -> Dict[str, Dict]:
    """Rounds of all models in turns: {name: {"rates": words per second by round, "peak_rss_mib": of the process}}."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(name, worker_command(what, model, argument, threads), WORK / "speed" / f"{name}.log", threads)
            )
            for name, model in models.items()
        ]
        answers = alternate([(worker, {"do": "round"}) for worker in workers], rounds)
    by_worker = rates(answers)
    return {
        worker.name: {"rates": values, "peak_rss_mib": answers[-1][index]["peak_rss_mib"]}
        for index, (worker, values) in enumerate(zip(workers, by_worker))
    }


def measure_speed(
    models: Mapping[str, Path], notes: Path, threads: Sequence[int], rounds: int, updates: int
) -> Dict[str, Any]:
    """{"scores": {name: strict micro scores on `notes`, or None}, "inference" and "training": {threads: measure()}}."""
    outcome: Dict[str, Any] = {"scores": score_models(models, notes), "inference": {}, "training": {}}
    for count in threads:
        typer.echo(f"Inference with {count} thread(s) ...")
        outcome["inference"][count] = measure(models, "infer", notes, count, rounds)
        typer.echo(f"Training with {count} thread(s) ...")
        outcome["training"][count] = measure(models, "train", updates, count, rounds)
    return outcome


def score_models(models: Mapping[str, Path], notes: Path) -> Dict[str, Optional[Dict[str, Any]]]:
    """F on the notes that speed is measured on, if they are annotated: a speed says nothing without it."""
    if not any(notes.rglob("*.ann")):
        return {name: None for name in models}
    scores: Dict[str, Optional[Dict[str, Any]]] = {}
    for name, model in models.items():
        typer.echo(f"{name}: annotate and score")
        folder = WORK / "speed" / f"{name.replace(' ', '_')}-predictions"
        shutil.rmtree(folder, ignore_errors=True)
        run_logged(f"{name}: annotate", package_command("annotate", model, notes, folder), folder.with_suffix(".log"))
        scores[name] = score(notes, folder)
    return scores


def speed_report(outcome: Mapping[str, Any], reference: str) -> str:
    """One line for each system, kind of work and number of threads; ratios are to `reference`, round by round."""
    rows = []
    for kind in ("inference", "training"):
        for threads, systems in outcome[kind].items():
            for name, figures in systems.items():
                scores = outcome["scores"][name]
                rows.append(
                    [
                        f"{kind}, {name}",
                        str(threads),
                        show_spread(figures["rates"]),
                        f"{median_ratio(figures['rates'], systems[reference]['rates']):.2f}",
                        f"{figures['peak_rss_mib']:,.0f}",
                        show_f(scores) if scores else "-",
                    ]
                )
    return table(
        ("work, system", "threads", "words/s (lowest to highest)", f"x {reference}", "peak RSS, MiB", "strict micro F"),
        rows,
    )


def measure_linear(model: Path, notes: Path, sizes: Sequence[int], rounds: int, threads: int) -> Dict[str, Any]:
    """Time per token of notes of each size, in turns, and the memory of a process that tags one of the largest.

    Every round tags the same number of tokens: those of the largest note, cut into as many notes as it takes.
    Returns {"seconds_per_token": {size: by round}, "at_rest_mib", "peak_rss_mib"}.
    """
    total = max(sizes)
    log = WORK / "linear" / "worker.log"
    command = worker_command("linear", model, notes, threads)
    with Worker("linear", command, log, threads) as worker:
        at_rest = worker.ask(do="memory")["at_rest_mib"]
        peak = worker.ask(do="round", tokens=total, total=total)["peak_rss_mib"]
    with Worker("linear", command, log, threads) as worker:
        turns = [(worker, {"do": "round", "tokens": size, "total": total}) for size in sizes]
        by_size = rates(alternate(turns, rounds), "tokens")
    per_token = {size: [1 / rate for rate in values] for size, values in zip(sizes, by_size)}
    return {"seconds_per_token": per_token, "at_rest_mib": at_rest, "peak_rss_mib": peak}


def spread_of_medians(per_token: Mapping[int, Sequence[float]]) -> float:
    """The slowest size's median time per token over the fastest's."""
    medians = [statistics.median(values) for values in per_token.values()]
    return max(medians) / min(medians)


def linear_report(outcome: Mapping[str, Any]) -> str:
    per_token = outcome["seconds_per_token"]
    smallest = min(per_token)
    rows = [
        [
            f"{size:,} tokens",
            show_spread([value * 1e6 for value in values], 1),
            f"{median_ratio(values, per_token[smallest]):.2f}",
        ]
        for size, values in per_token.items()
    ]
    spread = spread_of_medians(per_token)
    return "\n\n".join(
        [
            table(("one note of", "microseconds/token (lowest to highest)", f"x {smallest:,}"), rows),
            f"slowest over fastest: {spread:.2f} (at most {LINEAR_WITHIN}: {_verdict(spread <= LINEAR_WITHIN)})\n"
            f"peak RSS of a process that tags one note of {max(per_token):,} tokens: "
            f"{outcome['peak_rss_mib']:,.0f} MiB "
            f"(at most {MEMORY_MIB:,}: {_verdict(outcome['peak_rss_mib'] <= MEMORY_MIB)}), "
            f"{outcome['at_rest_mib']:,.0f} MiB once loaded",
        ]
    )


def _verdict(good: bool) -> str:
    return "yes" if good else "NO"
