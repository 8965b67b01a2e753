"""The README is true: what it names exists, and what is registered is named."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

import pytest
import typer
from weasel.util import load_project_config

from spacy_clinical_ner import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf8")


def entry_points() -> set:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    groups = parser["options.entry_points"]
    registries = [group for group in groups if group.startswith(("spacy_", "thinc_"))]
    lines = [line for group in registries for line in groups[group].splitlines() if line]
    return {line.partition("=")[0].strip() for line in lines}


def test_everything_registered_is_in_the_table() -> None:
    table = README.partition("## What is registered")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| \w+ \| `([^`]+)` \|", table, flags=re.MULTILINE)) == entry_points()


def test_workflows_are_those_of_the_project() -> None:
    table = README.partition("## Project workflows")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(load_project_config(ROOT)["workflows"])


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "lint"} <= targets
    assert targets <= set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))


def test_commands_and_their_options_exist() -> None:
    cli._register()
    commands = typer.main.get_command(cli.app).commands
    lines = [line for line in README.splitlines() if line.startswith("clinical-ner ")]
    assert len(lines) >= 6
    for line in lines:
        _, name, *arguments = shlex.split(line, comments=True)
        commands[name].make_context(name, arguments)


@pytest.mark.parametrize("path", sorted({*re.findall(r"(?:assets|configs)/[\w./-]+[\w]", README)}))
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_links_to_files_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists()
