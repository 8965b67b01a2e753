"""The service under load: many clients at once, one very long note, bodies that are none."""

from __future__ import annotations

import itertools
import json
import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Dict, List, Tuple

from benchmarks.annotation.notes import WORK, repeated
from benchmarks.rounds import count_words
from benchmarks.serving import Served, served

LONG_BYTES = 6_000_000
_SECONDS = 1800  # more than any answer takes


def post(connection: HTTPConnection, path: str, body: bytes, kind: str = "application/json") -> Tuple[int, bytes]:
    """Status and content of an answer."""
    connection.request("POST", path, body, {"content-type": kind})
    answer = connection.getresponse()
    return answer.status, answer.read()


def connect(server: Served) -> HTTPConnection:
    return HTTPConnection(server.host, server.port, timeout=_SECONDS)


def note_body(text: str) -> bytes:
    return json.dumps({"text": text}, ensure_ascii=False).encode("utf8")


def many_clients(server: Served, texts: List[str], clients: int) -> Dict[str, Any]:
    """Every note once, by clients that each wait for their answer before they ask again."""

    def client(first: int) -> List[Tuple[float, int]]:
        connection, found = connect(server), []
        for text in texts[first::clients]:
            begun = time.perf_counter()
            status, _ = post(connection, "/annotate", note_body(text))
            found.append((1e3 * (time.perf_counter() - begun), status))
        return found

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(itertools.chain.from_iterable(pool.map(client, range(clients))))
    seconds = time.perf_counter() - begun
    times = sorted(each for each, _ in answers)
    return {
        "name": f"{len(texts)} notes, {clients} clients at once", "requests": len(answers),
        "failed": sum(status != 200 for _, status in answers), "milliseconds": round(statistics.median(times)),
        "slow_milliseconds": round(times[int(0.99 * (len(times) - 1))]),
        "words_per_second": round(count_words(texts) / seconds),
    }  # fmt: skip


def long_note(server: Served, texts: List[str]) -> Dict[str, Any]:
    """One note of 6 MB, made of many; and what the process needed at most up to then."""
    parts: List[str] = []
    size = 0
    for text in itertools.cycle(texts):
        size += len(text.encode("utf8")) + 1
        if size > LONG_BYTES:
            break
        parts.append(text)
    whole = "\n".join(parts)
    begun = time.perf_counter()
    status, content = post(connect(server), "/annotate", note_body(whole))
    seconds = time.perf_counter() - begun
    rows = len(json.loads(content)["rows"]) if status == 200 else 0
    return {
        "name": "one note of 6 MB", "requests": 1, "failed": int(status != 200), "rows": rows,
        "seconds": round(seconds, 1), "words_per_second": round(count_words([whole]) / seconds),
        "peak_mib": round(_peak_mib(server.process)),
    }  # fmt: skip


def _peak_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 2**10


def malformed(server: Served, count: int) -> Tuple[Dict[str, Any], Counter]:
    """So many bodies that are random, cut short, changed at random places, or of other types; statuses beside them."""
    rng, connection, statuses = random.Random(0), connect(server), Counter()  # type: random.Random, Any, Counter
    for _ in range(count):
        path = rng.choice(("/annotate", "/annotate/batch", "/annotate/brat"))
        kind = "application/json" if rng.random() < 0.9 else rng.choice(("text/plain", "", "application/x\xff"))
        statuses[post(connection, path, bad_body(rng), kind)[0]] += 1
    failed = sum(number for status, number in statuses.items() if status >= 500)
    return {"name": f"{count:,} malformed bodies", "requests": count, "failed": failed}, statuses


def bad_body(rng: random.Random) -> bytes:
    """A body that is most probably none that the service takes."""
    good: Any = {"text": "Paciente con fiebre.", "note_id": "7"}
    kinds = ("bytes", "cut", "changed", "nested", "value", "field", "surrogate")
    kind = rng.choice(kinds)
    body = bytearray(json.dumps(rng.choice((good, {"notes": [good, good]}))).encode("utf8"))
    if kind == "bytes":
        return bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    if kind == "cut":
        return bytes(body[: rng.randrange(len(body))])
    if kind == "changed":
        for _ in range(rng.randint(1, 5)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        return bytes(body)
    if kind == "nested":
        return rng.choice((b"[", b'{"text":', b'{"notes":[')) * rng.choice((10, 1000, 100_000))
    value = rng.choice((None, True, -1, 1e400, [], {}, [[dict(good)]], "", dict(good)))
    if kind == "value":
        good[rng.choice(("text", "note_id", "notes"))] = value
    elif kind == "field":
        good = {"notes": [{**good, "x" * rng.randrange(1, 9): value}]}
    else:
        return json.dumps({"text": "a\ud83d", "note_id": "\udc00"}).encode("ascii")
    return json.dumps(good).encode("utf8")


def measure_service(pipeline: Path, notes: Path, count: int, clients: int, bad: int) -> Tuple[List[Any], Counter]:
    """A row for each kind of load, and how often which status answered malformed bodies.

    Raises RuntimeError if the service is not well afterwards.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    texts = [row["note_text"] for row in repeated(notes, count)]
    with served(pipeline, WORK / "service.log") as server:
        for text in texts[:8]:  # the first ones load what is loaded when it is needed
            post(connect(server), "/annotate", note_body(text))
        rows = [many_clients(server, texts, clients)]
        row, statuses = malformed(server, bad)
        rows += [
            row,
            long_note(server, texts),
            {**many_clients(server, texts, 1), "name": f"{count} notes, one client"},
        ]
        connection = connect(server)
        connection.request("GET", "/health")
        if connection.getresponse().status != 200:
            raise RuntimeError("the service is not well any more")
    return rows, statuses
