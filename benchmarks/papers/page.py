"""One page with every paper's table beside ours, from the recorded runs: python -m benchmarks.papers.page"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import typer

from benchmarks.index import INDEX
from benchmarks.papers.tables import TABLES, Figures, Table
from benchmarks.results import Record, load
from benchmarks.rounds import ROOT
from spacy_clinical_ner.evaluation.report.charts import Series, line_chart, unique_ids
from spacy_clinical_ner.evaluation.report.pages import environment
from spacy_clinical_ner.files import replacing

PAGE = ROOT / "benchmarks" / "work" / "papers" / "papers.html"
# Figures of a recorded row that are F with an interval, and their headings.
KINDS = {
    "f": "entities, strict micro F",
    "token_f": "token-level weighted F",
    "gold_f": "relations of gold entities, F",
    "end_to_end_f": "relations end to end, F",
}


class Sweep(NamedTuple):
    """A table whose rows are values of a setting: their names as a pattern with `x` and perhaps `series`."""

    label: str
    pattern: str


SWEEPS = {
    "cantemist-2": Sweep("layers of label attention (lines: width)", r"(?P<x>\d+) x (?P<series>\d+)"),
    "ccks-heads": Sweep("heads", r"(?P<x>\d+) heads?"),
    "joint-5": Sweep("task layers K (lines: mask)", r"K=(?P<x>\d+), (?P<series>.+)"),
}


def collect_tables(runs: Mapping[str, Sequence[Record]]) -> List[Dict[str, Any]]:
    """The tables with their runs, the newest first; of runs under one setting, the newest row of each name.

    [{"table": Table, "question", "runs": [{"setting", "date", "commit", "kinds": {kind: heading}, "rows": [R]}]}]
    R: {"name", "paper": {"p", "r", "f"}, "relations": F or None, "ours": {kind: [F, low, high]}, "p", "r",
        "epoch_seconds", "minutes"}
    """
    found = []
    for name, table in TABLES.items():
        by_setting: Dict[str, Dict[str, Any]] = {}
        for run in runs.get(f"papers {name}", ()):
            rows = by_setting.pop(run["setting"], {"rows": {}})["rows"]
            rows = {**rows, **{row["name"]: row for row in run["rows"]}}
            by_setting[run["setting"]] = {"rows": rows, **{key: run.get(key, "") for key in ("date", "commit")}}
        views = [
            {**run, "setting": setting, "rows": _rows(table, run["rows"])}
            for setting, run in reversed(list(by_setting.items()))
        ]
        views.sort(key=lambda view: -sum(bool(row["ours"]) for row in view["rows"]))  # the fullest first
        views = views or [{"setting": "", "date": "", "commit": "", "rows": _rows(table, {})}]
        for view in views:
            view["kinds"] = {kind: KINDS[kind] for kind in KINDS if any(kind in row["ours"] for row in view["rows"])}
        found.append({"table": table, "question": INDEX[f"papers {name}"].question, "runs": views})
    return found


def _rows(table: Table, recorded: Mapping[str, Mapping[str, Any]]) -> List[Dict[str, Any]]:
    """The table's rows in its order; of one with an encoder, one for each that was tried."""
    rows = []
    for row in table.rows:
        names = [name for name in recorded if name == row.name or name.startswith(f"{row.name} (")]
        for name in names or [row.name]:
            ours = recorded.get(name, {})
            rows.append(
                {
                    "name": name,
                    "paper": _figures(row.paper),
                    "relations": row.paper_relations.f,
                    "ours": {kind: ours[kind] for kind in KINDS if kind in ours},
                    **{key: ours.get(key) for key in ("p", "r", "epoch_seconds", "minutes")},
                }
            )
    return rows


def _figures(figures: Figures) -> Dict[str, Optional[float]]:
    return {"p": figures.p, "r": figures.r, "f": figures.f}


def sweep_chart(name: str, rows: Sequence[Mapping[str, Any]]) -> Optional[str]:
    """Our figures over the setting that the rows of a table are values of, as SVG; None for other tables."""
    if name not in SWEEPS:
        return None
    points: Dict[str, List[Any]] = {}
    for row in rows:
        match = re.fullmatch(SWEEPS[name].pattern, row["name"])
        for kind, value in row["ours"].items() if match else ():
            series = match.groupdict().get("series", "") if match else ""
            line = ", ".join(part for part in (series, KINDS[kind] if len(row["ours"]) > 1 else "") if part)
            points.setdefault(line or "ours", []).append((int(match["x"]), value[0]))  # type: ignore[index]
        if match and row["paper"]["f"] is not None:
            points.setdefault("paper", []).append((int(match["x"]), row["paper"]["f"]))
    lines = [Series(line, *map(list, zip(*sorted(pairs))), marker="o") for line, pairs in points.items()]
    return line_chart(lines, SWEEPS[name].label, "F") if lines else None


def render_page(runs: Mapping[str, Sequence[Record]]) -> str:
    """The page as HTML that loads nothing."""
    tables = collect_tables(runs)
    charts = {entry["table"].name: sweep_chart(entry["table"].name, entry["runs"][0]["rows"]) for entry in tables}
    drawn = {name: svg for name, svg in charts.items() if svg}
    values = {
        "tables": tables,
        "charts": dict(zip(drawn, unique_ids(list(drawn.values())))),
        "sweeps": SWEEPS,
    }
    return str(environment("html", Path(__file__).parent).get_template("papers.html").render(values))


def write_page(more: Sequence[Record] = (), path: Path = PAGE) -> Path:
    """Write the page of all recorded runs, and of `more` behind them, and return its path."""
    runs: Dict[str, List[Record]] = {name: list(found) for name, found in load().items()}
    for run in more:
        runs.setdefault(run["benchmark"], []).append(run)
    with replacing(path) as temporary:
        temporary.write_text(render_page(runs), encoding="utf8")
    return path


app = typer.Typer(add_completion=False)


@app.command()
def main(path: Path = typer.Option(PAGE, "--output", "-o", help="Where to write the page.")) -> None:
    """Write one page with every paper's table beside what was recorded of ours, and graphs of the sweeps."""
    typer.echo(f"All tables, the papers' and ours: {write_page(path=path)}")


if __name__ == "__main__":
    app()
