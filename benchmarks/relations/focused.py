"""Focused attention packed against the whole sequence: pairs per second of the same encoder, called in turn."""

from __future__ import annotations

import os
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple

import typer

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)

TOLERANCE = 1e-5


class Timing(NamedTuple):
    """Medians over the rounds.

    packed, naive: pairs per second of wall-clock time. by_clock, by_cpu: ratio of the two within a round, of wall-clock
    time and of CPU time. difference: the largest between their results.
    """

    packed: float
    naive: float
    by_clock: float
    by_cpu: float
    difference: float


def make_case(pairs: int, tokens: int, width: int, layers: int, task_layers: int, words: int, seed: int) -> Any:
    """An encoder with random weights, and (hidden, mask, pairs): one note, mentions of `words` word pieces each."""
    import torch
    from transformers import BertConfig, BertModel

    from spacy_clinical_ner.layers.focused_attention import FocusedEncoder, PairBatch

    torch.manual_seed(seed)
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        intermediate_size=4 * width,
        vocab_size=1000,
        max_position_embeddings=512,
    )
    encoder = FocusedEncoder(BertModel(config, add_pooling_layer=False), task_layers).eval()
    ids = torch.randint(1, 1000, (1, tokens))
    mask = torch.ones_like(ids, dtype=torch.bool)
    starts = torch.stack([torch.randperm((tokens - 1) // words)[:2] * words + 1 for _ in range(pairs)])
    members = (starts.unsqueeze(2) + torch.arange(words)).flatten(1).sort(1).values
    positions = torch.cat([torch.zeros((pairs, 1), dtype=torch.long), members], dim=1)
    batch = PairBatch(torch.zeros(pairs, dtype=torch.long), positions, torch.ones_like(positions, dtype=torch.bool))
    with torch.no_grad():
        return encoder, (encoder.shared(ids, mask), mask, batch)


def measure(encoder: Any, case: Any, form: str, rounds: int) -> Timing:
    """Both forms in every round; who goes first changes. Raises ValueError if their results differ."""
    import torch

    from tests.layers.whole_sequence import whole_sequence

    calls: List[Callable[[], Any]] = [lambda: encoder.pairs(*case, form), lambda: whole_sequence(encoder, *case, form)]
    clock: List[List[float]] = [[], []]
    cpu: List[List[float]] = [[], []]
    difference = 0.0
    with torch.no_grad():
        for number in range(rounds + 1):
            results: Dict[int, Any] = {}
            spent: Dict[int, Any] = {}
            for which in (0, 1) if number % 2 else (1, 0):
                start = time.perf_counter(), time.process_time()
                results[which] = calls[which]()
                spent[which] = time.perf_counter() - start[0], time.process_time() - start[1]
            difference = max(difference, float((results[0] - results[1]).abs().max()))
            if number:  # the first round also sets things up
                for which in (0, 1):
                    clock[which].append(spent[which][0])
                    cpu[which].append(spent[which][1])
    if difference > TOLERANCE:
        raise ValueError(f"{form}: the packed form differs from the whole sequence by {difference:.1e}")
    pairs = len(case[2].window)
    ratios = [
        statistics.median(naive / packed for packed, naive in zip(*times) if packed) if all(times[0]) else float("nan")
        for times in (clock, cpu)
    ]
    speeds = [pairs / statistics.median(times) for times in clock]
    return Timing(speeds[0], speeds[1], ratios[0], ratios[1], difference)


def figures(name: str, timing: Timing) -> Dict[str, Any]:
    """The row to record."""
    return {
        "name": name,
        "pairs_per_second": round(timing.packed),
        "naive_pairs_per_second": round(timing.naive),
        "ratio": round(timing.by_clock, 1),
        "cpu_ratio": round(timing.by_cpu, 1),
        "largest_difference": f"{timing.difference:.0e}",
    }


@app.command()
def focused(
    pairs: int = typer.Option(30, min=1, help="Candidate pairs of the note."),
    tokens: int = typer.Option(128, min=8, help="Word pieces of the note, [CLS] included."),
    words: int = typer.Option(3, min=1, help="Word pieces of a mention."),
    width: int = typer.Option(768, min=64, help="Width of the encoder, a multiple of 64; 768 is BERT's."),
    task_layers: List[int] = typer.Option([2, 4, 6], "--task-layers", help="K; may be repeated."),
    rounds: int = typer.Option(9, min=3, help="Rounds; medians are shown."),
    threads: int = typer.Option(1, min=1, help="Threads of torch."),
    seed: int = typer.Option(0, help="Seed of weights, note and mentions."),
    at_least: float = typer.Option(8.0, help="Exit with status 1 if Eq. 14 is not so many times as fast."),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/results/."),
) -> None:
    """Pairs per second of the last K layers: only what [CLS] depends on, against the whole note once for each pair.

    The naive form is that of the tests: the layers of Hugging Face with the mask of each pair. Both are called in turn
    in one process, and their results are compared in every round; a difference above 1e-5 ends the run.

    Example: python -m benchmarks.relations.focused --record
    """
    import torch

    from spacy_clinical_ner.layers.focused_attention import MASKS

    torch.set_num_threads(threads)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    where = f"{threads} thread(s), {load}; {pairs} pairs of {words}-piece mentions, {tokens} word pieces, width {width}"
    typer.echo(where)
    rows: List[Dict[str, Any]] = []
    slowest = float("inf")
    for count in task_layers:
        encoder, case = make_case(pairs, tokens, width, count, count, words, seed)
        for form in reversed(MASKS):
            timing = measure(encoder, case, form, rounds)
            ratio = f"{timing.by_clock:.1f}x ({timing.by_cpu:.1f}x of CPU time)"
            speeds = f"packed {timing.packed:,.0f} pairs/s, naive {timing.naive:,.0f} pairs/s, {ratio}"
            typer.echo(f"  K={count}, {form}: {speeds}, largest difference {timing.difference:.0e}")
            rows.append(figures(f"K={count} {form}", timing))
            if form == "eq14":
                slowest = min(slowest, timing.by_clock)
    if record:
        from benchmarks.results import record as write

        path = write("relations focused", rows, ("torch", "transformers"), setting=where)
        typer.echo(f"Recorded in {path}")
    if slowest < at_least:
        typer.echo(f"Eq. 14 is {slowest:.1f} times as fast as the whole sequence, not {at_least:g}", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
