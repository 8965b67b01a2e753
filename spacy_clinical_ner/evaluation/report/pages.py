"""The report as one HTML page, as Markdown and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping

import srsly

from spacy_clinical_ner.errors import ClinicalNerError
from spacy_clinical_ner.evaluation.confusion import NONE
from spacy_clinical_ner.evaluation.error_kinds import KINDS, RELATION_KINDS, total
from spacy_clinical_ner.evaluation.report.annotated_text import annotated
from spacy_clinical_ner.evaluation.report.charts import Series, line_chart, unique_ids
from spacy_clinical_ner.evaluation.report.collect import Collected
from spacy_clinical_ner.evaluation.tables import remarks

STRATA = {
    "mention_tokens": "Length of the mention, tokens",
    "note_characters": "Length of the note, characters (quarters of the notes)",
    "in_training": "Did the mention stand in the training notes?",
    "times_in_training": "How often it stood there under its label",
}


def render(collected: Collected, kind: str, title: str) -> str:
    """kind: "html", "md" or "json". Raises ClinicalNerError if Jinja2 or matplotlib is not installed."""
    if kind == "json":
        return srsly.json_dumps(collected.figures, indent=2) + "\n"
    figures = collected.figures
    values: Dict[str, Any] = {
        "title": title,
        "report": figures,
        "systems": [_system(system) for system in figures["systems"]],
        "kinds": KINDS,
        "relation_kinds": RELATION_KINDS,
        "strata_titles": STRATA,
        "relations": figures["systems"][0]["metrics"]["relations"] is not None,
    }
    if kind == "html":
        charts = _charts(figures)
        values["charts"] = dict(zip(charts, unique_ids(list(charts.values()))))
        values["note_ids"] = {note.document.name: f"note-{number}" for number, note in enumerate(collected.notes)}
        # One after the other: thousands of notes in pieces would take more memory than the page.
        views = (annotated(note, number) for number, note in enumerate(collected.notes))
        values["notes"] = views if collected.notes else []
    return environment(kind).get_template(f"report.{kind}").render(values)


def environment(kind: str, *folders: Path) -> Any:
    """Jinja2's environment with the report's templates, its style and its filters, and with the templates of `folders`.

    Raises ClinicalNerError if Jinja2 is not installed.
    """
    try:
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined
    except ImportError:
        raise ClinicalNerError(
            "a report needs Jinja2, which is not installed: pip install 'spacy-clinical-ner[report]', or --format json"
        ) from None
    ours = PackageLoader("spacy_clinical_ner.evaluation.report", "templates")
    made = Environment(
        loader=ChoiceLoader([*map(FileSystemLoader, folders), ours]),
        autoescape=kind == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=_percent, cell=_markdown_cell)
    return made


def _percent(value: Any, digits: int = 2, sign: str = "") -> str:
    return "" if value is None else f"{100 * value:{sign}.{digits}f}"


def _markdown_cell(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _system(system: Mapping[str, Any]) -> Dict[str, Any]:
    """What the templates say of a system, sorted for reading."""
    strict = system["metrics"]["entities"]["strict"]
    labels = sorted(strict["per_type"], key=lambda label: (-strict["per_type"][label]["support"], label))
    relations = system["metrics"]["relations"]
    relation_scores = relations["strict"]["per_type"] if relations else {}
    return {
        **system,
        "labels": labels,
        "relation_labels": sorted(relation_scores, key=lambda label: (-relation_scores[label]["support"], label)),
        "kind_totals": _totals(system["errors"], KINDS),
        "relation_kind_totals": _totals(system["relation_errors"], RELATION_KINDS),
        "remarks": remarks(system["metrics"]),
        "matrices": {name: _matrix(system["confusion"], name) for name in ("mentions", "tokens")},
        "worst_notes": sorted(system["notes"], key=lambda row: (-(row["fp"] + row["fn"]), row["name"]))[:20],
    }


def _totals(errors: Dict[str, Any], kinds: Mapping[str, str]) -> List[Dict[str, Any]]:
    counts = total(errors)
    everything = max(1, sum(counts.values()))
    rows = []
    for kind, title in kinds.items():
        sides = [row[kind] for row in errors.values() if kind in row]
        rows.append(
            {
                "kind": kind,
                "name": kind.replace("_", " "),
                "title": title,
                "fn": sum(side["fn"] for side in sides),
                "fp": sum(side["fp"] for side in sides),
                "share": counts[kind] / everything,
            }
        )
    return rows


def _matrix(confusion: Mapping[str, Any], name: str) -> List[Dict[str, Any]]:
    """Rows of a matrix; `share` of a cell is its part of the row, by which it is shaded. None with none is left out."""
    names = [*confusion["labels"], NONE]
    rows = []
    for label, counts in zip(names, confusion[name]):
        counts = list(counts)
        if label == NONE:
            counts[-1] = 0
        support = sum(counts)
        cells = [{"count": count, "share": count / support if support else 0.0} for count in counts]
        rows.append({"label": label or "none", "support": support, "cells": cells})
    return rows


def _charts(figures: Mapping[str, Any]) -> Dict[str, str]:
    charts: Dict[str, str] = {}
    with_confidence = [system for system in figures["systems"] if system["confidence"]]
    if with_confidence:
        charts["reliability"] = line_chart(
            [_reliability(system) for system in with_confidence],
            "confidence",
            "share of right mentions",
            diagonal=True,
            y_range=(0.0, 1.02),
        )
    for system in with_confidence:
        found = system["confidence"]
        lines = [
            Series(name, found["thresholds"], found[key]) for name, key in zip(("precision", "recall", "F"), "prf")
        ]
        charts[f"threshold of {system['name']}"] = line_chart(lines, "threshold", "score", y_range=(0.0, 1.02))
    training = figures["training"]
    if training and len(training["updates"]) > 1:
        updates = training["updates"]
        steps = [row["step"] for row in updates]
        for key, title in (("losses", "loss since the last evaluation"), ("scores", "score, percent")):
            keys = {name for row in updates for name in row[key] if name != "speed"}
            names = sorted(keys, key=lambda name: (not name.endswith("_f"), name))
            lines = [Series(name, steps, [row[key].get(name) for row in updates], ".") for name in names[:4]]
            if lines:
                charts[key] = line_chart(lines, "update", title)
    return charts


def _reliability(system: Mapping[str, Any]) -> Series:
    bins = system["confidence"]["reliability"]
    filled = [pair for pair in zip(bins["confidence"], bins["accuracy"]) if pair[0] is not None]
    return Series(system["name"], [pair[0] for pair in filled], [pair[1] for pair in filled], "o")
