"""Benchmarks are scripts that find each other by lying in one folder; the tests find them the same way."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
