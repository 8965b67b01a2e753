"""`clinical-ner project`: the steps of project.yml, with paths that follow from the names of corpora and workflows.

A corpus NAME lives in corpus/NAME (`brat/` with its parts, `train.spacy`, `dev.spacy`), a workflow in training/NAME.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT, MAX_MINUTES, MAX_SEED, MAX_THREADS, not_nan, plain_name
from spacy_clinical_ner.cli.pretrain import SizeName

app = typer.Typer(
    help="The steps of project.yml, which people seldom call by hand: `spacy project run WORKFLOW`.\n\n"
    "Example: spacy project run cantemist . --vars.cantemist FOLDER",
    no_args_is_help=True,
)

CORPUS, TRAINING, PACKAGES, CONFIGS = Path("corpus"), Path("training"), Path("packages"), Path("configs")
ASSETS = Path("assets")
# An encoder of one language has some 30,000 word pieces, one of a hundred languages up to 250,000.
MANY_PIECES = 60_000


@app.command()
def prepare(
    corpus: str = typer.Argument(
        ..., callback=plain_name, help="Name of the corpus: its variable in project.yml, its folder in assets/."
    ),
    lang: str = typer.Option(..., "--lang", "-l", help="Language code: es, en, zh, ..."),
    given: str = typer.Option(
        "", help="Folder or .zip of the corpus; empty for the one in assets, or else the sample."
    ),
    sample_raw: Optional[Path] = typer.Option(None, help="Raw notes that go with the sample."),
) -> None:
    """Lay out a corpus as train, dev, test and raw notes, splitting off what it lacks, and convert it with an audit.

    Malformed lines of .ann files are dropped, and each is named.

    Example: clinical-ner project prepare cantemist --lang es --given FOLDER
    """
    from wasabi import msg

    from spacy_clinical_ner.cli.convert import convert_folder
    from spacy_clinical_ner.project.layout import choose_source, prepare_corpus
    from spacy_clinical_ner.tokenization import TokenizerOnly

    source, is_sample = choose_source(corpus, given, ASSETS)
    folder = CORPUS / corpus
    prepared = prepare_corpus(
        source,
        folder / "brat",
        name=f"{corpus} sample" if is_sample else None,
        sample=is_sample,
        raw=sample_raw if is_sample else None,
    )
    if is_sample:
        msg.info(f"Using the bundled synthetic sample; for the real corpus: --vars.{corpus} FOLDER")
    msg.table(
        [(part, f"{count:,}", prepared.origin[part]) for part, count in prepared.documents.items()],
        header=("part", "documents", "from"),
        divider=True,
        aligns=("l", "r", "l"),
    )
    for remark in prepared.remarks:
        msg.warn(remark)
    for part in ("train", "dev"):
        audit = folder / f"{part}.audit.json"
        # Published corpora have a bad line here and there: it is named, and counted in the audit.
        convert_folder(
            folder / "brat" / part, folder / f"{part}.spacy", TokenizerOnly(lang), audit=audit, on_error="drop"
        )


@app.command()
def pretrain(
    corpus: str = typer.Argument(..., callback=plain_name, help="Name of the corpus whose raw notes are read."),
    lang: str = typer.Option(..., "--lang", "-l", help="Language code: es, en, zh, ..."),
    raw: str = typer.Option("", help="More raw notes: a folder or .jsonl; empty for none."),
    encoder: str = typer.Option("", help="Folder or hub name of an encoder to take in place of one of one's own."),
    size: SizeName = typer.Option(SizeName.tiny, help="tiny, small or base."),
    max_minutes: float = typer.Option(60, min=0.0, max=MAX_MINUTES, callback=not_nan, help="Wall time for all."),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="Seed of weights, order and masks."),
    gpu_id: int = typer.Option(-1, min=-1, max=MAX_THREADS, help="GPU, or -1 for the CPU."),
    threads: int = typer.Option(1, min=1, max=MAX_THREADS, help="Threads of torch on the CPU."),
    small_below: int = typer.Option(0, min=0, max=MAX_COUNT, help="With fewer kB of raw notes, few steps are enough."),
    small_steps: int = typer.Option(50, min=1, max=MAX_COUNT, help="How many."),
) -> None:
    """Train an encoder on the raw notes of a corpus and on others; stopped, it goes on where it was.

    With --encoder nothing is trained: that encoder is cut to the word pieces that the corpus uses, as by `trim`.

    Example: clinical-ner project pretrain cantemist --lang es --raw FOLDER --max-minutes 600
    """
    import torch

    from spacy_clinical_ner.cli.pretrain import pretrain_and_report
    from spacy_clinical_ner.raw_notes.settings import PretrainingSettings
    from spacy_clinical_ner.training.workflow import is_small

    if encoder:
        from spacy_clinical_ner.cli.trim import trim_and_report

        trim_and_report(encoder, CORPUS / corpus / "encoder", [CORPUS / corpus / "brat"], [lang], overwrite=True)
        return
    torch.set_num_threads(threads)
    notes = CORPUS / corpus / "brat" / "raw"
    steps = small_steps if not raw and is_small(notes, small_below) else None
    settings = PretrainingSettings(size=size.value, max_steps=steps, max_minutes=max_minutes, seed=seed)
    sources = [notes, *([Path(raw)] if raw else [])]
    pretrain_and_report(sources, CORPUS / corpus / "encoder", settings, lang=lang, gpu_id=gpu_id, overwrite=True)


@app.command()
def train(
    workflow: str = typer.Argument(..., callback=plain_name, help="Name of the workflow: its folder in training/."),
    corpus: str = typer.Option(..., callback=plain_name, help="Name of the corpus."),
    config: Optional[Path] = typer.Option(None, help="Config of the pipeline; by default configs/WORKFLOW.cfg."),
    encoder: str = typer.Option("", help="Folder of an encoder, or its name on the Hugging Face hub; empty for none."),
    refit: bool = typer.Option(False, "--refit", help="Train once more on train and dev: model-refit, see `refit`."),
    seed: int = typer.Option(0, min=0, max=MAX_SEED, help="system.seed of the config."),
    gpu_id: int = typer.Option(-1, min=-1, max=MAX_THREADS, help="GPU, or -1 for the CPU."),
    threads: int = typer.Option(1, min=1, max=MAX_THREADS, help="Threads of torch on the CPU."),
    max_epochs: int = typer.Option(0, min=0, max=MAX_COUNT, help="training.max_epochs; 0 for what the config says."),
    for_small: str = typer.Option("", help="Overrides for a small corpus, as in 'training.patience=100 a.b=1'."),
    small_below: int = typer.Option(0, min=0, max=MAX_COUNT, help="A corpus with fewer kB of training text is small."),
) -> None:
    """Run spacy train on a prepared corpus, with settings of their own for small ones.

    With --encoder the pipeline reads a pre-trained encoder beside what its config says: the vocabulary is cut to the
    pieces that the corpus uses, most layers are frozen, and the config as it ran is in training/WORKFLOW/train.cfg.

    Example: clinical-ner project train cantemist_trf --corpus cantemist --encoder corpus/cantemist/encoder
    """
    from wasabi import msg

    from spacy_clinical_ner.cli.refit import refit_and_save
    from spacy_clinical_ner.training.workflow import is_small, parse_overrides, train_pipeline

    data = CORPUS / corpus
    config = config or CONFIGS / f"{workflow}.cfg"
    if encoder:
        encoder = with_used_pieces(encoder, data, config)
    overrides: Dict[str, Any] = {}
    if is_small(data / "brat" / "train", small_below):
        overrides.update(parse_overrides(for_small))
        msg.info(f"Less than {small_below} kB of training text: using the settings for small corpora")
    overrides["system.seed"] = seed
    if max_epochs:
        overrides["training.max_epochs"] = max_epochs
    output = TRAINING / workflow
    train_pipeline(config, data, output, overrides, encoder=encoder or None, gpu_id=gpu_id, threads=threads)
    if refit:
        notes = [data / "train.spacy", data / "dev.spacy"]
        refit_and_save(str(output / "model-best"), notes, output / "model-refit", gpu_id=gpu_id)


def with_used_pieces(encoder: str, data: Path, config: Path) -> str:
    """The encoder itself or, if its vocabulary is one of many languages, DATA/NAME with the pieces that are used."""
    from wasabi import msg

    from spacy_clinical_ner.cli.trim import trim_and_report
    from spacy_clinical_ner.training.over_encoder import encoder_config
    from spacy_clinical_ner.training.spacy_train import read_config

    if int(encoder_config(encoder).get("vocab_size", 0)) < MANY_PIECES:
        return encoder
    trimmed = data / Path(encoder).name
    if trimmed.is_dir():
        msg.info(f"Using {trimmed}, which was cut out of {encoder} before")
    else:
        trim_and_report(encoder, trimmed, [data / "brat"], [read_config(config)["nlp"]["lang"]])
    return str(trimmed)


@app.command()
def deliver(
    workflow: str = typer.Argument(..., callback=plain_name, help="Name of the workflow: its folder in training/."),
    corpus: str = typer.Option(..., callback=plain_name, help="Name of the corpus."),
    package: str = typer.Option(
        ...,
        callback=plain_name,
        help="Name of the package, without the language; on the bundled sample cantemist_ner is cantemist_sample_ner.",
    ),
    version: str = typer.Option(..., callback=plain_name, help="Version of the package."),
    model: str = typer.Option("model-best", callback=plain_name, help="The pipeline's folder in training/WORKFLOW."),
    relations: bool = typer.Option(False, "--relations", help="Score relations, too."),
    given_entities: bool = typer.Option(
        False, "--given-entities", help="The pipeline finds relations between given entities only."
    ),
) -> None:
    """Annotate the test notes, score them, write a report, build and install a wheel, and try it on a note.

    The wheel's meta tells what the pipeline was trained on and how well it does; its README has the report. All of
    this is done offline.

    Example: clinical-ner project deliver cantemist --corpus cantemist --package cantemist_ner --version 0.1.0
    """
    from wasabi import msg

    from spacy_clinical_ner.cli.annotate import annotate_folder
    from spacy_clinical_ner.cli.evaluate import evaluate_and_save
    from spacy_clinical_ner.cli.report import write_report
    from spacy_clinical_ner.project.layout import PreparedCorpus
    from spacy_clinical_ner.project.package import build_wheel, clear_predictions, install_wheels, sample_package

    brat, output = CORPUS / corpus / "brat", TRAINING / workflow
    predictions, metrics, card = output / "predictions", output / "metrics.json", output / "report.md"
    clear_predictions(predictions)
    given = {"given_entities": True} if given_entities else {"confidence": True}
    annotate_folder(str(output / model), brat / "test", predictions, **given)
    with_relations = relations or given_entities
    evaluate_and_save(brat / "test", predictions, metrics, relations=with_relations)
    if find_spec("jinja2") and find_spec("matplotlib"):
        note_ceiling(brat / "test", output / "test.stats.json", model=output / model)
        write_report(
            brat / "test",
            [predictions],
            {output / "report.html": "html", card: "md"},
            workflow,
            overwrite=True,
            names=[workflow],
            relations=with_relations,
            train=brat / "train",
            training=output,
            pipelines=[str(output / model)] if with_relations else [],
        )
    else:
        msg.warn("No report: pip install 'spacy-clinical-ner[report]'")
    wheel = build_wheel(
        output / model,
        brat,
        metrics,
        PACKAGES,
        name=sample_package(package) if PreparedCorpus.read(brat).sample else package,
        version=version,
        given_entities=given_entities,
        card=card if card.is_file() else None,
    )
    msg.good(f"Built {wheel} ({wheel.stat().st_size / 1e6:.1f} MB)")
    install_wheels([wheel], force=True)
    try_on_a_note(wheel.name.partition("-")[0], brat, given_entities=given_entities)


def note_ceiling(notes: Path, path: Path, *, model: Path) -> None:
    """Write what `clinical-ner stats` says of the notes, with the best score that a tagger could reach on them."""
    import srsly

    from spacy_clinical_ner.brat import read_folder
    from spacy_clinical_ner.evaluation.statistics import corpus_report
    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.pipelines import load_pipeline

    report = corpus_report(load_pipeline(str(model)), read_folder(notes))
    with replacing(path) as temporary:
        srsly.write_json(temporary, report)


@app.command()
def install(version: str = typer.Option(..., callback=plain_name, help="Version of the packages.")) -> None:
    """Install the wheels in packages/ that this environment lacks: `deliver` may have been done in another one.

    Example: clinical-ner project install --version 0.1.0
    """
    from spacy_clinical_ner.project.package import install_wheels

    install_wheels(sorted(PACKAGES.glob(f"*-{version}/dist/*.whl")))


@app.command()
def smoke(
    pipeline: str = typer.Argument(..., help="Installed package, for spacy.load."),
    corpus: str = typer.Option(..., callback=plain_name, help="Name of the corpus that has the notes."),
    show_text: bool = typer.Option(False, "--show-text", help="Print the text of the entities of real notes, too."),
    given_entities: bool = typer.Option(
        False, "--given-entities", help="Print the relations that it finds between the entities of the .ann files."
    ),
) -> None:
    """Print the entities that the installed pipeline finds in a test note.

    The text of the entities is printed for the synthetic sample only: that of other notes may be patient data.

    Example: clinical-ner project smoke es_cantemist_ner --corpus cantemist
    """
    try_on_a_note(pipeline, CORPUS / corpus / "brat", show_text=show_text, given_entities=given_entities)


def try_on_a_note(pipeline: str, brat: Path, *, show_text: bool = False, given_entities: bool = False) -> None:
    """Print what an installed pipeline finds in a test note of a corpus that was laid out; see `smoke`."""
    from wasabi import msg

    from spacy_clinical_ner.pipelines import load_pipeline
    from spacy_clinical_ner.project.layout import PreparedCorpus
    from spacy_clinical_ner.project.smoke import find_entities, find_relations

    notes = brat / "test"
    if given_entities:
        note, relations = find_relations(load_pipeline(pipeline), notes)
        kind, header = "relations", ("label", "head", "tail", "score")
        rows = [(r.label, _place(r.head), _place(r.tail), f"{r.score:.3f}") for r in relations]
    else:
        show_text = show_text or PreparedCorpus.read(brat).sample
        note, entities = find_entities(load_pipeline(pipeline), notes, show_text=show_text)
        kind, header = "entities", ("label", "offsets", "confidence", "text")
        rows = [(e.label, f"{e.start}-{e.end}", f"{e.confidence:.3f}", e.text or "(not shown)") for e in entities]
    msg.good(f"spacy.load({pipeline!r}) finds {len(rows)} {kind} in {note}")
    msg.table(rows, header=header, divider=True, max_col=60)


def _place(mention: Tuple[str, int, int]) -> str:
    label, start, end = mention
    return f"{label} {start}-{end}"
