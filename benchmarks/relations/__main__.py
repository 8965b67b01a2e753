"""Relations between gold entities: look-up, spaCy's tutorial re-created, and `relation_classifier`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import typer

from benchmarks.common import run_app
from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PACKAGES = ("spacy-clinical-ner", "spacy", "thinc", "torch")


@app.command()
def relations(
    corpus: Path = typer.Option(..., help="Folder with train/ and dev/.", exists=True, file_okay=False),
    kind: str = typer.Option("maccrobat", help="Which corpus it is: maccrobat or diabetes (which has no tutorial)."),
    seeds: int = typer.Option(
        1, min=1, help="Trainings of ours, with seeds 0, 1, ...; the median counts. The tutorial is trained once."
    ),
    entities: Optional[Path] = typer.Option(
        None,
        help="Entities that a tagger found in dev/ (benchmarks.tagger maccrobat leaves some): relations of those too.",
        exists=True,
        file_okay=False,
    ),
    max_steps: int = typer.Option(0, min=0, help="Stop trainings after so many updates, to try the command."),
    fresh: bool = typer.Option(False, "--fresh", help="Run again what an earlier run with the same settings finished."),
    record: bool = typer.Option(False, "--record", help="Add the figures to benchmarks/results/."),
) -> None:
    """Directed strict micro F over all relation types, against the original .ann, with a bootstrap interval.

    look-up: the most frequent label of (type of head, type of tail, order, distance) in train/. tutorial: mean-pooled
    vectors, all ordered pairs within 100 tokens, sigmoid, threshold 0.5, over the tok2vec of ours; and the same with a
    threshold that is tuned as ours is. relation_classifier: configs/maccrobat_relations.cfg, stopped early, or for
    diabetes with other sizes (`compare.our_config`). Stopping and tuning use a tenth of train/ that is chosen by a hash
    of the document names. refit: the same config once more on all of train/, with the threshold tuned before
    (`clinical-ner refit`). end to end: relations between the entities of --entities, which are wrong where those are. A
    row that is finished is stored and not repeated.

    Example: python -m benchmarks.relations --corpus ../shared/data/maccrobat --seeds 3 --record
    """
    from benchmarks.relations.compare import CORPORA, compare, figures, report

    if kind not in CORPORA:
        raise ClinicalNerError(f"--kind is one of {', '.join(CORPORA)}, not {kind}")

    extra: Tuple[str, ...] = ()
    if max_steps:
        extra = ("--training.max_steps", str(max_steps), "--training.eval_frequency", str(max(1, max_steps // 2)))
    results = compare(corpus, seeds, extra, fresh, entities, CORPORA[kind])
    typer.echo("\n" + report(results))
    if record:
        from benchmarks.results import record as write

        typer.echo(f"Recorded in {write(f'relations {kind}', figures(results), PACKAGES)}")


if __name__ == "__main__":
    run_app(app, "relations")
