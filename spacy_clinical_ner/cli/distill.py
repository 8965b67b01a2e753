"""`clinical-ner distill`: a small tagger that imitates a large one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_SEED, not_nan

if TYPE_CHECKING:
    from thinc.api import Config


def distill(
    teacher: str = typer.Argument(..., help="Trained pipeline: a folder or an installed package."),
    raw: Path = typer.Argument(..., help="Raw notes: a folder (every .txt below it), or .jsonl with a 'text' a line."),
    output: Path = typer.Argument(..., metavar="OUT", help="Folder to write the student to."),
    config: Path = typer.Option(..., "--config", "-c", help="Config of the student, such as configs/cantemist.cfg."),
    vectors: Optional[Path] = typer.Option(None, help="paths.vectors of the config, if it takes word vectors."),
    also: Optional[List[Path]] = typer.Option(None, "--also", help="More raw notes; may be repeated."),
    gold: Optional[List[Path]] = typer.Option(
        None, "--gold", help="Annotated notes, a BRAT folder or .spacy file, to learn beside; may be repeated."
    ),
    gold_passes: int = typer.Option(
        1, min=1, max=1000, help="Passes over the annotated notes for each pass over the raw ones."
    ),
    component: str = typer.Option("crf_ner", help="The tagger, under this name in both pipelines."),
    temperature: float = typer.Option(
        2.0, min=0.01, max=1000.0, callback=not_nan, help="Softens the distributions of both."
    ),
    epochs: int = typer.Option(5, min=1, max=10_000, help="Passes over the notes."),
    max_steps: Optional[int] = typer.Option(None, min=1, max=MAX_COUNT, help="Batches, at most."),
    batch_tokens: int = typer.Option(1500, min=1, max=10_000_000, help="Tokens of a batch."),
    held_out: float = typer.Option(
        0.02, min=0.0, max=0.5, callback=not_nan, help="Share of the notes that the two are compared on."
    ),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of weights and order."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace OUT if it is there."),
) -> None:
    """Train the tagger of a config on raw notes to give taggings the probabilities that the teacher gives them.

    The loss is the exact divergence of the two CRFs over whole notes. No annotations are needed. Where there are some,
    give them with --gold: the student then learns both in the same steps. The raw notes should be none that the teacher
    was trained on.

    Example: clinical-ner distill training/cantemist_trf/model-best raw_notes student --config configs/cantemist.cfg
    --vectors corpus/vectors --gold corpus/train.spacy --gold-passes 3
    """
    import sys

    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.brat.reader import create_brat_corpus
    from spacy_clinical_ner.errors import ClinicalNerError, InputError
    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import PIPELINE, check_output
    from spacy_clinical_ner.pipelines import load_pipeline, save_pipeline
    from spacy_clinical_ner.raw_notes.notes import read_notes, split_held_out
    from spacy_clinical_ner.tagging.distillation import (
        Agreement,
        Distillation,
        DistillationSettings,
        find_tagger,
        make_student,
        planned_steps,
    )

    given: List[Union[str, Path]] = [teacher, raw, config, *([vectors] if vectors else []), *(also or [])]
    given += gold or []
    check_output(output, PIPELINE, inputs=given, overwrite=overwrite)
    notes = [note for note in read_notes([raw, *(also or [])]) if note.text.strip()]
    if len(notes) < 2:
        raise InputError(raw, None, "two notes with text are needed at least")
    train, kept = split_held_out(notes, held_out)
    nlp = load_pipeline(teacher)
    tagger = find_tagger(nlp, component, "the teacher")
    settings = DistillationSettings(temperature, epochs, max_steps, batch_tokens, seed=seed, gold_passes=gold_passes)
    annotated = create_brat_corpus([*(gold or [])], gold_tokens=True)

    def pairs(part: list) -> list:
        return [(note.name, note.text) for note in part]

    learnt, compared = pairs(train), pairs(kept)
    loaded = _student_config(config, vectors, planned_steps(learnt, settings, list(annotated(nlp))))
    student = make_student(loaded, tagger, component, [note.text for note in train[:10]], seed)
    try:
        distillation = Distillation(nlp, student, component, learnt, compared, settings, list(annotated(student)))
    except ValueError as error:
        raise ClinicalNerError(f"the annotated notes do not fit the teacher: {error}") from None

    def report(agreement: Agreement) -> None:
        tqdm.write(
            f"step {agreement.step:>6,}  divergence {agreement.divergence:.5f} nats/token  mentions of the teacher "
            f"P {agreement.precision:.3f} R {agreement.recall:.3f} F {agreement.f:.3f}  {agreement.seconds:6.0f} s",
            file=sys.stdout,
        )
        sys.stdout.flush()

    msg.info(
        f"{len(train):,} notes to learn from, {len(distillation.gold):,} annotated ones beside, "
        f"{len(kept):,} to compare on; labels: {', '.join(tagger.labels)}"
    )
    distillation.run(report=report, watch=lambda batches: tqdm(batches, unit="batch", leave=False, disable=None))
    with replacing(output) as temporary:
        save_pipeline(student, temporary)
    msg.good(f"Saved the student to {output}")


def _student_config(config: Path, vectors: Optional[Path], steps: int) -> Config:
    """The config of the student, for which no corpus is read, with `steps` for the updates that it is made for.

    Raises InputError for one that cannot be used.
    """
    from spacy_clinical_ner.errors import InputError
    from spacy_clinical_ner.training.spacy_train import read_config
    from spacy_clinical_ner.training.workflow import uses_vectors

    given = read_config(config)
    wants_vectors = uses_vectors(config)
    paths = given.get("paths", {})
    # The readers of the corpora want a path all the same.
    overrides: Dict[str, Any] = {
        f"paths.{part}": "" for part in ("train", "dev") if part in paths and paths[part] is None
    }
    if vectors is not None:
        overrides["paths.vectors"] = str(vectors)
    if "max_steps" in given.get("training", {}):
        # The learning rate falls to 0 at that number in most configs.
        overrides["training.max_steps"] = steps
    loaded = read_config(config, overrides, interpolate=True)
    if not (loaded.get("nlp", {}).get("lang") and loaded.get("components")):
        raise InputError(config, None, "not the config of a pipeline: nlp.lang or [components] is missing")
    if wants_vectors and vectors is None and not paths.get("vectors"):
        raise InputError(config, None, "takes word vectors: give them with --vectors")
    return loaded
