"""What a training left behind: loss and scores over its updates, time, versions, the config as it ran, what was lost of
the corpus before it (audits) and the best score that was left to reach (ceilings)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import read_text

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def read_training(folder: Path) -> Dict[str, Any]:
    """What `spacy train -o FOLDER` and the project workflows leave in a folder.

    {"updates": [{"step", "epoch", "score", "losses": {name: loss}, "scores": {name: percent}, perhaps "seconds"}],
     "started": str or null, "versions": {package: version}, "pipeline": [...], "name": str,
     "performance": {...}, "config": str,
     "audits": {name: what `convert --audit` wrote, without its files},
     "ceilings": {name: {"documents", "policy", "views": {view: {"strict": micro, "lost": {"total", "reasons"}}}}}}

    Updates come from a .jsonl file of `spacy-clinical-ner.JsonlLogger.v1` or of spaCy's ConsoleLogger.v3
    (`output_file`), else from a .log or .txt file that holds what `spacy train` printed. Audits are the *audit*.json
    files of the folder, ceilings come from the *stats.json that `clinical-ner stats --output` writes.
    Raises InputError if there is no pipeline in the folder.
    """
    pipeline = next(
        (path for path in (folder / "model-best", folder / "model-last", folder) if _is_pipeline(path)), None
    )
    if pipeline is None:
        raise InputError(folder, None, "no trained pipeline in this folder: expected model-best/meta.json")
    meta = _json(pipeline / "meta.json", 1, read_text(pipeline / "meta.json"))
    header, updates = _updates(folder)
    audits = {path.name: _json(path, 1, read_text(path)) for path in sorted(folder.glob("*audit*.json"))}
    statistics = {path.name: _json(path, 1, read_text(path)) for path in sorted(folder.glob("*stats.json"))}
    return {
        "updates": updates,
        "started": header.get("started"),
        "versions": header.get("versions") or {"spacy": meta.get("spacy_version", "")},
        "pipeline": meta.get("pipeline", []),
        "name": f"{meta.get('lang', '')}_{meta.get('name', '')}",
        "performance": {key: value for key, value in meta.get("performance", {}).items() if _is_number(value)},
        "config": read_text(pipeline / "config.cfg"),
        "audits": {name: _without_files(audit) for name, audit in audits.items() if _has(audit, "lines", "mentions")},
        "ceilings": {name: _ceilings(found) for name, found in statistics.items() if _has(found, "ceiling", "policy")},
    }


def _is_pipeline(path: Path) -> bool:
    return (path / "meta.json").is_file() and (path / "config.cfg").is_file()


def _updates(folder: Path) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """The first line of our own logger, if there is one, and the updates."""
    for path in sorted(folder.glob("*.jsonl")):
        lines = enumerate(read_text(path).split("\n"), 1)
        found = [_json(path, number, line) for number, line in lines if line.strip()]
        rows = [row for row in found if _has(row, "step", "losses", "scores", "score")]
        if rows:
            return (found[0] if _has(found[0], "versions") else {}), rows
    for path in sorted([*folder.glob("*.log"), *folder.glob("*.txt")]):
        rows = parse_console(path.read_text("utf8", errors="replace"))
        if rows:
            return {}, rows
    return {}, []


def _has(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and value.keys() >= set(keys)


def _without_files(audit: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in audit.items() if key != "files"}


def _ceilings(statistics: Dict[str, Any]) -> Dict[str, Any]:
    views = {
        view: {
            "strict": found["strict"]["micro"],
            "lost": {key: found["lost"][key] for key in ("total", "reasons")},
        }
        for view, found in statistics["ceiling"].items()
    }
    return {"documents": statistics["documents"], "policy": statistics["policy"], "views": views}


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
