"""`clinical-ner serve` as a process: it answers, says nothing of what it is asked, and refuses in one line."""

from __future__ import annotations

import json
import socket
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from benchmarks.serving import served
from spacy_clinical_ner.tokenization import blank_pipeline
from tests.cli.commands import run_command

SENTINEL = "Sentinela-47"


@pytest.fixture()
def pipeline(tmp_path: Path) -> Path:
    nlp = blank_pipeline("es")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "S", "pattern": "fiebre"}])
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_serves_and_logs_nothing_of_a_note(pipeline: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with served(pipeline, log, "--max-bytes", "1000") as server:
        assert server.host == "127.0.0.1"
        connection = HTTPConnection(server.host, server.port, timeout=60)
        for body, status in (({"text": f"fiebre {SENTINEL}"}, 200), ({SENTINEL: 1}, 422), ({"text": "x" * 1000}, 413)):
            connection.request("POST", "/annotate", json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            found = json.loads(answer.read())
            assert answer.status == status
            assert status != 200 or [row["label"] for row in found["rows"]] == ["S"]
        connection.request("GET", f"/{SENTINEL}")
        assert connection.getresponse().status == 404
    assert SENTINEL not in log.read_text(encoding="utf8")


def test_a_port_that_is_taken(pipeline: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status = run_command("serve", monkeypatch, pipeline, "--port", port)
    stderr = capsys.readouterr().err
    assert status == 2 and stderr.startswith(f"clinical-ner: 127.0.0.1, port {port}: ") and stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["fastapi", "uvicorn"])
def test_what_is_missing_is_named(pipeline: Path, module: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert run_command("serve", monkeypatch, pipeline) == 2
    assert (
        capsys.readouterr().err == f"clinical-ner: {module} is not installed: pip install 'spacy-clinical-ner[serve]'\n"
    )
