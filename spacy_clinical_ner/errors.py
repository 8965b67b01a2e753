"""Errors that a person can act on: one line each, never the text of a note."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union


class ClinicalNerError(Exception):
    """Something the user can put right. The command line prints it as one line and exits with status 2."""


class InputError(ClinicalNerError, ValueError):
    """Bad input, told as `file:line: reason`.

    path: the offending file or folder.
    line: 1-based line number, or None where the whole file is meant.
    reason: what is wrong and, where there is one, the next step. Must not quote note text.
    """

    def __init__(self, path: Union[str, Path], line: Optional[int], reason: str) -> None:
        self.path = Path(path)
        self.line = line
        self.reason = reason
        where = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {reason}")

    def __reduce__(self):
        return (type(self), (self.path, self.line, self.reason))


class MalformedLineError(InputError):
    """One bad line of an .ann. Its reason says what is wrong; `advice`, to be printed behind it, what can be done."""

    def __init__(
        self, path: Union[str, Path], line: Optional[int], reason: str, advice: str = "mend or delete this line"
    ) -> None:
        super().__init__(path, line, reason)
        self.advice = advice

    def __str__(self) -> str:
        return f"{super().__str__()}; {self.advice}"

    def __reduce__(self):
        return (type(self), (self.path, self.line, self.reason, self.advice))


class OutputError(InputError):
    """A place that cannot be written, or must not: nothing there was changed."""


def one_line(error: BaseException) -> str:
    """What a library's error says, as far as it fits on a line: the first with anything in it; of a config, all."""
    from thinc.api import ConfigValidationError

    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ConfigValidationError):
        return "; ".join(lines)
    return lines[0] if lines else type(error).__name__
