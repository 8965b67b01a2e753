"""Command line of the project's own steps; project.yml calls them, people seldom do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional, Tuple

import typer

from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    name="python -m spacy_clinical_ner.project",
    help="Steps of project.yml that neither spaCy nor clinical-ner has.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def corpus(
    name: str = typer.Argument(..., help="Name of the corpus: its variable in project.yml and its folder in assets/."),
    output: Path = typer.Argument(..., help="Folder to write: train/, dev/, test/, raw/ and corpus.json."),
    given: str = typer.Option(
        "", help="Folder or .zip of the corpus; empty for the one in assets, or else the sample."
    ),
    assets: Path = typer.Option(Path("assets"), help="Where the corpus (folder or .zip) is looked for."),
    sample: Path = typer.Option(Path("assets/sample"), help="Folder of the bundled sample corpora."),
    sample_raw: Optional[Path] = typer.Option(None, help="Raw notes that go with the sample."),
) -> None:
    """Copy a corpus to where the workflow reads it, splitting off the parts that it lacks."""
    from wasabi import msg

    from spacy_clinical_ner.project.layout import prepare

    source, is_sample = choose_source(name, given, assets, sample)
    prepared = prepare(
        source,
        output,
        name=f"{name} sample" if is_sample else None,
        sample=is_sample,
        raw=sample_raw if is_sample else None,
    )
    if is_sample:
        msg.info(f"Using the bundled synthetic sample; for the real corpus: --vars.{name} FOLDER")
    msg.table(
        [(part, f"{count:,}", prepared.origin[part]) for part, count in prepared.documents.items()],
        header=("part", "documents", "from"),
        divider=True,
        aligns=("l", "r", "l"),
    )
    for remark in prepared.remarks:
        msg.warn(remark)


@app.command()
def train(
    config: Path = typer.Argument(..., help="Config of the pipeline."),
    corpus_dir: Path = typer.Argument(..., help="Folder written by the corpus step."),
    data: Path = typer.Argument(..., help="Folder of train.spacy, dev.spacy and vectors/."),
    output: Path = typer.Argument(..., help="Folder for model-best and model-last."),
    seed: int = typer.Option(0, help="system.seed of the config."),
    gpu_id: int = typer.Option(-1, help="GPU, or -1 for the CPU."),
    threads: int = typer.Option(1, min=1, help="Threads of torch on the CPU."),
    max_epochs: int = typer.Option(0, min=0, help="training.max_epochs; 0 for what the config says."),
    for_small: str = typer.Option("", help="Overrides for a small corpus, as in 'training.patience=100 a.b=1'."),
    small_below: int = typer.Option(0, min=0, help="A corpus with fewer kB of training text is small."),
    encoder: Optional[Path] = typer.Option(None, help="paths.encoder of the config: a folder of Hugging Face's."),
) -> None:
    """Run spacy train on a prepared corpus, with settings of their own for small ones."""
    from wasabi import msg

    from spacy_clinical_ner.training.workflow import encoder_overrides, is_small, parse_overrides, train_pipeline

    overrides = encoder_overrides(encoder) if encoder is not None else {}
    if is_small(corpus_dir / "train", small_below):
        overrides.update(parse_overrides(for_small))
        msg.info(f"Less than {small_below} kB of training text: using the settings for small corpora")
    overrides["system.seed"] = seed
    if max_epochs:
        overrides["training.max_epochs"] = max_epochs
    train_pipeline(config, data, output, overrides, gpu_id=gpu_id, threads=threads)


@app.command()
def pretrain(
    corpus_dir: Path = typer.Argument(..., help="Folder written by the corpus step; its raw notes are read."),
    output: Path = typer.Argument(..., help="Folder of the encoder; replaced if it is there."),
    raw: str = typer.Option("", help="More raw notes: a folder or .jsonl; empty for none."),
    lang: str = typer.Option(..., help="Language code."),
    size: str = typer.Option("tiny", help="tiny, small or base."),
    max_minutes: float = typer.Option(60, min=0.0, help="Wall time for all."),
    seed: int = typer.Option(0, help="Seed of weights, order and masks."),
    gpu_id: int = typer.Option(-1, help="GPU, or -1 for the CPU."),
    threads: int = typer.Option(1, min=1, help="Threads of torch on the CPU."),
    small_below: int = typer.Option(0, min=0, help="With fewer kB of raw notes, few steps are enough."),
    small_steps: int = typer.Option(50, min=1, help="How many."),
) -> None:
    """Train an encoder on the raw notes of a corpus and on others; stopped, it goes on where it was."""
    import torch

    from spacy_clinical_ner.cli.pretrain import SizeName, pretrain_and_report
    from spacy_clinical_ner.raw_notes.settings import PretrainingSettings
    from spacy_clinical_ner.training.workflow import is_small

    if size not in list(SizeName):
        raise ClinicalNerError(f"no size '{size}'; use {', '.join(SizeName)}")
    torch.set_num_threads(threads)
    sources = [corpus_dir / "raw", *([Path(raw)] if raw else [])]
    steps = small_steps if not raw and is_small(corpus_dir / "raw", small_below) else None
    settings = PretrainingSettings(size=size, max_steps=steps, max_minutes=max_minutes, seed=seed)
    pretrain_and_report(sources, output, settings, lang=lang, gpu_id=gpu_id, overwrite=True)


@app.command()
def clear(folder: Path = typer.Argument(..., help="Folder of predictions; need not be there.")) -> None:
    """Remove the predictions of an earlier run, perhaps of another corpus: they would mix with those to come.

    A folder that holds anything but .txt and .ann files is left alone, with status 2.
    """
    import shutil

    from spacy_clinical_ner.errors import InputError

    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".txt", ".ann"):
            raise InputError(path, None, "not a prediction; this folder is not removed")
    if folder.exists():
        shutil.rmtree(folder)


@app.command()
def package(
    model: Path = typer.Argument(..., help="The trained pipeline."),
    corpus_dir: Path = typer.Argument(..., help="Folder written by the corpus step."),
    metrics: Path = typer.Argument(..., help="metrics.json of clinical-ner evaluate."),
    output: Path = typer.Argument(..., help="Folder of packages."),
    name: str = typer.Option(..., help="Name of the package, without the language."),
    version: str = typer.Option(..., help="Version of the package."),
    license_name: Optional[str] = typer.Option(None, "--license", help="Licence of the package."),
    given_entities: bool = typer.Option(False, "--given-entities", help="The pipeline finds relations only."),
) -> None:
    """Build a wheel whose meta tells what the pipeline was trained on and how well it does. Offline."""
    from wasabi import msg

    from spacy_clinical_ner.project.package import build_wheel

    wheel = build_wheel(
        model,
        corpus_dir,
        metrics,
        output,
        name=name,
        version=version,
        license_name=license_name,
        given_entities=given_entities,
    )
    msg.good(f"Built {wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")


@app.command()
def smoke(
    pipeline: str = typer.Argument(..., help="Installed package, for spacy.load."),
    notes: Path = typer.Argument(..., help="Folder of notes."),
    corpus_dir: Optional[Path] = typer.Option(None, "--corpus", help="Folder written by the corpus step."),
    show_text: bool = typer.Option(False, help="Print the text of the entities even if the notes are real."),
    given_entities: bool = typer.Option(
        False, "--given-entities", help="Print the relations that it finds between the entities of the .ann files."
    ),
) -> None:
    """Print the entities that the installed pipeline finds in a note.

    The text of the entities is printed for the synthetic sample only: that of other notes may be patient data.
    """
    from wasabi import msg

    from spacy_clinical_ner.pipelines import load_pipeline
    from spacy_clinical_ner.project.layout import PreparedCorpus
    from spacy_clinical_ner.project.smoke import find_entities, find_relations

    if given_entities:
        note, relations = find_relations(load_pipeline(pipeline), notes)
        msg.good(f"spacy.load({pipeline!r}) finds {len(relations)} relations in {note}")
        rows = [
            (
                found.label,
                *(f"{label} {start}-{end}" for label, start, end in (found.head, found.tail)),
                f"{found.score:.3f}",
            )
            for found in relations
        ]
        msg.table(rows, header=("label", "head", "tail", "score"), divider=True, max_col=60)
        return
    show_text = show_text or (corpus_dir is not None and PreparedCorpus.read(corpus_dir).sample)
    note, entities = find_entities(load_pipeline(pipeline), notes, show_text=show_text)
    msg.good(f"spacy.load({pipeline!r}) finds {len(entities)} entities in {note}")
    msg.table(
        [
            (found.label, f"{found.start}-{found.end}", f"{found.confidence:.3f}", found.text or "(not shown)")
            for found in entities
        ],
        header=("label", "offsets", "confidence", "text"),
        divider=True,
        max_col=60,
    )


def choose_source(name: str, given: str, assets: Path, sample: Path) -> Tuple[Path, bool]:
    """Where the corpus lies, and whether that is the bundled sample.

    What was given comes first and must exist (the reader says so if not); then assets/NAME, assets/NAME.zip, sample.
    """
    bundled = sample / name
    if given:
        return Path(given), Path(given).resolve() == bundled.resolve()
    for candidate in (assets / name, assets / f"{name}.zip"):
        if candidate.exists():
            return candidate, False
    return bundled, True


def main() -> None:
    """Run the command line; bad input ends with one line on stderr and status 2."""
    try:
        app()
    except ClinicalNerError as error:
        print(f"{app.info.name}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
