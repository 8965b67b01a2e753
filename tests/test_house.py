"""The house as DESIGN.md draws it: what no linter looks at. The arrows between its rooms are held by `make lint`."""

from __future__ import annotations

import ast
import configparser
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "spacy_clinical_ner"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
# These say the same of every folder that they stand in.
SAME_EVERYWHERE = {"__init__.py", "__main__.py"}
# Folders of tests that are not about one room: what all components have in common, other folders, other machines.
BESIDE_THE_ROOMS = {"assets", "benchmarks", "components", "docs", "gpu"}


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def entry_points() -> list:
    config = configparser.ConfigParser(delimiters="=")
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config.read(ROOT / "setup.cfg", encoding="utf8")
    groups = config["options.entry_points"]
    return [(name, *line.split(" = ")) for name, text in groups.items() for line in text.split("\n") if line]


def test_no_file_is_longer_than_one_idea():
    long = {place(path): len(path.read_text(encoding="utf8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_a_name_of_a_class_means_one_thing():
    """No class twice, and none that is called as a function elsewhere, such as an architecture of that name."""
    classes, functions = defaultdict(list), defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(place(path))
            elif isinstance(node, ast.FunctionDef):
                functions[node.name].append(place(path))
    assert len(classes) > 50
    twice = {name: places + functions[name] for name, places in classes.items() if len(places + functions[name]) > 1}
    assert twice == {}


def test_a_name_of_a_file_means_one_thing():
    """A file that has its name in common with another says in its name which of the two it is."""
    names = Counter(path.name for path in FILES if path.name not in SAME_EVERYWHERE)
    taken = {name: count for name, count in names.items() if count > 1}
    assert {name: taken.get(name, 1) for name in ("corpus.py", "windows.py", "encoders.py", "component.py")} == {
        "corpus.py": 1, "windows.py": 1, "encoders.py": 1, "component.py": 1,
    }  # fmt: skip


@pytest.mark.parametrize("group, name, target", entry_points(), ids=lambda part: part)
def test_every_entry_point_can_be_imported(group, name, target):
    module, _, attribute = target.partition(":")
    assert callable(getattr(import_module(module), attribute)), f"{group}: {name}"


def test_every_registered_name_stands_in_setup_cfg():
    """Else it would be known only to those who have imported its module."""
    declared = {name for _, name, _ in entry_points()}
    used = {
        node.value
        for path in FILES
        for function in ast.walk(ast.parse(path.read_text(encoding="utf8")))
        if isinstance(function, (ast.FunctionDef, ast.ClassDef))
        for decorator in function.decorator_list
        for node in ast.walk(decorator)
        if isinstance(node, ast.Constant) and str(node.value).startswith("spacy-clinical-ner.")
    }
    assert len(used) > 20
    assert used - declared == set()


def test_the_tests_stand_in_the_rooms_of_the_package():
    rooms = {path.parent.relative_to(PACKAGE) for path in FILES}
    tests = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    assert {room for room in tests if room.parts and room.parts[0] not in BESIDE_THE_ROOMS} - rooms == set()
    assert rooms - tests == set()
