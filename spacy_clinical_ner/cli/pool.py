"""`clinical-ner pool`: several trained taggers as one."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional

import typer

from spacy_clinical_ner.cli.numbers import not_nan


def pool(
    pipelines: List[str] = typer.Argument(..., metavar="PIPELINE PIPELINE...", help="Folders or installed packages."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write the pipeline with the pool to."),
    weights: Optional[List[float]] = typer.Option(
        None,
        "--weight",
        min=0.0,
        max=1e6,
        callback=not_nan,
        help="One for each pipeline, in their order; by default all are equal.",
    ),
    component: str = typer.Option("crf_ner", help="The tagger, under this name in all pipelines."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it is there."),
) -> None:
    """Add up the scores of taggers that were trained apart: the sum is one CRF again (Smith et al. 2005).

    The more they differ, the more they gain from each other, as do one over a transformer and one over word vectors.
    All must have the same labels, tag scheme and tokenizer. The pool takes as long as all of them together; its
    confidence wants a calibration of its own.

    Example: clinical-ner pool training/cantemist/model-best training/cantemist_trf/model-best pooled
    """
    from wasabi import msg

    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import PIPELINE, check_output
    from spacy_clinical_ner.pipelines import load_pipeline, save_pipeline
    from spacy_clinical_ner.tagging.pooled_pipelines import pool_pipelines

    check_output(output, PIPELINE, inputs=pipelines, overwrite=overwrite)
    nlp = pool_pipelines([load_pipeline(pipeline) for pipeline in pipelines], component, weights or None)
    with replacing(output) as temporary:
        save_pipeline(nlp, temporary)
    msg.good(f"Saved the pool of {len(pipelines)} taggers to {output}")
