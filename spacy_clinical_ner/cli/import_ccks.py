"""`clinical-ner import-ccks`: from the JSON lines of CCKS-2019 to a BRAT folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

import typer


def import_ccks(
    inputs: List[Path] = typer.Argument(
        ..., metavar="IN.jsonl", help="Files of records (.json, .jsonl or .txt), UTF-8, one record a line."
    ),
    output: Path = typer.Argument(..., metavar="OUT_DIR", help="Folder to write; must be new or empty."),
) -> None:
    """Turn CCKS-2019 records (Yidu-S4K) into a BRAT folder: one note (.txt) and its entities (.ann) per record.

    A record is a line like {"originalText": "...", "entities": [{"label_type": "手术", "start_pos": 3, "end_pos": 8}]};
    offsets count characters, and end_pos is one past the last. Notes are named by file and line: training-0012.txt.
    Byte order marks, CRLF, blank lines and other keys are fine. A malformed record ends the import with status 2 and
    its line; then nothing is written.

    Example: clinical-ner import-ccks subtask1_training_part1.txt subtask1_training_part2.txt ccks2019/train

    Example: clinical-ner import-ccks subtask1_test_set_with_answer.json ccks2019/test
    """
    from wasabi import msg

    from spacy_clinical_ner.brat.ccks import import_records

    summary = import_records(inputs, output, progress=sys.stderr.isatty())
    rows = [(name, f"{count:,}") for name, count in summary.records.items()]
    rows += [("entities", f"{sum(summary.labels.values()):,}")]
    rows += [(f"  {label}", f"{count:,}") for label, count in summary.labels.most_common()]
    msg.table(rows, header=("records of", "count"), divider=True, aligns=("l", "r"))
    msg.good(f"Saved {sum(summary.records.values()):,} notes to {output}")
