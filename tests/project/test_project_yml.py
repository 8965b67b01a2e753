"""project.yml itself: what `spacy project` reads, runs and documents."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer
from weasel.cli.run import project_run
from weasel.util import load_project_config

from spacy_clinical_ner import cli

ROOT = Path(__file__).parents[2]
PREPARATION = ["prepare", "vectors", "pretrain"]
STEPS = [*PREPARATION, "train", "deliver"]
IN_ALL = ["cantemist", "maccrobat"]
# The package that a workflow builds, and whose corpus it is: of a workflow before it, or its own.
PACKAGES = {
    "cantemist": "es_cantemist_ner",
    "cantemist_label_attention": "es_cantemist_label_attention_ner",
    "cantemist_trf": "es_cantemist_trf_ner",
    "maccrobat": "en_maccrobat_ner",
    "maccrobat_charcnn": "en_maccrobat_charcnn_ner",
    "diabetes_zh": "zh_diabetes_ner",
    "ccks2019": "zh_ccks2019_ner",
    "maccrobat_relations": "en_maccrobat_relations",
    "coronary": "zh_coronary_joint",
}
CORPORA = {
    "cantemist_label_attention": "cantemist",
    "cantemist_trf": "cantemist",
    "maccrobat_charcnn": "maccrobat",
    "maccrobat_relations": "maccrobat",
    "diabetes_zh": "diabetes",
}
WITH_ENCODER = {"cantemist_trf"}
REFITTED = {"maccrobat_relations"}
WITHOUT_VECTORS = {*WITH_ENCODER, "diabetes_zh", "ccks2019", "maccrobat_relations", "coronary"}


@pytest.fixture(scope="module")
def config() -> dict:
    return load_project_config(ROOT)


def command(config: dict, name: str) -> dict:
    return next(entry for entry in config["commands"] if entry["name"] == name)


def chain(workflow: str) -> list:
    corpus = CORPORA.get(workflow, workflow)
    steps = [step for step in STEPS if step != "vectors" or workflow not in WITHOUT_VECTORS]
    steps = [step for step in steps if step != "pretrain" or workflow in WITH_ENCODER]
    return [f"{corpus if step in PREPARATION else workflow}-{step}" for step in steps]


@pytest.mark.parametrize("workflow", list(PACKAGES))
def test_workflow_is_the_whole_chain(config: dict, workflow: str) -> None:
    assert config["workflows"][workflow] == [*chain(workflow), "install"]


def test_every_workflow_is_tested(config: dict) -> None:
    assert set(config["workflows"]) == {"all", *PACKAGES}


def test_all_is_every_workflow_in_turn(config: dict) -> None:
    assert config["workflows"]["all"] == [*(step for workflow in IN_ALL for step in chain(workflow)), "install"]


def test_every_command_is_run_by_a_workflow(config: dict) -> None:
    names = [entry["name"] for entry in config["commands"]]
    assert sorted(names) == sorted({step for steps in config["workflows"].values() for step in steps})


@pytest.mark.parametrize("workflow", list(PACKAGES))
def test_a_refitted_pipeline_is_the_one_that_is_delivered(config: dict, workflow: str) -> None:
    train, deliver = (command(config, f"{workflow}-{step}") for step in ("train", "deliver"))
    model = f"training/{workflow}/model-{'refit' if workflow in REFITTED else 'best'}"
    assert model in train["outputs"]
    assert model in deliver["deps"]
    assert ("--refit" in train["script"][0].split()) == (workflow in REFITTED)
    assert ("--model model-refit" in deliver["script"][0]) == (workflow in REFITTED)


def test_corpora_are_laid_out_anew_each_time_and_wheels_installed(config: dict) -> None:
    """What lies in a given folder, and which environment this is, weasel cannot see."""
    for entry in config["commands"]:
        if entry["name"].endswith("-prepare"):
            assert entry["no_skip"]
    assert not command(config, "install").get("outputs")


def test_everything_is_documented(config: dict) -> None:
    assert config["title"]
    assert config["description"]
    assert all(entry["help"] for entry in config["commands"])
    assert all(asset["description"] for asset in config["assets"])


def test_downloads_are_optional(config: dict) -> None:
    assert all(asset["extra"] for asset in config["assets"] if asset.get("url"))


@pytest.mark.parametrize("workflow", list(PACKAGES))
def test_what_a_command_reads_an_earlier_one_wrote(config: dict, workflow: str) -> None:
    """Else weasel stops on a fresh clone with 'missing dependency'."""
    written: set = set()
    for name in config["workflows"][workflow]:
        entry = command(config, name)
        for path in map(Path, entry.get("deps", [])):
            places = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
            assert places & written or (ROOT / path).exists(), f"{name} needs {path}"
        written |= set(entry.get("outputs", []))


@pytest.mark.parametrize("workflow", list(PACKAGES))
def test_workflow_leaves_what_people_look_for(config: dict, workflow: str) -> None:
    outputs = {path for name in config["workflows"][workflow] for path in command(config, name).get("outputs", [])}
    assert {f"training/{workflow}/{name}" for name in ("model-best", "metrics.json", "predictions")} <= outputs
    assert f"packages/{PACKAGES[workflow]}-0.1.0" in outputs


def test_options_of_our_commands_exist(config: dict) -> None:
    cli._register()
    group = typer.main.get_command(cli.app)
    checked = 0
    for entry in config["commands"]:
        for words in map(shlex.split, entry["script"]):
            assert words[:3] == ["python", "-m", "spacy_clinical_ner"]
            subcommand, words = group.commands[words[3]], words[3:]
            if words[0] == "project":
                subcommand, words = subcommand.commands[words[1]], words[1:]
            # Parses as the real call would, without running it.
            subcommand.make_context(words[0], words[1:], resilient_parsing=False)
            checked += 1
    assert checked == len(config["commands"])


@pytest.mark.parametrize("folder", ["/data/my corpus", "../notes", "it's here"])
@pytest.mark.parametrize("name", ["cantemist", "maccrobat", "diabetes", "ccks2019", "coronary"])
def test_folder_given_on_the_command_line_stays_one_word(name: str, folder: str, capsys: pytest.CaptureFixture) -> None:
    project_run(ROOT, f"{name}-prepare", overrides={f"vars.{name}": folder}, dry=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Running command"))
    words = shlex.split(line.partition(": ")[2])
    assert words[words.index("--given") + 1] == folder


@pytest.mark.parametrize("folder", ["", "/data/my notes", "it's here"])
def test_raw_notes_given_on_the_command_line_stay_one_word(folder: str, capsys: pytest.CaptureFixture) -> None:
    project_run(ROOT, "cantemist-pretrain", overrides={"vars.raw": folder}, dry=True, force=True)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Running command"))
    words = shlex.split(line.partition(": ")[2])
    assert words[words.index("--raw") + 1] == folder
    assert words[words.index("--size") + 1] == "tiny"
