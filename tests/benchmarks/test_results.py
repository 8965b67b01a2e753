"""Figures are lines of JSON, and the pages say what the lines say."""

import json
import re
import subprocess
import sys

import pytest

from benchmarks.crf.__main__ import _figure
from benchmarks.index import INDEX
from benchmarks.papers.tables import TABLES
from benchmarks.relations.focused import Timing, figures
from benchmarks.results import FIGURES, RESULTS, ROOT, difference, interval, load, pages, record, results_page, show
from benchmarks.tagger.edsnlp_compare import edsnlp_figures

ROWS = [
    {"name": "ours", "f": [0.817, 0.8, 0.835], "difference": [-0.02, -0.03, 0.01], "paper": {"F": 0.8}},
    {"name": "theirs", "median_f": 0.5, "by_seed": [[0.5, 0.4, 0.6], [0.45, 0.4, 0.5]], "minutes": 2.5, "p": None},
]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_pages_are_what_the_lines_say(path):
    assert path.read_text(encoding="utf8") == pages()[path], "run python -m benchmarks.results"


def test_check_tells_by_its_status():
    command = [sys.executable, "-m", "benchmarks.results", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_line_says_what_was_run_on_what_and_is_in_the_index():
    runs = [json.loads(line) for path in RESULTS.glob("*.jsonl") for line in path.read_text("utf8").splitlines()]
    assert len(runs) >= 44
    for run in runs:
        assert list(run) == ["benchmark", "date", "commit", "versions", "setting", "rows"]
        assert run["benchmark"] in INDEX and run["versions"] and re.fullmatch(r"[0-9a-f]{7,}\+?", run["commit"])
        assert {key for row in run["rows"] for key in row} <= FIGURES.keys()
        assert run["rows"] or run["setting"]


def test_every_table_of_the_papers_is_in_the_index():
    assert {name.partition(" ")[2] for name in INDEX if name.startswith("papers ")} == TABLES.keys()


def test_what_is_recorded_is_on_the_page(tmp_path):
    for setting in ("the first", "seed 0; 3 notes"):
        path = record("tagger cantemist", ROWS, ("torch",), setting=setting, folder=tmp_path)
    assert path.name == "tagger.jsonl" and len(path.read_text("utf8").splitlines()) == 2
    runs = load(tmp_path)
    assert "p" not in runs["tagger cantemist"][0]["rows"][1]
    newest, _, earlier = results_page(runs).partition("???")
    assert "Seed 0; 3 notes." in newest and "    The first." in earlier
    for page in (newest, earlier):
        assert "| ours |  |  | 0.8170 [0.800, 0.835] | -0.0200 [-0.030, +0.010] | F 0.8 |  |" in page
        assert "| theirs | 0.5000 | 0.5000 [0.400, 0.600], 0.4500 [0.400, 0.500] |  |  |  | 2.5 |" in page
    assert INDEX["tagger cantemist"].minutes(runs["tagger cantemist"]) == "5"


def test_a_figure_without_a_heading_or_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(ValueError, match="happiness"):
        record("crf", [{"name": "ours", "happiness": 1}], ("torch",), folder=tmp_path)
    with pytest.raises(ValueError, match=r"not in benchmarks/index\.py"):
        record("crt", [{"name": "ours"}], ("torch",), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_index_shows_the_newest_figure_on_the_notes_it_is_about():
    def run(setting, f):
        row = {"name": "IDCNN-MHA-CRF", "f": [f, f, f]}
        return {"setting": setting, "rows": [row], "date": "2026-01-01", "commit": "abc1234"}

    runs = [run("ccks2019, all", 0.5), run("ccks2019, all", 0.6), run("maccrobat, all", 0.7)]
    assert "0.6000" in INDEX["papers ccks-2"].newest(runs)
    assert INDEX["papers ccks-2"].newest([]) == "none yet"
    assert INDEX["papers ccks-2"].minutes(runs) == "not recorded"


def test_numbers_are_rounded_as_they_are_shown():
    scores = {"f": 0.843249, "ci_low": 0.83149, "ci_high": 0.85551}
    assert show("f", interval(scores)) == "0.8432 [0.831, 0.856]"
    comparison = {"difference": -0.01005, "ci_low": -0.02, "ci_high": 0.001}
    assert show("difference", difference(comparison)).startswith("-0.010") and show("words_per_second", 1234) == "1,234"


def test_rows_of_timings_are_those_that_the_pages_show():
    tasks = {"train": {"ours": 0.5, "theirs": 4.0}, "decode": {"ours": 1.0, "theirs": 2.54}}
    assert _figure({"shape": [16, 100, 3], **tasks}) == {
        "name": "(16, 100, 3)",
        "train_ratio": 8.0,
        "decode_ratio": 2.5,
    }
    assert _figure({"tokens": 1000, "seconds": 0.0071}) == {"name": "1000 tokens", "milliseconds": 7}
    row = figures("K=2 eq14", Timing(60.4, 2.2, 24.61, 24.04, 1.2e-6))
    speeds = {"pairs_per_second": 60, "naive_pairs_per_second": 2, "ratio": 24.6, "cpu_ratio": 24.0}
    assert row == {"name": "K=2 eq14", **speeds, "largest_difference": "1e-06"} and row.keys() <= FIGURES.keys()


def test_rows_of_edsnlp_name_what_was_trained_with_what():
    trained = {"train_words_per_second": 193.4, "train_words_per_cpu_second": 465.0, "train_peak_rss_mib": 2313.2}
    scores = {"f": 0.5386, "ci_low": 0.487, "ci_high": 0.588}
    outcome = {
        "training": {"EDS-NLP": {**trained, "versions": {"edsnlp": "0.23.0", "torch": "2.13.0"}, "commit": "abc1234"}},
        "inference": {
            "EDS-NLP, float32": {"rates": [1700.0, 1739.0, 1800.0], "peak_rss_mib": 696.0},
            "crf_ner, int8": {"rates": [3400.0, 2434.6, 2700.0], "peak_rss_mib": 500.0},
        },
        "scores": {"EDS-NLP, float32": scores, "crf_ner, int8": scores},
    }
    training, inference, ours = edsnlp_figures(outcome)
    speeds = {"train_words_per_second": 193, "train_words_per_cpu_second": 465, "train_peak_mib": 2313}
    made_with = {"packages": "edsnlp 0.23.0, torch 2.13.0", "trained_at": "abc1234"}
    assert training == {"name": "EDS-NLP, training", **speeds, **made_with}
    found = {"f": [0.5386, 0.487, 0.588], "words_per_second": 1739, "ratio": 1.0, "peak_mib": 696}
    assert ours["ratio"] == 1.5  # the median of rounds
    assert inference == {"name": "EDS-NLP, float32", **found}
    assert (training.keys() | inference.keys()) <= FIGURES.keys()
