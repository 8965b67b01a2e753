"""Running a command of `clinical-ner` as a shell would."""

from __future__ import annotations

import sys

import pytest

from spacy_clinical_ner import cli


def run_command(command: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit status of `clinical-ner COMMAND ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["clinical-ner", command, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)
