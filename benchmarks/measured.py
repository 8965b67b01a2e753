"""measured.py FD COMMAND...: run a command, and write the most memory that it had resident (MiB) to a file descriptor.

On Linux ru_maxrss passes from a process to what it starts: the new program counts the memory of the one that it
replaced. So the parent of a command whose memory is to be known must itself be small, and a benchmark, with torch
loaded, is not. This is that parent; only the standard library is used here.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import List


def main(descriptor: int, command: List[str]) -> int:
    """Run the command; its exit status, or 128 + N if signal N ended it, as shells have it."""
    status = subprocess.call(command)
    mebi = 2**20 if sys.platform == "darwin" else 2**10
    # The largest of the command and of what it started and waited for.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / mebi
    os.write(descriptor, f"{peak}\n".encode("ascii"))
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
