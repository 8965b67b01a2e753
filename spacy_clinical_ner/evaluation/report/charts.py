"""Line charts as SVG for the page: drawn by matplotlib, coloured by the page's own variables (light and dark)."""

from __future__ import annotations

import io
import re
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from spacy_clinical_ner.plotting import optional_module

# Colours that stand for variables of the style sheet until the SVG is in the page.
_INK, _GRID = "#010203", "#040506"
_LINES = ("#070809", "#0a0b0c", "#0d0e0f", "#101112")
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--rule)", **{c: f"var(--c{i})" for i, c in enumerate(_LINES, 1)}}
_STYLES = ("-", "--", ":", "-.")


class Series(NamedTuple):
    """One line of a chart. marker: "" for none."""

    name: str
    x: Sequence[float]
    y: Sequence[Optional[float]]
    marker: str = ""


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    diagonal: bool = False,
    y_range: Optional[Tuple[float, float]] = None,
) -> str:
    """An SVG element; lines differ in colour and in dash. diagonal: draw where x equals y."""
    matplotlib = optional_module("matplotlib")
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "spacy-clinical-ner", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure = optional_module("matplotlib.figure").Figure(figsize=(5.6, 3.2))
        axes = figure.add_subplot()
        if diagonal:
            axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1.5)
        for number, line in enumerate(series):
            y = [float("nan") if value is None else value for value in line.y]
            axes.plot(
                line.x,
                y,
                _STYLES[number % 4],
                color=_LINES[number % 4],
                label=line.name,
                marker=line.marker,
                linewidth=1.8,
            )
        if all(float(value).is_integer() for line in series for value in line.x):
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(x_label, color=_INK)
        axes.set_ylabel(y_label, color=_INK)
        if y_range:
            axes.set_ylim(*y_range)
        axes.grid(True, color=_GRID, linewidth=0.6)
        axes.tick_params(colors=_INK)
        for spine in axes.spines.values():
            spine.set_color(_GRID)
        if len(series) > 1:
            axes.legend(frameon=False, labelcolor=_INK)
        figure.patch.set_alpha(0.0)
        axes.patch.set_alpha(0.0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return _in_page(buffer.getvalue(), _described(series, x_label, y_label))


def _described(series: Sequence[Series], x_label: str, y_label: str) -> str:
    return f"{y_label} over {x_label}: " + ", ".join(line.name for line in series)


def _in_page(svg: str, description: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for size in ("width", "height"):  # the page decides
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "", 1) if "xlink:href" not in svg else svg
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    escaped = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaped}"', 1)


def unique_ids(charts: Sequence[str]) -> List[str]:
    """Charts whose element ids and references do not meet those of the others on one page."""
    result = []
    for number, svg in enumerate(charts):
        svg = re.sub(r'\bid="', f'id="g{number}-', svg)
        svg = re.sub(r"url\(#", f"url(#g{number}-", svg)
        result.append(re.sub(r'href="#', f'href="#g{number}-', svg))
    return result
