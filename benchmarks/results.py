"""Where benchmarks write their figures: dated rows in RESULTS.md, one table for each benchmark."""

from __future__ import annotations

import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Sequence

from spacy_clinical_ner.files import replacing

RESULTS = Path(__file__).parent / "RESULTS.md"
_TITLE = "# Measured figures\n\nWritten by the benchmarks themselves (`--record`); the newest row of a table is last.\n"
_HEAD = "| Date | Commit | Versions | Figures |\n| --- | --- | --- | --- |\n"


def commit() -> str:
    """Short id of the commit measured, with a + if the package has changes that are not committed."""
    root = Path(__file__).parent.parent
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def record(benchmark: str, figures: str, packages: Sequence[str] = ("torch",), path: Path = RESULTS) -> None:
    """Append a row to the table under the heading `benchmark`, which is made if it is not there.

    figures: what was measured, as one line of Markdown. packages: distributions whose versions stand in the row.
    """
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cells = (date.today().isoformat(), commit(), versions, figures)
    row = "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"
    text = path.read_text(encoding="utf8") if path.exists() else _TITLE
    heading = f"\n## {benchmark}\n\n"
    if heading not in text:
        text += heading + _HEAD
    before, _, after = text.partition(heading)
    table, gap, rest = after.partition("\n\n")
    table = table.rstrip("\n") + "\n" + row
    with replacing(path) as temporary:
        temporary.write_text(before + heading + table + (gap[1:] + rest if gap else ""), encoding="utf8")
