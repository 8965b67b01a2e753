"""Taggers over transformers: F, speed and memory of `crf_ner` and spaCy's `ner` over MiniLM, and memory that stays."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import typer

from benchmarks.common import record_figures, run_app
from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    help="Measure taggers over transformers.\n\nEverything is written below benchmarks/work/; --record adds a line "
    "to benchmarks/results/. F is strict micro F over characters (label and offsets against the original .ann) with "
    "a bootstrap interval over documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PACKAGES = ("spacy-clinical-ner", "spacy", "spacy-transformers", "transformers", "thinc", "torch")
_record = partial(record_figures, packages=PACKAGES)
RECORD = typer.Option(False, "--record", help="Add the figures to benchmarks/results/.")


@app.command()
def maccrobat(
    corpus: Path = typer.Option(..., help="Folder of the corpus, as published.", exists=True, file_okay=False),
    seeds: int = typer.Option(3, min=1, help="Trainings of each system, with seeds 0, 1, ...; the median counts."),
    rounds: int = typer.Option(5, min=1, help="Rounds of speed, in turns; figures are medians."),
    updates: int = typer.Option(10, min=1, help="Training updates in a round of speed."),
    jobs: int = typer.Option(1, min=1, help="Trainings at a time; their times then tell less."),
    max_steps: int = typer.Option(0, min=0, help="Stop trainings after so many updates, to try the command."),
    fresh: bool = typer.Option(False, "--fresh", help="Repeat what an earlier run with the same settings finished."),
    record: bool = RECORD,
) -> None:
    """MACCROBAT, train/ to dev/: crf_ner and spaCy's ner over the same MiniLM, and crf_ner without a transformer.

    The first is configs/maccrobat_minilm.cfg; the second the same config, windows and listener, with `ner` in place of
    `crf_ner`, as spaCy's accuracy config sets it up; the third is configs/maccrobat.cfg. A tenth of train/ stops the
    training. What has finished is stored and not repeated, so an interrupted command goes on where it stopped.

    Example: python -m benchmarks.transformers maccrobat --corpus ../shared/data/maccrobat --seeds 3 --record
    """
    from benchmarks.transformers.compare import compare, figures, report

    extra: Tuple[str, ...] = ()
    if max_steps:
        extra = ("--training.max_steps", str(max_steps), "--training.eval_frequency", str(max(1, max_steps // 2)))
    outcome = compare(corpus, seeds, rounds, updates, jobs=jobs, extra=extra, fresh=fresh)
    typer.echo("\n" + report(outcome))
    if record:
        _record("transformers maccrobat", figures(outcome))


@app.command()
def memory(
    few: int = typer.Option(500, min=1, help="Notes after which memory is looked at first."),
    many: int = typer.Option(5000, min=2, help="Notes after which it is looked at again."),
    record: bool = RECORD,
) -> None:
    """Resident memory of a process after few and after many notes through a transformer, `crf_ner` and the cleaner.

    The encoder is a tiny BERT with random weights; the notes are made of always the same words, since spaCy keeps every
    new word for ever. Status 1 if memory grows by more than 5%.
    """
    from benchmarks.transformers.memory import WITHIN, measure_memory

    if many <= few:
        raise ClinicalNerError(f"--many must be more than --few, not {many} and {few}")
    work = Path(__file__).resolve().parents[1] / "work" / "transformers" / "memory"
    found = measure_memory(work, [few, many])
    growth = found[many] / found[few] - 1
    verdict = f"{growth:+.1%}, at most {WITHIN:.0%}: {'yes' if growth <= WITHIN else 'NO'}"
    text = f"resident after {few:,} notes {found[few]:,.0f} MiB, after {many:,} {found[many]:,.0f} MiB ({verdict})"
    typer.echo(text)
    if record:
        rows: List[Dict[str, Any]] = [
            {"name": f"after {count:,} notes", "resident_mib": round(found[count])} for count in (few, many)
        ]
        rows[1]["growth_percent"] = round(100 * growth, 1)
        _record("transformers memory", rows, f"growth at most {WITHIN:.0%}")
    if growth > WITHIN:
        raise typer.Exit(1)


@app.command()
def finetune(
    encoder: str = typer.Option(..., help="Folder of an encoder, or its name on the Hugging Face hub."),
    corpus: Path = typer.Option(..., help="Folder of MACCROBAT, as published.", exists=True, file_okay=False),
    frozen: int = typer.Option(-1, min=-1, help="Layers of it that are frozen; -1 for two thirds."),
    updates: int = typer.Option(8, min=1, help="Training updates in a round."),
    rounds: int = typer.Option(7, min=1, help="Rounds, in turns; figures are medians."),
    record: bool = RECORD,
) -> None:
    """Words a second in fine-tuning: crf_ner and spaCy's ner over the same encoder with the same frozen layers.

    Both are configs/maccrobat_minilm.cfg, the second with `ner` in place of `crf_ner`; one thread, float32, batches of
    1,300 word pieces.

    Example: python -m benchmarks.transformers finetune --encoder ENCODER --corpus ../shared/data/maccrobat --record
    """
    from benchmarks.transformers.finetune import finetune as run
    from benchmarks.transformers.finetune import report, rows

    found = run(encoder, corpus, frozen, updates, rounds)
    typer.echo(report(found))
    if record:
        _record("transformers finetune", rows(found), f"{Path(encoder).name}, frozen layers {frozen}")


if __name__ == "__main__":
    run_app(app, "transformers")
