"""`clinical-ner refit`: a trained pipeline once more, on the notes that had stopped its training too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Sequence

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_SEED, MAX_THREADS


def refit(
    pipeline: str = typer.Argument(..., help="Trained pipeline: a folder or an installed package."),
    notes: Path = typer.Argument(..., help="Annotated notes: a BRAT folder, or a .spacy file made by `convert`."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write the new pipeline to."),
    also: Optional[List[Path]] = typer.Option(None, "--also", help="More annotated notes; may be repeated."),
    steps: Optional[int] = typer.Option(
        None, min=1, max=MAX_COUNT, help="Updates; by default training.max_steps of its config."
    ),
    same_passes: bool = typer.Option(
        False,
        "--same-passes",
        help="As many more updates as there are more notes than before, so that each is seen as often.",
    ),
    seed: Optional[int] = typer.Option(
        None, min=0, max=MAX_SEED, help="Seed of weights and order; by default that of its config."
    ),
    gpu_id: int = typer.Option(-1, min=-1, max=MAX_THREADS, help="GPU, or -1 for the CPU."),
    threads: int = typer.Option(1, min=1, max=MAX_THREADS, help="Threads of torch on the CPU."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it is there."),
) -> None:
    """Train a pipeline's config from the start on all notes: those that had stopped its training, too.

    Early stopping, and tuning a threshold or temperature, want notes that are not trained on. A small corpus can ill
    spare them: once they have told what they have to tell, they are worth more in training. The new pipeline is trained
    to the last step of its config, and takes the tuned values of the old one. Score it on notes that neither has seen.

    Example: clinical-ner refit training/model-best notes/train refit --also notes/dev
    """
    import torch

    from spacy_clinical_ner.outputs import PIPELINE, check_output

    if steps is not None and same_passes:
        raise typer.BadParameter("--steps and --same-passes exclude each other")
    check_output(output, PIPELINE, inputs=[pipeline, notes, *(also or [])], overwrite=overwrite)
    torch.set_num_threads(threads)
    refit_and_save(
        pipeline, [notes, *(also or [])], output, steps=steps, same_passes=same_passes, seed=seed, gpu_id=gpu_id
    )


def refit_and_save(pipeline: str, notes: Sequence[Path], output: Path, **options: Any) -> None:
    """`training.refit.refit` with these options, written to `output` in place of what is there."""
    from wasabi import msg

    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.pipelines import save_pipeline
    from spacy_clinical_ner.training.refit import refit as train_again

    nlp = train_again(pipeline, notes, **options)
    with replacing(output) as temporary:
        save_pipeline(nlp, temporary)
    msg.good(f"Saved to {output}: {nlp.meta['refit']['updates']:,} updates on {nlp.meta['refit']['notes']:,} notes")
