"""`clinical-ner evaluate`: predicted BRAT annotations against gold ones, character by character."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, Iterable, Optional

import typer

from spacy_clinical_ner.cli.convert import OFFSETS_HELP, Offsets
from spacy_clinical_ner.cli.numbers import MAX_SEED, not_nan
from spacy_clinical_ner.errors import ClinicalNerError


def evaluate(
    gold: Path = typer.Argument(..., metavar="GOLD_BRAT_DIR", help="Folder of notes (.txt) with gold .ann files."),
    pred: Path = typer.Argument(
        ...,
        metavar="PRED_BRAT_DIR",
        help="Folder of predicted .ann files under the same relative names. A .txt beside them is optional; where "
        "there is one, it must be the gold text.",
    ),
    output: Optional[Path] = typer.Option(None, "--output", "-o", help="Write all figures as JSON."),
    fail_under: Optional[float] = typer.Option(
        None,
        "--fail-under",
        min=0.0,
        max=1.0,
        callback=not_nan,
        help="Exit with status 1 if strict micro F (0 to 1) is lower.",
    ),
    relations: Optional[bool] = typer.Option(
        None, "--relations/--no-relations", help="Score relations (R lines). Default: if gold or prediction has any."
    ),
    compare: Optional[Path] = typer.Option(
        None,
        "--compare",
        metavar="OTHER_PRED_DIR",
        help="Another system's predictions for the same gold notes: difference in F with its interval and p-value.",
    ),
    bootstrap: int = typer.Option(
        1000, "--bootstrap", min=0, max=1_000_000, help="Resamples of the documents for 95% intervals; 0: no intervals."
    ),
    seed: int = typer.Option(
        0, min=0, max=MAX_SEED, help="Seed of the resamples: the same seed gives the same intervals."
    ),
    ignore_extra: bool = typer.Option(
        False, "--ignore-extra", help="Leave out predictions for notes that gold lacks, instead of stopping."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace a file that `evaluate` did not make; its own is replaced in any case."
    ),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=OFFSETS_HELP),
) -> None:
    """Score predicted mentions and relations against gold: precision, recall and F with confidence intervals.

    Strict: label and exact offsets; of a discontinuous mention all fragments. Relaxed: label and any shared character,
    paired one-to-one. Each unique mention counts once. Gold notes without a prediction are all missed.

    micro sums the counts; macro is the mean over labels that gold has; weighted is that mean weighted by gold mentions.
    0/0 is 0. Relations are directed and need both mentions, so a relation whose mention was not predicted is missed.

    Example: clinical-ner evaluate corpus/dev predictions/dev --output metrics.json --fail-under 0.82

    Example: clinical-ner evaluate corpus/dev predictions/crf --compare predictions/baseline
    """
    if compare is not None and not bootstrap:
        raise ClinicalNerError("evaluate: --compare needs --bootstrap 1 or more")

    from wasabi import msg

    from spacy_clinical_ner.outputs import check_output, json_with

    if output is not None:
        inputs = [gold, pred, *([compare] if compare else [])]
        check_output(output, json_with("entities", "bootstrap"), inputs=inputs, overwrite=overwrite)
    metrics = evaluate_and_save(
        gold,
        pred,
        output,
        compare=compare,
        relations=relations,
        samples=bootstrap,
        seed=seed,
        ignore_extra=ignore_extra,
        offsets=offsets.value,
    )
    reached = metrics["entities"]["strict"]["micro"]["f"]
    if fail_under is not None and reached < fail_under:
        msg.fail(f"strict micro F {reached:.4f} is below --fail-under {fail_under:g}")
        raise typer.Exit(1)


def evaluate_and_save(gold: Path, pred: Path, output: Optional[Path] = None, **options: Any) -> Dict[str, Any]:
    """`evaluation.evaluate_folders` with these options: its figures, printed and perhaps written as JSON."""
    import srsly
    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.evaluation import evaluate_folders
    from spacy_clinical_ner.evaluation.tables import print_metrics
    from spacy_clinical_ner.files import replacing

    def progress(names: Iterable[str]) -> Iterable[str]:
        return tqdm(names, desc="evaluate", unit="note", disable=not sys.stderr.isatty())

    metrics = evaluate_folders(gold, pred, progress=progress, **options)
    print_metrics(metrics, msg)
    if output is not None:
        with replacing(output) as temporary:
            srsly.write_json(temporary, metrics)
        msg.good(f"Saved figures to {output}")
    return metrics
