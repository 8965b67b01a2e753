"""Figures of a paper's table and ours side by side: for the console, as Markdown, as a plot, as rows to record."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from benchmarks.common import show_f, table
from benchmarks.results import interval
from spacy_clinical_ner.files import replacing
from spacy_clinical_ner.plotting import require_plots

NOTHING = "-"
_PAPER, _OURS = "#b8b8b8", "#3b6ea5"


def _share(value: Optional[float]) -> str:
    return NOTHING if value is None else f"{value:.4f}".rstrip("0").ljust(5, "0")


def cells(outcome: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Header and rows. Seconds of an epoch are by the clock, and in brackets of CPU time."""
    if outcome["table"].relations:
        return _joint_cells(outcome)
    tokens = outcome["table"].tokens
    header = ["row", "paper P", "R", "F", "our strict micro F [95% CI]", "P", "R"]
    if tokens:
        header.append("our token-level weighted F [95% CI]")
    header += ["s an epoch (CPU s)", "epochs", "training, min"]
    rows = []
    for row in outcome["rows"]:
        line = [row["name"], *(_share(row["paper"][key]) for key in "prf")]
        rows.append(line + _ours(row["result"], tokens))
    return header, rows


def _joint_cells(outcome: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    header = ["row", "paper entities F", "relations F", "our entities F [95% CI]", "relations, gold entities"]
    header += ["P", "R", "relations, end to end", "s an epoch (CPU s)", "epochs", "training, min"]
    rows = []
    for row in outcome["rows"]:
        line = [row["name"], _share(row["paper"]["f"]), _share(row["paper_relations"]["f"])]
        result = row["result"]
        if result is None:
            rows.append([*line, *[NOTHING] * (len(header) - len(line))])
            continue
        found = result["relations"]
        gold, whole = found["gold"], found["end_to_end"]
        line.append(show_f(result["scores"]) if found["entities"] else NOTHING)
        line += [show_f(gold), f"{gold['p']:.4f}", f"{gold['r']:.4f}"] if gold else [NOTHING] * 3
        line.append(show_f(whole) if whole else NOTHING)
        rows.append(line + _ours(result, False)[3:])
    return header, rows


def _ours(result: Optional[Mapping[str, Any]], tokens: bool) -> List[str]:
    if result is None:
        return [NOTHING] * (7 if tokens else 6)
    scores, epochs = result["scores"], result["epochs"]
    found = [show_f(scores), f"{scores['p']:.4f}", f"{scores['r']:.4f}"]
    if tokens:
        found.append(show_f(result["tokens"]))
    if epochs is None:
        return [*found, NOTHING, NOTHING, f"{result['train_seconds'] / 60:.1f}"]
    speed = f"{epochs['seconds']:.1f} ({epochs['cpu_seconds']:.1f})"
    return [*found, speed, f"{epochs['epochs']:.1f}", f"{result['train_seconds'] / 60:.1f}"]


def heading(outcome: Mapping[str, Any]) -> str:
    """What was run: corpus, language, seed and budget."""
    early = "or until F on the development notes stops rising" if outcome["early_stopping"] else "for every row"
    return (
        f"{outcome['corpus']}, scored on {outcome['test']}/ ({outcome['lang']}); seed {outcome['seed']}, "
        f"{outcome['steps']} updates {early}"
    )


def _remarks(outcome: Mapping[str, Any]) -> List[str]:
    remarks = [outcome["table"].remark.rstrip(".") + "."]
    if outcome["skipped"]:
        remarks.append("Left out: " + "; ".join(f"{name}: {why}" for name, why in outcome["skipped"].items()) + ".")
    return remarks


def console_report(outcome: Mapping[str, Any]) -> str:
    return "\n\n".join([outcome["table"].title, heading(outcome), table(*cells(outcome)), *_remarks(outcome)])


def markdown_report(outcome: Mapping[str, Any]) -> str:
    header, rows = cells(outcome)
    rule = ["---", *["---:"] * (len(header) - 1)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, rule, *rows)]
    parts = [f"# {outcome['table'].title}", heading(outcome) + ".", "\n".join(lines), *_remarks(outcome)]
    return "\n\n".join(parts) + "\n"


def recorded_rows(outcome: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The rows to record: all that have figures of ours."""
    rows = []
    for row in outcome["rows"]:
        result = row["result"]
        if result is None:
            continue
        scores, epochs = result["scores"], result["epochs"]
        found: Dict[str, Any] = {"f": interval(scores), "p": round(scores["p"], 4), "r": round(scores["r"], 4)}
        if outcome["table"].relations:
            found = _joint_figures(result)
        if outcome["table"].tokens:
            found["token_f"] = interval(result["tokens"])
        if epochs is not None:
            found["epoch_seconds"] = round(epochs["seconds"], 1)
            found["epoch_cpu_seconds"] = round(epochs["cpu_seconds"], 1)
        paper = {key.upper(): value for key, value in row["paper"].items() if value is not None}
        if row.get("paper_relations", {}).get("f") is not None:
            paper["relations F"] = row["paper_relations"]["f"]
        minutes = round(result["train_seconds"] / 60, 1)
        rows.append({"name": row["name"], **found, "paper": paper or None, "minutes": minutes})
        rows[-1]["trained_at"] = result["commit"]
    return rows


def _joint_figures(result: Mapping[str, Any]) -> Dict[str, Any]:
    found = result["relations"]
    figures = {"f": interval(result["scores"])} if found["entities"] else {}
    return {**figures, **{f"{key}_f": interval(found[key]) for key in ("gold", "end_to_end") if found[key]}}


def _plotted(outcome: Mapping[str, Any]) -> List[Mapping[str, Any]]:
    """The rows of the plot: of a joint table, one for each figure of a row."""
    if not outcome["table"].relations:
        return list(outcome["rows"])
    rows: List[Mapping[str, Any]] = []
    nothing = {"f": None}
    for row in outcome["rows"]:
        result = row["result"]
        found = result["relations"] if result else {"entities": False, "gold": None, "end_to_end": None}
        figures = [("entities", row["paper"], result["scores"] if found["entities"] else None)]
        figures += [("relations, gold", nothing, found["gold"]), ("end to end", nothing, found["end_to_end"])]
        for name, paper, scores in figures:
            if scores is not None:
                rows.append({"name": f"{row['name']}: {name}", "paper": paper, "result": {"scores": scores}})
    return rows


def write_report(outcome: Mapping[str, Any], folder: Path) -> Tuple[Path, Path]:
    """Write TABLE.md and TABLE.png to a folder and return their paths."""
    name = outcome["table"].name
    page, picture = folder / f"{name}.md", folder / f"{name}.png"
    folder.mkdir(parents=True, exist_ok=True)
    plot(outcome["table"].title, _plotted(outcome), picture)
    with replacing(page) as temporary:
        text = markdown_report(outcome) + f"\n![{outcome['table'].title}]({picture.name})\n"
        temporary.write_text(text, encoding="utf8")
    return page, picture


def plot(title: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """F of the paper and ours (strict micro, with its interval) as bars, the first row on top. Needs matplotlib."""
    require_plots("matplotlib.figure")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 1.6 + 0.55 * len(rows)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    series: Dict[str, List[Tuple[int, float, Tuple[float, float]]]] = {"paper": [], "ours": []}
    for place, row in enumerate(rows):
        if row["paper"]["f"] is not None:
            series["paper"].append((place, row["paper"]["f"], (0.0, 0.0)))
        if row["result"] is not None:
            scores = row["result"]["scores"]
            f = scores["f"]
            series["ours"].append((place, f, (max(0.0, f - scores["ci_low"]), max(0.0, scores["ci_high"] - f))))
    for (name, bars), shift, colour in zip(series.items(), (-0.2, 0.2), (_PAPER, _OURS)):
        if not bars:
            continue
        errors = [[bar[2][side] for bar in bars] for side in (0, 1)] if name == "ours" else None
        places, lengths = [bar[0] + shift for bar in bars], [bar[1] for bar in bars]
        drawn = axes.barh(places, lengths, 0.38, xerr=errors, color=colour, label=name, capsize=2)
        axes.bar_label(drawn, labels=[f"{length:.3f}" for length in lengths], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("F (ours: strict micro over characters, 95% interval over documents)")
    axes.set_title(title, loc="left", fontsize=11)
    if any(series.values()):
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
