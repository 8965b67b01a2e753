"""A PostgreSQL of one's own, from Debian's packages, for as long as a block lasts."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Optional


def programs() -> Optional[Path]:
    """The folder with initdb and pg_ctl; None if PostgreSQL is not installed."""
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    return next(iter(places), Path(found) if found else Path()).parent if places or found else None


@contextmanager
def postgres(bin: Path) -> Iterator[str]:
    """Start a server that listens on a socket in a temporary folder; gives SQLAlchemy's URL of its database."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    as_user: Dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = next(name for name in ("postgres", "nobody") if _exists(name))
        shutil.chown(folder, user)
        as_user = {"user": user}
    data = folder / "data"
    quiet: Dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([bin / "initdb", "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8"], **quiet, **as_user)
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    server = [bin / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*server, "-o", options, "start"], **quiet, **as_user)
    try:
        yield f"postgresql+psycopg://test@/postgres?host={folder}"
    finally:
        subprocess.run([*server, "-m", "immediate", "stop"], **quiet, **as_user)
        shutil.rmtree(folder, ignore_errors=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
