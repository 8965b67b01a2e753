"""One page with every paper's table beside ours."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from benchmarks.papers.page import SWEEPS, collect_tables, render_page, sweep_chart, write_page
from benchmarks.papers.tables import TABLES
from benchmarks.results import load
from tests.evaluation.report.test_report import parse


def run(table: str, rows: dict, setting: str = "notes, seed 0") -> dict:
    figures = [{"name": name, "f": [f, f - 0.02, f + 0.03], "p": 0.5, "r": 0.25} for name, f in rows.items()]
    return {
        "benchmark": f"papers {table}",
        "setting": setting,
        "rows": figures,
        "date": "2026-01-01",
        "commit": "abc1234",
    }


def test_every_table_and_every_row_is_there_whether_it_was_measured_or_not():
    page = render_page({})
    parse(page)
    for table in TABLES.values():
        assert table.title.replace("'", "&#39;") in page
        for row in table.rows:
            assert f'<th scope="row">{row.name}</th>' in page
    assert "71.90" in page and "not measured yet" in page  # CANTEMIST's label attention
    parse(render_page(load()))


def test_the_newest_row_of_a_setting_counts_and_settings_are_kept_apart():
    name = "papers cantemist-3"
    runs = [run("cantemist-3", {"CRF": 0.5, "softmax": 0.25}), run("cantemist-3", {"CRF": 0.75})]
    runs.append(run("cantemist-3", {"CRF": 0.125, "encoder and word vectors, CRF (e5)": 0.625}, "fewer notes"))
    tables = {entry["table"].name: entry["runs"] for entry in collect_tables({name: runs})}
    found = {
        view["setting"]: {row["name"]: row["ours"]["f"][0] for row in view["rows"] if row["ours"]}
        for view in tables["cantemist-3"]
    }
    assert found == {
        "notes, seed 0": {"CRF": 0.75, "softmax": 0.25},
        "fewer notes": {"CRF": 0.125, "encoder and word vectors, CRF (e5)": 0.625},
    }
    page = render_page({name: runs})
    for figure in ("75.00", "62.50", "--lo:73.0%;--hi:78.0%"):
        assert figure in page


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_drawn(name):
    rows = {row.name: 0.5 + i / 100 for i, row in enumerate(TABLES[name].rows)}
    (entry,) = (e for e in collect_tables({f"papers {name}": [run(name, rows)]}) if e["table"].name == name)
    svg = sweep_chart(name, entry["runs"][0]["rows"])
    lines = {re.fullmatch(SWEEPS[name].pattern, row).groupdict().get("series") or "ours" for row in rows}
    for line in lines:
        assert line in svg
    assert sweep_chart("ccks-2", []) is None


def test_what_was_just_trained_is_on_the_page(tmp_path):
    page = write_page([run("diabetes", {"encoder, BiLSTM-CRF (e5)": 0.4375}, "just now")], tmp_path / "p.html")
    assert "43.75" in page.read_text("utf8") and "just now" in page.read_text("utf8")
