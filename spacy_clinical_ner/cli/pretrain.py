"""`clinical-ner pretrain`: an encoder from raw notes."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_MINUTES, MAX_SEED, MAX_THREADS, not_nan

if TYPE_CHECKING:
    from spacy_clinical_ner.raw_notes.settings import PretrainingSettings


class SizeName(str, Enum):
    """Size of a new encoder."""

    tiny = "tiny"
    small = "small"
    base = "base"


def pretrain(
    raw: Path = typer.Argument(..., help="Raw notes: a folder (every .txt below it), or .jsonl with a 'text' a line."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write: an encoder for Hugging Face's classes."),
    size: Optional[SizeName] = typer.Option(
        None, help="tiny (default, for the CPU): 4 layers of 256; small: 6 of 512; base: 12 of 768, BERT's."
    ),
    start: Optional[str] = typer.Option(
        None, "--from", metavar="FOLDER_OR_NAME", help="Continue from this encoder, with its vocabulary."
    ),
    also: Optional[List[Path]] = typer.Option(None, "--also", help="More raw notes; may be repeated."),
    max_steps: Optional[int] = typer.Option(None, min=1, max=MAX_COUNT, help="Steps of the optimizer."),
    max_minutes: Optional[float] = typer.Option(
        None,
        min=0.0,
        max=MAX_MINUTES,
        callback=not_nan,
        help="Wall time for all. Without any limit: 10 passes over the notes.",
    ),
    lang: Optional[str] = typer.Option(None, "--lang", "-l", help="Language code for the model card: es, en, zh, ..."),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of weights, order and masks."),
    vocab_size: Optional[int] = typer.Option(
        None, min=100, max=1_000_000, help="Word pieces, at most; default by size."
    ),
    min_notes: int = typer.Option(
        3, min=1, max=MAX_COUNT, help="Words that fewer notes have give no pieces to the vocabulary."
    ),
    sequence_length: Optional[int] = typer.Option(None, min=8, max=8192, help="Pieces of a sequence; default by size."),
    batch_size: Optional[int] = typer.Option(None, min=1, max=65_536, help="Sequences of a batch; default by size."),
    learning_rate: Optional[float] = typer.Option(
        None, min=0.0, max=1.0, callback=not_nan, help="At its peak; default by size."
    ),
    held_out: float = typer.Option(
        0.02, min=0.0, max=0.5, callback=not_nan, help="Share of the notes that is kept for the perplexity."
    ),
    random_start: bool = typer.Option(
        False,
        "--random-start",
        help="Begin with random weights only; else frequencies of word pieces, and which keep company, are counted and "
        "written into the weights first, and some heads look at neighbours, which saves thousands of steps.",
    ),
    gpu_id: int = typer.Option(-1, min=-1, max=MAX_THREADS, help="GPU, or -1 for the CPU."),
    full_precision: bool = typer.Option(
        False,
        "--full-precision",
        help="Train in float32; else in mixed precision on a GPU, and on a CPU that computes in bfloat16 (AVX512-BF16, "
        "AMX), where it is about 1.5 times as fast.",
    ),
    no_plots: bool = typer.Option(False, "--no-plots", help="Draw no loss curve (needs no matplotlib)."),
    restart: bool = typer.Option(False, "--restart", help="Forget an unfinished run in OUT.partial."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it is there."),
) -> None:
    """Train a word-piece vocabulary and a BERT on raw notes by masked language modelling, or continue an encoder.

    A run that was stopped, even by kill -9, goes on where its last checkpoint is if the same command is given again;
    only --max-minutes may then be another.
    With --max-steps the same notes and seed give the same encoder; with --max-minutes the clock decides on the steps.

    Example: clinical-ner pretrain raw_notes encoder --size tiny --max-minutes 60 --lang es
    """
    from spacy_clinical_ner.errors import ClinicalNerError
    from spacy_clinical_ner.raw_notes.settings import PretrainingSettings

    if start is not None and (size is not None or vocab_size is not None):
        raise ClinicalNerError("--from has the size and the vocabulary of its encoder: leave out --size, --vocab-size")
    settings = PretrainingSettings(
        size=(size or SizeName.tiny).value,
        start=start,
        max_steps=max_steps,
        max_minutes=max_minutes,
        seed=seed,
        vocab_size=vocab_size,
        min_notes=min_notes,
        sequence_length=sequence_length,
        batch_size=batch_size,
        learning_rate=learning_rate,
        held_out=held_out,
        random_start=random_start,
        full_precision=full_precision,
    )

    pretrain_and_report(
        [raw, *(also or [])],
        output,
        settings,
        lang=lang,
        gpu_id=gpu_id,
        restart=restart,
        overwrite=overwrite,
        plots=not no_plots,
    )


def pretrain_and_report(sources: List[Path], output: Path, settings: PretrainingSettings, **options: Any) -> None:
    """`pretraining.pretrain.pretrain` with these options, telling how it goes: figures, no text."""
    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.raw_notes.pretrain import pretrain as run

    def report(row: Dict[str, Any]) -> None:
        loss = "     -" if row["training_loss"] is None else f"{row['training_loss']:6.3f}"
        line = (
            f"step {row['step']:>7,} of {row['total'] or '?':<7}  epoch {row['epoch']:6.2f}  "
            f"loss {loss}  held-out perplexity {row['perplexity']:10.2f}  "
            f"{row['tokens_per_second']:>8,.0f} tokens/s  {row['seconds'] / 60:6.1f} min"
        )
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    progress = sys.stderr.isatty()
    summary = run(sources, output, settings, progress=progress, say=msg.info, report=report, **options)
    msg.table([(name.replace("_", " "), f"{value:,}") for name, value in summary.to_dict().items()])
    msg.good(f"Saved encoder to {output}")
