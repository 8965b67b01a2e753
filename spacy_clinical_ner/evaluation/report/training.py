"""What a training left behind: loss and scores over its updates, versions, the config as it ran, the corpus audits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import read_text

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def read_training(folder: Path) -> Dict[str, Any]:
    """What `spacy train -o FOLDER` and the project workflows leave in a folder.

    {"updates": [{"step", "epoch", "score", "losses": {name: loss}, "scores": {name: percent}}],
     "spacy_version", "pipeline": [...], "performance": {...}, "meta": {...}, "config": str, "audits": {name: {...}}}

    Updates come from a .jsonl file that spaCy's ConsoleLogger.v3 wrote (`output_file`), else from a .log file that
    holds what `spacy train` printed. Raises InputError if there is no pipeline in the folder.
    """
    pipeline = next(
        (path for path in (folder / "model-best", folder / "model-last", folder) if _is_pipeline(path)), None
    )
    if pipeline is None:
        raise InputError(folder, None, "no trained pipeline in this folder: expected model-best/meta.json")
    meta = _json(pipeline / "meta.json", 1, read_text(pipeline / "meta.json"))
    return {
        "updates": _updates(folder),
        "spacy_version": meta.get("spacy_version", ""),
        "pipeline": meta.get("pipeline", []),
        "name": f"{meta.get('lang', '')}_{meta.get('name', '')}",
        "performance": {key: value for key, value in meta.get("performance", {}).items() if _is_number(value)},
        "config": read_text(pipeline / "config.cfg"),
        "audits": {path.name: _json(path, 1, read_text(path)) for path in sorted(folder.glob("*audit*.json"))},
    }


def _is_pipeline(path: Path) -> bool:
    return (path / "meta.json").is_file() and (path / "config.cfg").is_file()


def _updates(folder: Path) -> List[Dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        lines = enumerate(read_text(path).split("\n"), 1)
        rows = [_json(path, number, line) for number, line in lines if line.strip()]
        rows = [row for row in rows if isinstance(row, dict) and {"step", "losses", "scores", "score"} <= set(row)]
        if rows:
            return rows
    for path in sorted([*folder.glob("*.log"), *folder.glob("*.txt")]):
        rows = parse_console(path.read_text("utf8", errors="replace"))
        if rows:
            return rows
    return []


def _json(path: Path, line: int, text: str) -> Any:
    """Raises InputError, which quotes nothing, for what is not JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        at = error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
        raise InputError(path, line + at, "not JSON") from None


def parse_console(text: str) -> List[Dict[str, Any]]:
    """The rows of the table that `spacy train` prints, with colours or without."""
    rows: List[Dict[str, Any]] = []
    names: Optional[List[str]] = None
    for line in _ANSI.sub("", text).splitlines():
        if re.match(r"E\s+#\s+.*SCORE\s*$", line):
            names = re.split(r"\s{2,}", line.strip())[2:]
            continue
        values = line.split()
        if names is None or len(values) != len(names) + 2 or not all(map(_is_numeral, values)):
            continue
        named = dict(zip(names, map(float, values[2:])))
        rows.append(
            {
                "epoch": int(values[0]),
                "step": int(values[1]),
                "losses": {name[5:].lower(): value for name, value in named.items() if name.startswith("LOSS ")},
                "scores": {
                    name.lower(): value
                    for name, value in named.items()
                    if name != "SCORE" and not name.startswith("LOSS ")
                },
                "score": named["SCORE"],
            }
        )
    return rows


def _is_numeral(text: str) -> bool:
    return re.fullmatch(r"-?\d+(?:\.\d+)?|nan|inf", text) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
