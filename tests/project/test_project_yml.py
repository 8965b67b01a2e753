"""project.yml itself: what `spacy project` reads, runs and documents."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from weasel.cli.run import project_run
from weasel.util import load_project_config

from spacy_clinical_ner import cli
from spacy_clinical_ner.project import __main__ as project

ROOT = Path(__file__).parents[2]
STEPS = ["corpus", "convert", "vectors", "train", "annotate", "evaluate", "package", "install", "smoke"]
LANGUAGES = {"cantemist": "es", "maccrobat": "en"}
# A workflow of its own for another model takes over the corpus, the converted files and the vectors.
CORPORA = {"cantemist": "cantemist", "cantemist_label_attention": "cantemist", "maccrobat": "maccrobat"}
SHARED = {"corpus", "convert", "vectors"}


@pytest.fixture(scope="module")
def config() -> dict:
    return load_project_config(ROOT)


def chain(workflow: str) -> list:
    return [f"{CORPORA[workflow] if step in SHARED else workflow}-{step}" for step in STEPS]


def command(config: dict, name: str) -> dict:
    return next(entry for entry in config["commands"] if entry["name"] == name)


@pytest.mark.parametrize("workflow", list(CORPORA))
def test_workflow_is_the_whole_chain(config: dict, workflow: str) -> None:
    assert config["workflows"][workflow] == chain(workflow)


def test_all_is_the_first_workflow_of_every_corpus_in_turn(config: dict) -> None:
    assert config["workflows"]["all"] == [step for corpus in LANGUAGES for step in chain(corpus)]


def test_every_workflow_is_known_here(config: dict) -> None:
    assert set(config["workflows"]) == {"all", *CORPORA}


def test_everything_is_documented(config: dict) -> None:
    assert config["title"]
    assert config["description"]
    assert all(entry["help"] for entry in config["commands"])
    assert all(asset["description"] for asset in config["assets"])


def test_downloads_are_optional(config: dict) -> None:
    assert all(asset["extra"] for asset in config["assets"] if asset.get("url"))


@pytest.mark.parametrize("workflow", list(CORPORA))
def test_what_a_command_reads_an_earlier_one_wrote(config: dict, workflow: str) -> None:
    """Else weasel stops on a fresh clone with 'missing dependency'."""
    written = {f"corpus/{CORPORA[workflow]}/brat"}
    for name in config["workflows"][workflow]:
        entry = command(config, name)
        for path in map(Path, entry.get("deps", [])):
            places = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
            assert places & written or (ROOT / path).exists(), f"{name} needs {path}"
        written |= set(entry.get("outputs", []))


@pytest.mark.parametrize("workflow", list(CORPORA))
def test_workflow_leaves_what_people_look_for(config: dict, workflow: str) -> None:
    outputs = {path for name in config["workflows"][workflow] for path in command(config, name).get("outputs", [])}
    package = f"{LANGUAGES[CORPORA[workflow]]}_{workflow}_ner"
    assert {f"training/{workflow}/{name}" for name in ("model-best", "metrics.json", "predictions")} <= outputs
    assert f"packages/{package}-0.1.0" in outputs


def test_options_of_our_commands_exist(config: dict) -> None:
    cli._register()
    known = {
        "spacy_clinical_ner": typer.main.get_command(cli.app),
        "spacy_clinical_ner.project": typer.main.get_command(project.app),
    }
    checked = 0
    for entry in config["commands"]:
        for words in map(shlex.split, entry["script"]):
            if words[:2] != ["python", "-m"] or words[2] not in known:
                continue
            subcommand = known[words[2]].commands[words[3]]
            # Parses as the real call would, without running it.
            subcommand.make_context(words[3], words[4:], resilient_parsing=False)
            checked += 1
    assert checked >= len(LANGUAGES) * (len(STEPS) - 1)


@pytest.mark.parametrize("folder", ["/data/my corpus", "../notes", "it's here"])
def test_folder_given_on_the_command_line_stays_one_word(folder: str, capsys: pytest.CaptureFixture) -> None:
    project_run(ROOT, "cantemist-corpus", overrides={"vars.cantemist": folder}, dry=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Running command"))
    words = shlex.split(line.partition(": ")[2])
    assert words[words.index("--given") + 1] == folder
