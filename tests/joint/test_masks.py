from functools import partial

import pytest
import torch

from spacy_clinical_ner.joint.mask_plot import mask_matrices
from tests.cli.commands import run_command
from tests.joint import ROOT

NOTE = ROOT / "assets/sample/coronary/train/guanmai-001.txt"

run = partial(run_command, "masks")


def test_matrices_by_hand():
    entities, eq13, eq14 = mask_matrices(3, (0, 1), (2, 3)).values()
    assert entities.all() and entities.shape == (4, 4)
    rows = torch.tensor([[True, True, False, True]])
    assert torch.equal(eq13, torch.cat([rows, torch.ones((3, 4), dtype=torch.bool)]))
    assert torch.equal(eq14, rows.T & rows)
    with pytest.raises(ValueError, match="no tokens 2 to 4"):
        mask_matrices(3, (0, 1), (2, 4))


@pytest.mark.parametrize("options", [[], ["--note", NOTE], ["--note", NOTE, "--relation", "R20", "--context", "0"]])
def test_pictures_are_written(monkeypatch, tmp_path, options):
    pytest.importorskip("matplotlib")
    assert run(monkeypatch, tmp_path / "masks.png", *options) == 0
    assert (tmp_path / "masks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--relation", "R1"], "needs --note"),
        (["--note", NOTE, "--relation", "R99"], "guanmai-001.ann: no relation R99"),
        (["--note", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, tmp_path, capsys, options, reason):
    assert run(monkeypatch, tmp_path / "masks.png", *options) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert not (tmp_path / "masks.png").exists()
