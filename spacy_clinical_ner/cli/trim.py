"""`clinical-ner trim`: an encoder without the word pieces that nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence

import typer


def trim(
    encoder: str = typer.Argument(..., help="Folder of an encoder, or its name on the Hugging Face hub."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write."),
    texts: List[Path] = typer.Option(
        ..., help="Raw notes whose word pieces are kept: a folder (every .txt below it) or .jsonl; may be repeated."
    ),
    lang: Optional[List[str]] = typer.Option(
        None, "--lang", "-l", help="Also every single letter of this language: es, en, zh, ...; may be repeated."
    ),
    float16: bool = typer.Option(False, "--float16", help="Store the weights in half precision."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it is there."),
) -> None:
    """Cut the vocabulary of a multilingual encoder to the word pieces that notes use, and what any text may hold.

    Texts whose pieces are all kept have the same vectors as before.

    Example: clinical-ner trim intfloat/multilingual-e5-small encoder --texts raw_notes --lang es
    """
    trim_and_report(encoder, output, texts, lang or (), float16=float16, overwrite=overwrite)


def trim_and_report(
    encoder: str,
    output: Path,
    texts: Sequence[Path],
    langs: Sequence[str],
    *,
    float16: bool = False,
    overwrite: bool = False,
) -> None:
    """Trim an encoder and print what is left of it. Raises ClinicalNerError as `transformers.trim.trim` does."""
    from wasabi import msg

    from spacy_clinical_ner.raw_notes.notes import read_notes
    from spacy_clinical_ner.transformers.trim import trim as run

    notes = (note.text for note in read_notes(texts))
    summary = run(encoder, output, notes, langs, float16=float16, sources=texts, overwrite=overwrite)
    msg.table(
        [
            ("notes", f"{summary.notes:,}"),
            ("word pieces", f"{summary.pieces_before:,} -> {summary.pieces:,}"),
            ("MB of weights", f"{summary.megabytes_before:.1f} -> {summary.megabytes:.1f}"),
        ]
    )
    msg.good(f"Saved encoder to {output}")
