"""`clinical-ner stats`: what is in a BRAT folder, and the best score that any model could reach on it."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Optional

import typer

from spacy_clinical_ner.cli.convert import OFFSETS_HELP, Discontinuous, Misaligned, Offsets, Overlap
from spacy_clinical_ner.errors import ClinicalNerError


def stats(
    brat_dir: Path = typer.Argument(
        ..., metavar="BRAT_DIR", help="Folder of notes (.txt) with .ann files beside them."
    ),
    lang: str = typer.Option(
        "xx",
        "--lang",
        "-l",
        help="Language of the notes (es, en, zh, ...): its stop words are left out of word clouds.",
    ),
    pipeline: Optional[str] = typer.Option(
        None, "--pipeline", help="Use the tokenizer of this pipeline (folder or package) instead of the clinical one."
    ),
    output: Optional[Path] = typer.Option(
        None, "--output", "-o", metavar="DIR", help="Write stats.json and, as PNG, entities and sentence_lengths there."
    ),
    plots: bool = typer.Option(
        True, "--plots/--no-plots", help="With --output: draw the plots. Needs the extra `plots`."
    ),
    word_cloud: bool = typer.Option(
        False,
        "--word-cloud",
        help="With --output: draw word_cloud.png too. Only if asked for, because it shows words of the notes, which "
        "are patient data; words that stand in the mentions of one note alone are left out.",
    ),
    overlap: Overlap = typer.Option(Overlap.LONGEST, help="For the ceiling: which overlapping mention doc.ents shows."),
    misaligned: Misaligned = typer.Option(
        Misaligned.SPLIT,
        help="For the ceiling: what training makes of a mention that begins or ends inside a token. Prediction never "
        "splits tokens, so with split such mentions are lost.",
    ),
    discontinuous: Discontinuous = typer.Option(
        Discontinuous.OUTER, help="For the ceiling: what a tagger is shown of a mention in several pieces."
    ),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace files in DIR that `stats` did not make; its own are replaced in any case."
    ),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=OFFSETS_HELP),
) -> None:
    """Count documents, tokens, mentions, lengths, overlaps and relations, and print the ceiling.

    The ceiling is the strict micro F of a model that gives back exactly what it was trained on: with one label per
    token (flat: doc.ents) or with one chain of tags per label (doc.spans). Mentions that the tokenizer, the overlap
    policy or a gap keep from any model count against it. Nothing of the notes is shown, save with --word-cloud.

    Example: clinical-ner stats corpus/train --lang es

    Example: clinical-ner stats corpus/train --lang es --output statistics --word-cloud
    """
    if word_cloud and (output is None or not plots):
        raise ClinicalNerError("stats: --word-cloud needs --output DIR, and no --no-plots")

    import srsly
    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.brat import Policy, list_notes, read_folder
    from spacy_clinical_ner.evaluation.statistics import corpus_report
    from spacy_clinical_ner.evaluation.tables import print_corpus
    from spacy_clinical_ner.files import replacing
    from spacy_clinical_ner.outputs import PICTURE, check_output, json_with
    from spacy_clinical_ner.pipelines import pipeline_or_blank

    if output is not None:
        figures = json_with("schema_version", "sentence_lengths")
        check_output(output / "stats.json", figures, inputs=[brat_dir], overwrite=overwrite)
        for picture in ("entities.png", "sentence_lengths.png", "word_cloud.png") if plots else ():
            check_output(output / picture, PICTURE, inputs=[brat_dir], overwrite=overwrite)
    drawing = output is not None and plots
    if drawing:
        from spacy_clinical_ner.evaluation import plots as draw
        from spacy_clinical_ner.plotting import require_plots

        require_plots("matplotlib", *(["wordcloud"] if word_cloud else []))
    nlp = pipeline_or_blank(pipeline, lang)
    total = len(list_notes(brat_dir))
    hidden = not sys.stderr.isatty()
    notes = partial(read_folder, brat_dir, offsets=offsets.value)
    documents = tqdm(notes(), total=total, desc="stats", unit="note", disable=hidden)
    report = corpus_report(nlp, documents, Policy(overlap.value, misaligned.value, discontinuous.value))
    print_corpus(report, msg)
    if output is None:
        return
    with replacing(output / "stats.json") as temporary:
        srsly.write_json(temporary, report)
    written = ["stats.json"]
    if drawing:
        labels = {label: row["count"] for label, row in report["entities"]["labels"].items()}
        draw.plot_entities(labels, output / "entities.png")
        draw.plot_sentence_lengths(report["sentence_lengths"], output / "sentence_lengths.png")
        written += ["entities.png", "sentence_lengths.png"]
    if word_cloud:
        words = draw.mention_words(nlp, tqdm(notes(), total=total, desc="words", disable=hidden))
        problem = draw.plot_word_cloud(words, output / "word_cloud.png")
        if problem is None:
            written.append("word_cloud.png")
        else:
            msg.warn(problem)
    msg.good(f"Saved {', '.join(written)} in {output}")
