import sys
from pathlib import Path

import pytest

from benchmarks.rounds import (
    Worker,
    WorkerFailed,
    alternate,
    count_words,
    median_ratio,
    note_files,
    rates,
    read_note,
    threads_environment,
)

ECHO = """
import os, sys
sys.path.insert(0, {folder!r})
from benchmarks.rounds import serve
print("printed before serving goes to the parent, so a worker must not", file=sys.stderr)
def double(value):
    print("noise")
    return {{"twice": 2 * value, "threads": os.environ["OMP_NUM_THREADS"]}}
serve({{"double": double, "die": lambda: sys.exit(3)}})
"""


@pytest.fixture
def command():
    folder = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-c", ECHO.format(folder=folder)]


def test_worker_answers_with_its_memory_and_keeps_noise_out(command, tmp_path):
    bytearray(600 * 2**20)  # of this process, not of the worker
    with Worker("echo", command, tmp_path / "log", threads=3) as worker:
        answers = [worker.ask(do="double", value=value) for value in (1, 21)]
    assert [answer["twice"] for answer in answers] == [2, 42]
    assert answers[0]["threads"] == "3"
    assert 1 < answers[0]["peak_rss_mib"] < 200
    assert answers[0]["peak_rss_mib"] <= answers[1]["peak_rss_mib"]
    assert (tmp_path / "log").read_text().count("noise") == 2


def test_worker_that_dies_is_reported_with_its_log(command, tmp_path):
    with Worker("echo", command, tmp_path / "log") as worker, pytest.raises(WorkerFailed, match=r"echo stopped.*log"):
        worker.ask(do="die")


class Recorder:
    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def ask(self, **request):
        self.calls.append((self.name, request["size"]))
        return {"number": len(self.calls)}


def test_alternate_warms_up_turns_around_and_keeps_the_order_of_turns():
    calls = []
    first, second = Recorder("first", calls), Recorder("second", calls)
    answers = alternate([(first, {"size": 1}), (second, {"size": 2})], rounds=2)
    assert calls == [("second", 2), ("first", 1), ("first", 1), ("second", 2), ("second", 2), ("first", 1)]
    assert answers == [[{"number": 3}, {"number": 4}], [{"number": 6}, {"number": 5}]]


def test_the_round_that_warms_up_may_be_a_smaller_one():
    calls = []
    alternate([(Recorder("one", calls), {"size": 7})], rounds=1, size=2)
    assert calls == [("one", 2), ("one", 7)]


def test_rates_by_turn():
    rounds = [
        [{"words": 10, "seconds": 2.0}, {"words": 10, "seconds": 5.0}],
        [{"words": 10, "seconds": 4.0}, {"words": 10, "seconds": 1.0}],
    ]
    assert rates(rounds) == [[5.0, 2.5], [2.0, 10.0]]


def test_median_ratio_is_taken_within_rounds():
    # Second round: the machine was slow for both. The ratio of medians would be 1.0.
    assert median_ratio([20.0, 2.0, 20.0], [10.0, 1.0, 20.0]) == 2.0


def test_words_are_counted_between_white_space():
    assert count_words(["pT2 N0,  M0\n", "", "\u00a0a\u2028b"]) == 5


def test_notes_are_read_in_order_and_as_they_are(tmp_path):
    (tmp_path / "b").mkdir()
    for name, data in (("c.txt", b"x"), ("b/a.txt", b"\xef\xbb\xbfa\r\nb"), ("a.ann", b"")):
        (tmp_path / name).write_bytes(data)
    paths = list(note_files(tmp_path))
    assert [path.name for path in paths] == ["a.txt", "c.txt"]
    assert read_note(paths[0]) == "\ufeffa\r\nb"


def test_threads_environment_sets_all_libraries_and_keeps_the_rest(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setenv("UNRELATED", "kept")
    environment = threads_environment(2)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["UNRELATED"] == "kept"
