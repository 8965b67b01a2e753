"""`clinical-ner convert`: a BRAT folder becomes a .spacy file, and everything is counted on the way."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from spacy_clinical_ner.cli.numbers import MAX_COUNT
from spacy_clinical_ner.errors import ClinicalNerError

if TYPE_CHECKING:
    from spacy.tokens import DocBin

    from spacy_clinical_ner.brat import BratDocument, FolderAudit, Policy
    from spacy_clinical_ner.tokenization import HasTokenizer


class Overlap(str, Enum):
    """Which of overlapping mentions doc.ents shows."""

    LONGEST = "longest"
    FIRST = "first"
    SHORTEST = "shortest"


class Misaligned(str, Enum):
    """What happens to a mention that begins or ends inside a token."""

    SPLIT = "split"
    EXPAND = "expand"
    CONTRACT = "contract"
    DROP = "drop"


class Discontinuous(str, Enum):
    """What is shown of a mention in several pieces."""

    OUTER = "outer"
    FIRST = "first"
    LONGEST = "longest"
    SKIP = "skip"


class Offsets(str, Enum):
    """How the .ann files count."""

    AUTO = "auto"
    CHARACTERS = "characters"
    CRLF_AS_ONE = "crlf-as-one"
    UTF_16 = "utf-16"
    BYTES = "bytes"
    NO_BOM = "no-bom"


# What Docs from BRAT have; spaCy saves as many attributes again for parsers and taggers.
SAVED = ("ORTH", "NORM", "ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "ENT_ID")
LONG_NOTE = 5_000_000  # bytes

OFFSETS_HELP = (
    "How the .ann files count: the characters of the file (as brat does), CRLF as one character, UTF-16 units, UTF-8 "
    "bytes, or characters without the byte order mark; auto reads each note in the way that makes all of its mentions "
    "agree with their text."
)


def convert(
    brat_dir: Path = typer.Argument(..., help="Folder of notes (.txt), each with its annotations (.ann) beside it."),
    out: Path = typer.Argument(..., metavar="OUT.spacy", help="The file to write, for `spacy train` and BratCorpus."),
    lang: Optional[str] = typer.Option(None, "--lang", "-l", help="Language of the notes: es, en, zh, ..."),
    pipeline: Optional[str] = typer.Option(
        None, "--pipeline", help="Use the tokenizer of this pipeline (folder or package) instead of --lang's."
    ),
    audit: Optional[Path] = typer.Option(
        None, "--audit", help="Write the audit as JSON: per file, label and reason. It never quotes a note."
    ),
    max_dropped: Optional[int] = typer.Option(
        None,
        "--max-dropped",
        min=0,
        max=MAX_COUNT,
        help="Exit with status 1 if more lines and mentions than this were dropped.",
    ),
    lenient: bool = typer.Option(
        False, "--lenient", help="Drop and count malformed lines, and lines that need them, instead of stopping."
    ),
    strict_text: bool = typer.Option(
        False, "--strict-text", help="A mention text that differs from the note in white space alone is malformed too."
    ),
    offsets: Offsets = typer.Option(Offsets.CHARACTERS, help=OFFSETS_HELP),
    overlap: Overlap = typer.Option(
        Overlap.LONGEST, help="Which of overlapping mentions doc.ents shows; doc.spans shows all of them."
    ),
    misaligned: Misaligned = typer.Option(
        Misaligned.SPLIT,
        help="A mention that begins or ends inside a token: split the token, expand or contract the mention to "
        "whole tokens, or drop it.",
    ),
    discontinuous: Discontinuous = typer.Option(
        Discontinuous.OUTER,
        help="A mention in several pieces: show all from its first to its last character (outer), its first or "
        "longest piece, or skip it.",
    ),
    trim_whitespace: bool = typer.Option(
        False, "--trim-whitespace", help="Take white space off mention edges; spaCy's own `ner` fails (E024) without."
    ),
    spans_key: str = typer.Option("sc", help="Key of doc.spans that gets all mentions, overlapping or not."),
    overwrite: bool = typer.Option(
        False, "--overwrite", help="Replace files that `convert` did not make; its own are replaced in any case."
    ),
) -> None:
    """Turn a BRAT folder into a .spacy file that loses nothing, and say what became of every line.

    Each annotation line ends as kept, repaired or dropped; the three sum to the lines read. The file carries all
    of them along, so that they can be written out as BRAT again.

    Example: clinical-ner convert corpus/train train.spacy --lang es --audit train.audit.json --max-dropped 0
    """
    if (lang is None) == (pipeline is None):
        raise ClinicalNerError("convert: give either --lang (es, en, zh, ...) or --pipeline")
    if out.suffix != ".spacy":
        raise ClinicalNerError(f"{out}: the output is a .spacy file, for instance corpus/train.spacy")

    from wasabi import msg

    from spacy_clinical_ner.brat import Policy
    from spacy_clinical_ner.outputs import DOCS, check_output, json_with
    from spacy_clinical_ner.pipelines import pipeline_or_blank

    inputs = [brat_dir, *([Path(pipeline)] if pipeline else [])]
    check_output(out, DOCS, inputs=inputs, overwrite=overwrite)
    if audit is not None:
        check_output(audit, json_with("folder", "documents", "files"), inputs=inputs, others=[out], overwrite=overwrite)
    report = convert_folder(
        brat_dir,
        out,
        pipeline_or_blank(pipeline, lang or ""),
        policy=Policy(overlap.value, misaligned.value, discontinuous.value, trim_whitespace),
        on_error="drop" if lenient else "raise",
        text_mismatch="error" if strict_text else "repair",
        offsets=offsets.value,
        spans_key=spans_key,
        audit=audit,
    )
    if max_dropped is not None and report.dropped > max_dropped:
        msg.fail(f"{report.dropped} lines and mentions dropped, more than --max-dropped {max_dropped}")
        raise typer.Exit(1)


def convert_folder(
    folder: Path,
    out: Path,
    nlp: HasTokenizer,
    *,
    policy: Optional[Policy] = None,
    on_error: str = "raise",
    text_mismatch: str = "repair",
    offsets: str = "characters",
    spans_key: str = "sc",
    audit: Optional[Path] = None,
) -> FolderAudit:
    """Write the notes of a BRAT folder as a .spacy file, and perhaps the audit as JSON; print and return the audit.

    Raises InputError as `brat.read_folder`, whose on_error, text_mismatch and offsets these are.
    """
    import srsly
    from spacy.tokens import DocBin
    from tqdm import tqdm
    from wasabi import msg

    from spacy_clinical_ner.brat import FolderAudit, Policy, list_notes, read_folder
    from spacy_clinical_ner.brat.files import log_dropped
    from spacy_clinical_ner.files import replacing

    notes = list_notes(folder)
    total = len(notes)
    documents = read_folder(folder, on_error=on_error, text_mismatch=text_mismatch, offsets=offsets)
    doc_bin = DocBin(attrs=SAVED, store_user_data=True)
    report = FolderAudit()
    with tqdm(total=total, unit="note", desc="convert", disable=not sys.stderr.isatty()) as bar:
        for note in notes:
            _announce(note)
            document = next(documents)
            log_dropped(document, folder)
            _add(doc_bin, report, nlp, document, policy or Policy(), spans_key)
            bar.update()
    del document
    with replacing(out) as temporary:
        doc_bin.to_disk(temporary)
    if audit is not None:
        with replacing(audit) as temporary:
            srsly.write_json(temporary, {"folder": folder.name, **report.to_dict()})
    report.print(msg)
    msg.good(f"Saved {total} notes to {out}")
    return report


def _announce(note: Path) -> None:
    """A sign of life where one note takes so long that a bar over notes stands still."""
    from tqdm import tqdm

    size = note.stat().st_size
    if size >= LONG_NOTE:
        tqdm.write(f"{note}: {size / 1e6:,.0f} MB, about {size / 1e6 * 1.5:,.0f} s", file=sys.stderr)


def _add(
    doc_bin: DocBin, report: FolderAudit, nlp: HasTokenizer, document: BratDocument, policy: Policy, spans_key: str
) -> None:
    """Tokens and mentions of a document into the file and the report; no Doc is left behind."""
    from spacy_clinical_ner.brat import align, fill_doc

    alignment = align(nlp, document, policy)
    report.add(document, alignment)
    doc_bin.add(fill_doc(alignment, document, spans_key=spans_key))
