"""`clinical-ner vectors`: word vectors from raw notes."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import List, Optional

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_SEED, MAX_THREADS


class TokenAttribute(str, Enum):
    """Token attribute that vectors are looked up by."""

    ORTH = "ORTH"
    LOWER = "LOWER"
    NORM = "NORM"


def vectors(
    raw_dir: Path = typer.Argument(..., help="Folder of raw notes: every .txt below it. A BRAT folder will do."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write, for `initialize.vectors` of a config."),
    lang: str = typer.Option(..., "--lang", "-l", help="Language code: es, en, zh, ..."),
    also: Optional[List[Path]] = typer.Option(None, "--also", help="Another folder of raw notes; may be repeated."),
    dim: int = typer.Option(96, min=1, max=4096, help="Width of a vector."),
    epochs: int = typer.Option(10, min=1, max=10_000, help="Passes over the notes."),
    min_count: int = typer.Option(3, min=1, max=MAX_COUNT, help="Words seen more rarely train no vector of their own."),
    buckets: int = typer.Option(
        50_000, min=1, max=20_000_000, help="Rows of the table; its size is buckets x dim x 4 bytes."
    ),
    attr: TokenAttribute = typer.Option(TokenAttribute.LOWER, help="Token attribute that vectors are looked up by."),
    threads: int = typer.Option(
        1, min=1, max=MAX_THREADS, help="Threads of floret. Only with 1 the same notes and seed give the same vectors."
    ),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of the order in which notes are read."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it holds vectors and nothing else."),
) -> None:
    """Train floret word vectors on raw notes and save them for use in a config.

    Needs the extra `vectors` (pip install 'spacy-clinical-ner[vectors]'). The output holds the table only, no words.

    Example: clinical-ner vectors raw_notes corpus/vectors --lang es
    """
    from wasabi import msg

    from spacy_clinical_ner.outputs import PIPELINE, check_output
    from spacy_clinical_ner.raw_notes.vectors import FloretSettings, train_vectors

    settings = FloretSettings(dim=dim, epochs=epochs, min_count=min_count, buckets=buckets, threads=threads, seed=seed)
    folders = [raw_dir, *(also or [])]
    check_output(output, PIPELINE, inputs=folders, overwrite=overwrite)
    summary = train_vectors(folders, output, lang, settings, attr=attr.value, progress=sys.stderr.isatty())
    msg.table(
        [
            ("notes", f"{summary.documents:,}"),
            ("tokens", f"{summary.tokens:,}"),
            (f"words seen at least {min_count} times", f"{summary.words:,}"),
            ("tokens that these cover", f"{summary.coverage:.1%}"),
            ("table", f"{summary.rows:,} x {summary.dim}, {summary.size / 1e6:.1f} MB"),
            ("time", f"{summary.seconds_reading:.0f} s reading, {summary.seconds_training:.0f} s training"),
        ]
    )
    msg.good(f"Saved vectors to {output}")
