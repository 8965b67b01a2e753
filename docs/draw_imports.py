"""Draws docs/images/imports.svg: which room imports from which, as the code has it now.

Run `python docs/draw_imports.py` where import-linter (of the extra `dev`, for its graph) and Graphviz's `dot` are
installed. Rooms of one line of the contract in pyproject.toml, which `make lint` holds, stand side by side. An arrow
that a longer way implies is pale and dashed, so that the way through the house can be followed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Collection, Dict, List, Set

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # comes with import-linter

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "spacy_clinical_ner"


def read_lines() -> List[List[str]]:
    """The rooms, which are folders, from top to bottom; those of one line together."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["importlinter"]
    house = next(contract for contract in settings["contracts"] if contract["id"] == "house")
    lines = ([room.strip(" ()") for room in line.split("|")] for line in house["layers"])
    return [[room for room in line if (ROOT / PACKAGE / room).is_dir()] for line in lines]


def read_imports(rooms: Collection[str]) -> Dict[str, Set[str]]:
    """{room: rooms that any of its modules imports from}."""
    graph = grimp.build_graph(PACKAGE)
    found: Dict[str, Set[str]] = {room: set() for room in rooms}
    for module in graph.modules - {PACKAGE}:
        for imported in graph.find_modules_directly_imported_by(module) - {PACKAGE}:
            room, other = module.split(".")[1], imported.split(".")[1]
            if room != other and {room, other} <= found.keys():
                found[room].add(other)
    return found


def reachable(imports: Dict[str, Set[str]], room: str) -> Set[str]:
    """All that a room imports from, directly or by others."""
    return imports[room].union(*(reachable(imports, other) for other in imports[room]))


def to_dot(lines: List[List[str]], imports: Dict[str, Set[str]]) -> str:
    """The picture in Graphviz's language. Raises ValueError for an arrow that does not point down."""
    place = {room: number for number, line in enumerate(lines) for room in line}
    rows = [
        "digraph imports {",
        'rankdir=TB; nodesep=0.5; ranksep=0.45; bgcolor="white";',
        'node [shape=box, style="rounded,filled", fillcolor="#e0f2f1", color="#00796b", fontname="sans-serif"];',
        'edge [color="#37474f", arrowsize=0.7];',
        *(f"{{rank=same; {'; '.join(line)}}}" for line in lines if line),
    ]
    for room, others in imports.items():
        for other in sorted(others):
            if place[room] >= place[other]:
                raise ValueError(f"{room} imports from {other}, which does not stand below it")
            implied = any(other in reachable(imports, between) for between in others - {other})
            rows.append(f"{room} -> {other}" + (' [color="#b0bec5", style=dashed, arrowsize=0.5];' if implied else ";"))
    return "\n".join([*rows, "}"])


def main() -> None:
    target = ROOT / "docs" / "images" / "imports.svg"
    target.parent.mkdir(exist_ok=True)
    lines = read_lines()
    dot = to_dot(lines, read_imports([room for line in lines for room in line]))
    svg = subprocess.run(["dot", "-Tsvg"], input=dot, stdout=subprocess.PIPE, text=True, check=True).stdout
    target.write_text(svg, encoding="utf8")


if __name__ == "__main__":
    main()
