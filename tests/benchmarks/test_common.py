import subprocess
import sys
import time

import pytest

from benchmarks import common as tagger_common
from benchmarks.common import digest, fingerprint, last_line, read_json, run_logged, show_spread, table, write_json
from spacy_clinical_ner.errors import ClinicalNerError


def test_table_aligns_first_column_left_and_others_right():
    expected = "\n".join(["name    F", "----  ---", "a     0.5", "bcde   10"])
    assert table(("name", "F"), [("a", 0.5), ("bcde", 10)]) == expected


def test_show_spread():
    assert show_spread([1300.4, 900.0, 1000.0]) == "1,000 (900 to 1,300)"
    assert show_spread([1.0, 2.0], digits=1) == "1.5 (1.0 to 2.0)"


def test_digest_depends_on_values_not_on_order():
    assert digest({"a": 1, "b": "é"}) == digest({"b": "é", "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_fingerprint_sees_notes_and_annotations_only(tmp_path):
    (tmp_path / "a.txt").write_text("note")
    before = fingerprint(tmp_path)
    (tmp_path / "readme.md").write_text("x")
    assert fingerprint(tmp_path) == before
    (tmp_path / "a.ann").write_text("")
    assert fingerprint(tmp_path) != before


def test_last_line_of_a_progress_bar(tmp_path):
    log = tmp_path / "log"
    log.write_text("start\n 10%\r 20%\r 30%\n\n  \n")
    assert last_line(log) == "30%"
    log.write_text("")
    assert last_line(log) == ""


def test_run_logged_measures_the_command_alone(tmp_path):
    bytearray(600 * 2**20)  # of the process that measures, which ru_maxrss hands on to what it starts
    held = "x = bytearray(200 * 2**20); print('held')"
    finished = run_logged("hold", [sys.executable, "-c", held], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "held\n"
    assert 200 < finished.peak_rss_mib < 400
    assert finished.seconds > 0


def test_run_logged_measures_the_largest_process_of_the_command(tmp_path):
    child = "bytearray(300 * 2**20)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{child}'])"
    assert 300 < run_logged("parent", [sys.executable, "-c", parent], tmp_path / "log").peak_rss_mib < 500


def test_run_logged_ends_the_command_when_it_is_interrupted(tmp_path, monkeypatch):
    def interrupt(seconds):
        pid = tmp_path / "pid"
        if pid.is_file() and pid.read_text().endswith("\n"):
            raise KeyboardInterrupt

    monkeypatch.setattr(tagger_common.time, "sleep", interrupt)
    code = f"import os, time; print(os.getpid(), file=open({str(tmp_path / 'pid')!r}, 'w'), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        run_logged("sleeper", [sys.executable, "-c", code], tmp_path / "log")
    monkeypatch.undo()
    command = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if ended(command):
            return
        time.sleep(0.05)
    raise AssertionError("the command goes on")


def ended(pid):
    """Whether a process is gone, or waits only for its (adoptive) parent to hear of it."""
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return state in ("", "Z")


def test_run_logged_names_the_log_of_a_failure(tmp_path):
    with pytest.raises(ClinicalNerError, match=r"broken failed with status 7; see .*log"):
        run_logged("broken", [sys.executable, "-c", "raise SystemExit(7)"], tmp_path / "log")
    with pytest.raises(ClinicalNerError, match="status 137"):
        run_logged("killed", [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path / "log")


def test_json_on_disk(tmp_path):
    assert read_json(tmp_path / "none.json") is None
    write_json(tmp_path / "deep" / "a.json", {"f": 0.5})
    assert read_json(tmp_path / "deep" / "a.json") == {"f": 0.5}
