"""Spark beside the engine `local`, over the same Parquet file: words a second, memory, and whether rows are equal.

python -m benchmarks.annotation.spark ENGINE PIPELINE NOTES.parquet OUT.parquet CORES   one system; prints JSON
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from benchmarks.annotation.notes import WORK, make_task, write_notes
from benchmarks.rounds import ROOT, count_words, threads_environment
from spacy_clinical_ner.tokenization import blank_pipeline


def local(pipeline: Path, source: Path, target: Path, cores: int) -> float:
    """Seconds of `clinical-ner annotate --n-process CORES`, without loading."""
    from spacy_clinical_ner.annotation.tasks import annotate
    from spacy_clinical_ner.pipelines import load_pipeline

    nlp = load_pipeline(str(pipeline))
    begun = time.perf_counter()
    annotate(make_task(pipeline, source, target, "parquet", n_process=cores), nlp)
    return time.perf_counter() - begun


def spark(pipeline: Path, source: Path, target: Path, cores: int) -> float:
    """Seconds of `annotate_dataframe` from Parquet to Parquet, when its Python workers have loaded the pipeline."""
    from spacy_clinical_ner.annotation import annotate_dataframe
    from spacy_clinical_ner.annotation.spark import session

    found = session(f"local[{cores}]")
    found.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "500")
    notes = found.read.parquet(str(source)).repartition(4 * cores)
    annotate_dataframe(notes.limit(8 * cores).repartition(2 * cores), str(pipeline)).count()
    begun = time.perf_counter()
    annotate_dataframe(notes, str(pipeline)).write.parquet(str(target))
    return time.perf_counter() - begun


def measure(command: Sequence[object]) -> Dict[str, Any]:
    """What a command prints, with the most memory (MiB) that its Python processes had resident together."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env={**threads_environment(1), "PYSPARK_PYTHON": str(command[0]), "SPARK_LOCAL_IP": "127.0.0.1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.5)
    assert process.stdout is not None
    lines = [line for line in process.stdout.read().splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise RuntimeError(f"{command[2]} ended with status {process.returncode}")
    return {**json.loads(lines[-1]), "peak_mib": round(peak)}


def _resident(root: int) -> float:
    """MiB of a process and all below it that are Python; pages that several share count once for each."""
    total, waiting = 0.0, [root]
    while waiting:
        number = waiting.pop()
        folder = Path(f"/proc/{number}")
        try:
            if "python" in os.readlink(folder / "exe"):
                pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE") / 2**20
            for task in folder.glob("task/*/children"):
                waiting += map(int, task.read_text(encoding="ascii").split())
        except OSError:  # it has ended meanwhile
            continue
    return total


def compare(
    pipeline: Path, notes: Path, count: int, cores: Sequence[int], rounds: int, edsnlp: Optional[Path] = None
) -> List[Dict[str, Any]]:
    """A row for each system and number of cores.

    edsnlp: the Python of an environment with EDS-NLP and pyspark; then all systems look terms of these notes up, since
    EDS-NLP has no pipeline that is trained on them.
    """
    import pyarrow
    import pyarrow.parquet

    folder = WORK / "spark"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = folder / "in.parquet"
    with write_notes(notes, count).open(encoding="utf8") as file:
        found = [json.loads(line) for line in file]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), source)
    if edsnlp is not None:
        pipeline = _dictionary(folder, [row["note_text"] for row in found])
    words = count_words(row["note_text"] for row in found)
    systems: Dict[str, List[object]] = {}
    for number in cores:
        for name in ("local", "spark"):
            module = [sys.executable, "-m", "benchmarks.annotation.spark", name, pipeline, source]
            systems[f"{name}, {number}"] = [*module, folder / f"{name}-{number}.parquet", number]
        if edsnlp is not None:
            script = ROOT / "benchmarks" / "annotation" / "edsnlp_worker.py"
            place = folder / f"edsnlp-{number}.parquet"
            systems[f"EDS-NLP, Spark, {number}"] = [edsnlp, script, folder / "terms.json", source, place, number]
    answers: Dict[str, List[Dict[str, Any]]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, command in systems.items():
            target = Path(str(command[-2]))
            for old in (target, target.with_name(f"{target.name}.run")):
                shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            answers[name].append(measure(command))
    rows = []
    for name, given in answers.items():
        speed = words / statistics.median(answer["seconds"] for answer in given)
        row = {"name": name, "words_per_second": round(speed), "peak_mib": max(answer["peak_mib"] for answer in given)}
        row["rows"] = len(_rows(Path(str(systems[name][-2]))))
        if not name.startswith("EDS"):
            kind, number = name.split(", ")
            row["equal"] = int(
                _rows(folder / f"{kind}-{number}.parquet") == _rows(folder / f"local-{cores[0]}.parquet")
            )
        rows.append(row)
    return rows


def _dictionary(folder: Path, texts: Sequence[str]) -> Path:
    """A pipeline that finds the frequent long words of notes by look-up; the words are in terms.json beside it."""
    counts = Counter(word for text in texts for word in re.findall(r"[^\W\d]{7,}", text.lower()))
    terms = [word for word, _ in counts.most_common(300)]
    (folder / "terms.json").write_text(json.dumps({"TERM": terms}), encoding="utf8")
    nlp = blank_pipeline("es")
    ruler = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
    ruler.add_patterns([{"label": "TERM", "pattern": term} for term in terms])  # type: ignore[attr-defined]
    nlp.to_disk(folder / "dictionary")
    return folder / "dictionary"


def _rows(path: Path) -> List[Any]:
    import pyarrow.parquet

    names = pyarrow.parquet.ParquetDataset(path).schema.names
    columns = [each for each in ("note_id", "kind", "id", "label", "start", "end", "head", "tail") if each in names]
    return sorted(
        map(tuple, (row.values() for row in pyarrow.parquet.read_table(path, columns=columns).to_pylist())), key=str
    )


if __name__ == "__main__":
    engine, cores = {"local": local, "spark": spark}[sys.argv[1]], int(sys.argv[5])
    print(json.dumps({"seconds": engine(Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), cores)}))
