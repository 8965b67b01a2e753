"""README and docs are true: what they name exists, and what is registered is named."""

from __future__ import annotations

import ast
import configparser
import functools
import importlib
import re
import shlex
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple

import pytest
import typer
from weasel.util import load_project_config

import spacy_clinical_ner
from spacy_clinical_ner import cli

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "spacy_clinical_ner"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *ROOT.glob("docs/*.md"))
}
README = PAGES["README.md"]
every_page = pytest.mark.parametrize("name", sorted(PAGES))

# typer may carry a click of its own, whose classes are not those of `import click`.
USAGE_ERROR = typer.BadParameter.__mro__[1]

# Options of other people's commands that the pages show.
OTHERS = {
    "--extra": "spacy project assets",
    "--output": "spacy train",
    "--gpu-id": "spacy train",
    "--keep-going": "make",
    **dict.fromkeys(("--corpus", "--notes", "--characters"), "assets/generate.py"),
    **dict.fromkeys(
        ("--archives", "--conf", "--deploy-mode", "--executor-cores", "--executor-memory", "--name", "--num-executors"),
        "spark-submit",
    ),
}


def entry_points() -> Set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    groups = parser["options.entry_points"]
    registries = [group for group in groups if group.startswith(("spacy_", "thinc_"))]
    lines = [line for group in registries for line in groups[group].splitlines() if line]
    return {line.partition("=")[0].strip() for line in lines}


def shell_lines(page: str) -> List[str]:
    """Commands in blocks of code of a page, lines that go on joined."""
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@functools.cache
def clinical_ner() -> Any:
    cli._register()
    return typer.main.get_command(cli.app)


@functools.cache
def benchmark(module: str) -> Any:
    """The command line of `python -m MODULE`."""
    package = (ROOT / Path(*module.split("."))).is_dir()
    found = importlib.import_module(f"{module}.__main__" if package else module)
    return typer.main.get_command(found.app)


def find_command(words: List[str]) -> Tuple[Any, List[str]]:
    """The command that a line names, and its arguments. Raises ValueError if there is none."""
    if words[:2] == ["python", "-m"]:
        command, rest = benchmark(words[2]), words[3:]
    else:
        command, rest = clinical_ner(), words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return command, rest
        if rest[0] not in command.commands:
            raise ValueError(f"{shlex.join(words)}: no command {rest[0]}")
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for other in getattr(command, "commands", {}).values():
        yield from options(other)


def check_line(line: str) -> None:
    """Raise ValueError if a command or an option of a line does not exist, USAGE_ERROR if an argument is missing."""
    words = shlex.split(line, comments=True)
    if words[:3] == ["python", "-m", "benchmarks.results"]:
        assert set(words[3:]) <= {"--check"}
        return
    command, arguments = find_command(words)
    named = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    unknown = named - {*options(command), "--help"}
    if unknown:
        raise ValueError(f"{line}: no option {sorted(unknown)}")
    # Folders of other people's need not be here, and Python files of benchmarks are checked by their names alone.
    if words[0] == "clinical-ner" and not hasattr(command, "commands"):
        command.make_context(command.name, arguments)


def without_diagrams(page: str) -> str:
    """A page without its blocks of code in no language: their arrows look like options."""
    parts = page.split("```")
    return "".join(part for number, part in enumerate(parts) if not number % 2 or not part.startswith("\n"))


def known_options() -> Set[str]:
    found = {*options(clinical_ner()), *OTHERS, "--help"}
    for page in PAGES.values():
        for module in re.findall(r"python -m (benchmarks(?:\.\w+)*)", page):
            found |= {"--check"} if module == "benchmarks.results" else set(options(benchmark(module)))
    return found


def check_options(page: str, known: Set[str]) -> None:
    """Raise ValueError if a page names an option, in code or prose, that no command has."""
    paths = {"paths", "training", "components", "system"}  # overrides of `spacy train`
    variables = load_project_config(ROOT)["vars"]
    for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", without_diagrams(page)):
        section, _, name = option[2:].partition(".")
        if section == "vars":
            if name not in variables and name.strip("<>"):
                raise ValueError(f"{option}: project.yml has no such variable")
        elif not (name and section in paths) and option not in known:
            raise ValueError(f"{option}: no command has this option")


@every_page
def test_commands_and_their_options_exist(name: str) -> None:
    lines = [line for line in shell_lines(PAGES[name]) if line.startswith(("clinical-ner ", "python -m benchmarks"))]
    for line in lines:
        check_line(line)


@every_page
def test_commands_in_prose_exist(name: str) -> None:
    spans = re.findall(r"`(clinical-ner [a-z][^`]*|python -m benchmarks[^`]*)`", PAGES[name])
    for span in spans:
        words = span.split()
        if words[-1] != "benchmarks.results" and words[2:3] != ["benchmarks.results"]:
            command, arguments = find_command(words)
            assert {word for word in arguments if word.startswith("--")} <= {*options(command), "--help"}, span


@every_page
def test_every_option_named_is_one_of_some_command(name: str) -> None:
    check_options(PAGES[name], known_options())


def test_the_pages_show_enough_commands_to_be_worth_checking() -> None:
    shown = {
        line.split()[1] for page in PAGES.values() for line in shell_lines(page) if line.startswith("clinical-ner")
    }
    assert shown >= {"convert", "stats", "vectors", "pretrain", "annotate", "evaluate", "calibrate", "refit", "pool"}


@pytest.mark.parametrize(
    "line",
    [
        "clinical-ner convert notes out.spacy --langs es",
        "clinical-ner transmogrify notes",
        "clinical-ner annotate pipeline",
        "python -m benchmarks.tagger speeed --ours a --spacy b --notes c",
        "python -m benchmarks.crf --thread 1",
    ],
)
def test_a_line_that_would_fail_is_found(line: str) -> None:
    with pytest.raises((ValueError, USAGE_ERROR)):
        check_line(line)


@pytest.mark.parametrize("words", ["`--max-droped`", "with --vars.cantemits FOLDER", "--corpora.train"])
def test_an_option_that_no_command_has_is_found(words: str) -> None:
    with pytest.raises(ValueError):
        check_options(words, known_options())


def test_everything_registered_is_in_the_table() -> None:
    table = PAGES["docs/registry.md"]
    assert set(re.findall(r"^\| \w+ \| `([^`]+)` \|", table, flags=re.MULTILINE)) == entry_points()


def test_every_command_that_writes_is_in_the_table_of_what_it_may_replace() -> None:
    page = PAGES["docs/what-commands-replace.md"]
    told = {
        span.split()[0] for row in page.splitlines() if row.startswith("| `") for span in re.findall(r"`([^`]+)`", row)
    }
    assert set(clinical_ner().commands) - told <= {"serve"}


def test_workflows_are_those_of_the_project() -> None:
    table, workflows = PAGES["docs/workflows.md"], load_project_config(ROOT)["workflows"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(workflows)
    named = {name for page in PAGES.values() for name in re.findall(r"spacy project run (\w+)", page)}
    assert named and named <= set(workflows)


@every_page
def test_make_targets_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    named = re.findall(r"(?:^|`)make ([a-z][a-z ]*[a-z])", PAGES[name], flags=re.MULTILINE)
    targets = {target for words in named for target in words.split()}
    assert targets <= set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))
    if name == "README.md":
        assert {"demo", "test", "docs"} <= targets


def test_ci_runs_what_contributors_are_told_to_run() -> None:
    ran = re.findall(
        r"^exec make --keep-going (.*)$", (ROOT / ".ci/run").read_text(encoding="utf8"), flags=re.MULTILINE
    )
    assert ran == ["lint docs test"]
    assert "make lint docs test" in PAGES["CONTRIBUTING.md"]


FILES = {path for page in PAGES.values() for path in re.findall(r"(?:assets|configs)/[\w./-]+\w", page)}


@pytest.mark.parametrize("path", sorted(FILES))
def test_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@every_page
def test_links_to_files_exist(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[name]):
        assert ((ROOT / name).parent / target).exists(), target


def test_types_are_shipped() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf8")
    shipped = parser["options.package_data"]["spacy_clinical_ner"].split()
    assert (PACKAGE / "py.typed").is_file() and "py.typed" in shipped


def test_the_citation_has_the_version_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf8")
    assert f"\nversion: {spacy_clinical_ner.__version__}\n" in citation


def test_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 130
    linked = set(re.findall(r"\(docs/(\w[\w-]*\.md)\)", README))
    assert linked == {path.name for path in ROOT.glob("docs/*.md")} - {"index.md"}


def test_python_examples_parse_and_import_what_exists() -> None:
    blocks = [block for page in PAGES.values() for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)]
    assert len(blocks) >= 5
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_arrows_are_those_that_lint_holds() -> None:
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf8").partition('id = "house"')[2]
    if not contract:
        pytest.skip("no import-linter contract in pyproject.toml")
    lines = re.findall(r'^    "(.*)",$', contract.partition("layers = [")[2].partition("\n]")[0], flags=re.MULTILINE)
    held = [sorted(re.findall(r"\w+", line)) for line in lines]
    arrows = PAGES["docs/design.md"].partition("## Arrows")[2].split("```")[1]
    assert [sorted(line.split()) for line in arrows.splitlines() if line] == held


def test_the_house_is_drawn_as_it_stands() -> None:
    drawn: Dict[str, int] = {}
    house = PAGES["docs/design.md"].partition("## The house")[2].partition("\n## ")[0]
    for room in re.findall(r"^  (\w+)/ ", house, flags=re.MULTILINE):
        drawn[room] = drawn.get(room, 0) + 1
    assert drawn == {path.parent.name: 1 for path in PACKAGE.glob("*/__init__.py")}
    for module in re.findall(r"`(\w+\.py)`", house):
        assert (PACKAGE / module).is_file()
