"""Where benchmarks write their figures: a JSON line for each run in results/, and the pages that are made from them.

python -m benchmarks.results           writes docs/results.md and the table of benchmarks/README.md anew
python -m benchmarks.results --check   status 1 if they are not what the lines say
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from benchmarks.rounds import ROOT
from spacy_clinical_ner.files import replacing

RESULTS = ROOT / "benchmarks" / "results"
Record = Dict[str, Any]
Row = Mapping[str, Any]

# What a row may hold, in the order of the columns: key -> (heading, how it is shown).
FIGURES = {
    "name": ("", "text"),
    "median_f": ("median F", "share"),
    "by_seed": ("F by seed [95%]", "shares"),
    "f": ("strict micro F [95%]", "interval"),
    "p": ("P", "share"),
    "r": ("R", "share"),
    "token_f": ("token-level weighted F [95%]", "interval"),
    "gold_f": ("relations, gold entities, F [95%]", "interval"),
    "end_to_end_f": ("relations, end to end, F [95%]", "interval"),
    "difference": ("paired difference [95%]", "difference"),
    "differences": ("paired difference by seed [95%]", "differences"),
    "paper": ("the paper's", "paper"),
    "ece_before": ("expected calibration error before", "share"),
    "ece_after": ("expected calibration error after", "share"),
    "log_loss_before": ("log loss before", "share"),
    "log_loss_after": ("log loss after", "share"),
    "candidate_recall": ("candidate recall", "share"),
    "train_ratio": ("loss and gradients, times as fast", "times"),
    "decode_ratio": ("decoding, times as fast", "times"),
    "ratio": ("ratio", "times"),
    "cpu_ratio": ("ratio in CPU time", "times"),
    "pairs_per_second": ("packed, pairs/s", "number"),
    "naive_pairs_per_second": ("whole sequences, pairs/s", "number"),
    "largest_difference": ("largest difference", "text"),
    "requests": ("requests", "number"),
    "failed": ("failed", "number"),
    "time_ratio": ("time over the plain likelihood's", "times"),
    "milliseconds": ("ms", "number"),
    "slow_milliseconds": ("99 of 100, ms", "number"),
    "microseconds_per_token": ("microseconds/token", "number"),
    "train_words_per_second": ("training, words/s", "number"),
    "train_words_per_cpu_second": ("training, words a CPU second", "number"),
    "train_peak_mib": ("training, peak MiB", "number"),
    "words_per_second": ("words/s", "number"),
    "peak_mib": ("peak MiB", "number"),
    "resident_mib": ("resident MiB", "number"),
    "growth_percent": ("growth, %", "number"),
    "growth_of_second_half_percent": ("growth of the second half, %", "number"),
    "kills": ("kills", "number"),
    "outputs": ("outputs finished after kills", "number"),
    "equal": ("equal to an uninterrupted run's", "number"),
    "rows": ("rows", "number"),
    "epoch_seconds": ("s an epoch", "number"),
    "epoch_cpu_seconds": ("CPU s an epoch", "number"),
    "seconds": ("s", "number"),
    "cpu_seconds": ("CPU s", "number"),
    "megabytes": ("MB", "number"),
    "load_seconds": ("s until it is loaded", "number"),
    "frame_ms": ("ms a frame (median)", "number"),
    "slow_frame_ms": ("95 of 100 frames, ms", "number"),
    "slowest_frame_ms": ("slowest frame, ms", "number"),
    "minutes": ("training, min", "number"),
    "packages": ("versions", "text"),
    "trained_at": ("trained at", "text"),
}


def commit() -> str:
    """Short id of the commit measured, with a + if the package has changes that are not committed."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def interval(scores: Mapping[str, Any], key: str = "f") -> List[float]:
    """A figure with its 95% interval, as rows hold them: [0.8432, 0.831, 0.855]."""
    return [round(scores[key], 4), round(scores["ci_low"], 3), round(scores["ci_high"], 3)]


def difference(comparison: Mapping[str, Any]) -> List[float]:
    """A paired difference with its 95% interval: [0.0636, 0.044, 0.084]."""
    return interval(comparison, "difference")


def record(
    benchmark: str, rows: Sequence[Row], packages: Sequence[str], *, setting: str = "", folder: Path = RESULTS
) -> Path:
    """Append a run to the file of its benchmark, and return the file.

    benchmark: folder and command, such as "tagger speed". rows: what was measured, with keys of `FIGURES` that are not
    None. packages: distributions whose versions are noted. setting: notes, seed, budget, load, as a line.
    Raises ValueError for a benchmark that is not in the index, or a figure that the pages cannot show.
    """
    from benchmarks.index import INDEX

    unknown = {key for row in rows for key in row} - FIGURES.keys()
    if unknown or benchmark not in INDEX:
        raise ValueError(f"{benchmark}: not in benchmarks/index.py, or figures without a heading: {sorted(unknown)}")
    run: Record = {"benchmark": benchmark, "date": date.today().isoformat(), "commit": commit()}
    run["versions"] = {name: version(name) for name in packages}
    run["setting"] = setting
    run["rows"] = [{key: value for key, value in row.items() if value is not None} for row in rows]
    path = folder / f"{benchmark.partition(' ')[0]}.jsonl"
    before = path.read_text(encoding="utf8") if path.exists() else ""
    with replacing(path) as temporary:
        temporary.write_text(before + json.dumps(run, ensure_ascii=False) + "\n", encoding="utf8")
    return path


def load(folder: Path = RESULTS) -> Dict[str, List[Record]]:
    """{benchmark: its runs, the newest last}, of all files."""
    runs: Dict[str, List[Record]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf8").splitlines():
            run = json.loads(line)
            runs.setdefault(run["benchmark"], []).append(run)
    return runs


def show(key: str, value: Any) -> str:
    """A figure as a cell of a table."""
    kind = FIGURES[key][1]
    if kind in ("shares", "differences"):
        return ", ".join(_interval(one, signed=kind == "differences") for one in value)
    if kind in ("interval", "difference"):
        return _interval(value, signed=kind == "difference")
    if kind == "paper":
        return ", ".join(f"{name} {figure}" for name, figure in value.items()) or "-"
    if kind == "share":
        return f"{value:.4f}"
    if kind == "times":
        return f"{value:,} x"
    return f"{value:,}" if kind == "number" else str(value)


def _interval(triple: Sequence[float], signed: bool) -> str:
    value, low, high = triple
    sign = "+" if signed else ""
    return f"{value:{sign}.4f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows with a column for every figure that one of them has."""
    keys = [key for key in FIGURES if any(key in row for row in rows)]
    lines = [[FIGURES[key][0] for key in keys], ["---"] * len(keys)]
    lines += [[show(key, row[key]) if key in row else "" for key in keys] for row in rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def show_run(run: Record) -> str:
    """A run as Markdown: when, of which commit and versions, under which setting, and its rows."""
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    head = f"{run['date']}, commit {run['commit']}; {versions}."
    parts = [head, f"{run['setting'][:1].upper()}{run['setting'][1:]}." if run["setting"] else ""]
    parts.append(markdown_table(run["rows"]) if run["rows"] else "")
    return "\n\n".join(part for part in parts if part)


def results_page(runs: Mapping[str, Sequence[Record]]) -> str:
    """docs/results.md: the newest run of every benchmark, and the earlier ones folded away."""
    from benchmarks.index import INDEX, PREFACE

    parts = [PREFACE]
    for name, benchmark in INDEX.items():
        if name not in runs:
            continue
        *earlier, newest = runs[name]
        parts += [f"## {benchmark.title}", f"{benchmark.question}\n\n```sh\n{benchmark.command}\n```", show_run(newest)]
        for run in reversed(earlier):
            folded = show_run(run).replace("\n", "\n    ").replace("\n    \n", "\n\n")
            parts.append(f'??? note "Earlier: {run["date"]}, commit {run["commit"]}"\n\n    {folded}')
    return "\n\n".join(parts) + "\n"


def index_page(text: str, runs: Mapping[str, Sequence[Record]]) -> str:
    """benchmarks/README.md with its table made anew: question, command, minutes, newest figure."""
    from benchmarks.index import INDEX

    rows = ["| Question | Command | Minutes | Newest figure |", "| --- | --- | --- | --- |"]
    for name, benchmark in INDEX.items():
        found = runs.get(name, ())
        cells = (benchmark.question, f"`{benchmark.command}`", benchmark.minutes(found), benchmark.newest(found))
        rows.append("| " + " | ".join(cells) + " |")
    begin, end = "<!-- table: python -m benchmarks.results -->\n", "<!-- end of table -->\n"
    before, _, rest = text.partition(begin)
    return before + begin + "\n".join(rows) + "\n" + end + rest.partition(end)[2]


def pages() -> Dict[Path, str]:
    """The generated pages as they should be, by file."""
    runs, index = load(), ROOT / "benchmarks" / "README.md"
    return {
        ROOT / "docs" / "results.md": results_page(runs),
        index: index_page(index.read_text(encoding="utf8"), runs),
    }


def main() -> int:
    """Write the pages, or with --check see whether they are up to date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: not up to date; run python -m benchmarks.results", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        with replacing(path) as temporary:
            temporary.write_text(pages()[path], encoding="utf8")
        print(f"Written: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
