"""LinearChainCRF against pytorch-crf: the same calls on the same numbers, in turn, results compared while timing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

import typer

SHAPES = [(16, 100, 3), (16, 100, 5), (32, 128, 31), (32, 128, 83), (128, 128, 31), (8, 512, 83)]
NOTES = [1_000, 10_000, 100_000]
ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "benchmarks" / "work"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> tuple[float, Any]:
    start = clock()
    result = call()
    return clock() - start, result


def _in_turn(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    check: Callable,
    budget: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of both, called in turn (who goes first changes) until `budget` seconds are spent."""
    check(ours(), theirs())
    spent: tuple[list[float], list[float]] = ([], [])
    while sum(map(sum, spent)) < budget or len(spent[0]) < 5:
        results: list[Any] = [None, None]
        for which in (0, 1) if len(spent[0]) % 2 else (1, 0):
            seconds, results[which] = _seconds((ours, theirs)[which], clock)
            spent[which].append(seconds)
        check(*results)
    return {"ours": statistics.median(spent[0]), "theirs": statistics.median(spent[1]), "repeats": len(spent[0])}


def measure_shape(batch: int, length: int, tags: int, budget: float) -> dict[str, Any]:
    """Time loss with gradients, and decoding, on random scores with lengths from a quarter to all of `length`."""
    import torch
    import torchcrf

    from spacy_clinical_ner.layers.crf import LinearChainCRF

    torch.manual_seed(0)
    theirs = torchcrf.CRF(tags, batch_first=True)
    ours = LinearChainCRF(tags, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    emissions = torch.randn(batch, length, tags)
    gold = torch.randint(0, tags, (batch, length))
    lengths = torch.randint(length // 4, length + 1, (batch,))
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(1)

    def train(crf: torchcrf.CRF) -> list[torch.Tensor]:
        leaf = emissions.clone().requires_grad_()
        crf.zero_grad()
        loss = -crf(leaf, gold, mask=mask)
        loss.backward()
        return [loss.detach(), leaf.grad, *(p.grad for p in crf.parameters())]

    def same_numbers(a: list[torch.Tensor], b: list[torch.Tensor]) -> None:
        for x, y in zip(a, b):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-3)

    def same_paths(a: list[list[int]], b: list[list[int]]) -> None:
        for row, (x, y) in enumerate(zip(a, b)):
            if x != y:  # allowed only where rounding decides
                one = emissions[row : row + 1, : len(x)]
                with torch.no_grad():
                    x_score, y_score = (theirs(one, torch.tensor([path])) for path in (x, y))
                torch.testing.assert_close(x_score, y_score, rtol=1e-6, atol=1e-4)

    def decode(crf: torchcrf.CRF) -> list[list[int]]:
        return crf.decode(emissions, mask)

    return {
        "shape": [batch, length, tags],
        "train": _in_turn(lambda: train(ours), lambda: train(theirs), same_numbers, budget),
        "decode": _in_turn(lambda: decode(ours), lambda: decode(theirs), same_paths, budget),
    }


def measure_note(tokens: int) -> dict[str, Any]:
    """Time decoding one note and the posteriors of all spans found, one label in BIO."""
    import torch

    from spacy_clinical_ner.layers.crf import LinearChainCRF
    from spacy_clinical_ner.layers.crf.tag_scheme import TagScheme

    torch.manual_seed(0)
    scheme = TagScheme("BIO")
    crf = LinearChainCRF(3, batch_first=True, constraints=scheme.constraints(1))
    emissions = torch.randn(1, tokens, 3)

    def tag() -> int:
        paths, _ = crf.decode_tensor(emissions)
        spans = scheme.spans(paths)
        return len(crf.span_log_probability(emissions, None, spans))

    spans = tag()
    return {"tokens": tokens, "spans": spans, "seconds": statistics.median(_seconds(tag)[0] for _ in range(7))}


@app.command()
def main(
    threads: list[int] = typer.Option([1, 2], help="Numbers of threads to measure with; give it once for each."),
    budget: float = typer.Option(4.0, help="Seconds for each shape and task; more gives steadier medians."),
    plot: bool = typer.Option(False, help="Draw the ratios into benchmarks/work/crf.png (needs matplotlib)."),
    record: bool = typer.Option(False, help="Add the figures to benchmarks/results/."),
    worker: Optional[int] = typer.Option(None, hidden=True),
) -> None:
    """How many times faster than pytorch-crf: loss with gradients, and decoding.

    Both get the same parameters, emissions and ragged masks and are called in turn; a ratio is one median over the
    other. Losses, gradients and paths are compared at every call: the run stops if they differ.

    Example: python -m benchmarks.crf --threads 1 --budget 10 --record
    """
    if worker is not None:
        import torch

        torch.set_num_threads(worker)
        for shape in SHAPES:
            print(json.dumps(measure_shape(*shape, budget=budget)), flush=True)
        for tokens in NOTES:
            print(json.dumps(measure_note(tokens)), flush=True)
        return

    rows: dict[int, list[dict[str, Any]]] = {}
    for count in threads:
        # The number of threads of a BLAS library is settled when it is loaded: a process of its own for each.
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
        command = [sys.executable, "-m", "benchmarks.crf", "--worker", str(count), "--budget", str(budget)]
        typer.echo(
            f"\n{count} thread{'s' if count > 1 else ''}{_load()}: milliseconds (ours / pytorch-crf = times faster)"
        )
        rows[count] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **limits}
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                row = json.loads(line)
                rows[count].append(row)
                typer.echo(_show(row))
        if process.returncode:
            raise typer.Exit(process.returncode)
    if plot:
        _draw(rows)
    if record:
        from benchmarks.results import record as write

        for count, measured in rows.items():
            setting = f"{count} thread{'s' if count > 1 else ''}{_load()}"
            write("crf", [_figure(row) for row in measured], ("torch", "numpy", "pytorch-crf"), setting=setting)


def _load() -> str:
    """How busy the machine is: with more to do than it has cores, ratios at several threads say little."""
    try:
        return f", load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    except (AttributeError, OSError):
        return ""


def _ratio(task: dict[str, float]) -> float:
    return task["theirs"] / task["ours"]


def _show(row: dict[str, Any]) -> str:
    if "tokens" in row:
        per_token = row["seconds"] / row["tokens"] * 1e6
        return f"  one note of {row['tokens']:>6} tokens: decode and {row['spans']} span posteriors " + (
            f"{row['seconds'] * 1e3:8.1f} ms, {per_token:.2f} microseconds a token"
        )
    cells = [f"  {tuple(row['shape'])!s:>15}"]
    for name in ("train", "decode"):
        task = row[name]
        times = f"{task['ours'] * 1e3:8.2f} / {task['theirs'] * 1e3:8.2f} = {_ratio(task):5.1f}x"
        cells.append(f"{name} {times} ({task['repeats']:.0f} runs)")
    return "   ".join(cells)


def _figure(row: dict[str, Any]) -> dict[str, Any]:
    if "tokens" in row:
        return {"name": f"{row['tokens']} tokens", "milliseconds": round(row["seconds"] * 1e3)}
    ratios = {f"{name}_ratio": round(_ratio(row[name]), 1) for name in ("train", "decode")}
    return {"name": str(tuple(row["shape"])), **ratios}


def _draw(rows: dict[int, list[dict[str, Any]]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(6 * len(rows), 4), squeeze=False, sharey=True)
    for axis, (count, measured) in zip(axes[0], rows.items()):
        shapes = [row for row in measured if "shape" in row]
        for offset, name in ((-0.2, "train"), (0.2, "decode")):
            places = [i + offset for i in range(len(shapes))]
            bars = axis.bar(places, [_ratio(row[name]) for row in shapes], 0.4, label=name)
            axis.bar_label(bars, fmt="%.1f")
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xticks(range(len(shapes)), [str(tuple(row["shape"])) for row in shapes], rotation=30)
        axis.set_title(f"{count} thread{'s' if count > 1 else ''}")
    axes[0, 0].set_ylabel("times faster than pytorch-crf")
    axes[0, 0].legend()
    figure.tight_layout()
    WORK.mkdir(exist_ok=True)
    figure.savefig(WORK / "crf.png", dpi=150)
    typer.echo(f"plot: {WORK / 'crf.png'}")


if __name__ == "__main__":
    app()
