"""What an `annotation.conf` of BRAT says about relations: which types they may connect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from spacy_clinical_ner.errors import InputError
from spacy_clinical_ner.files import read_text

_SECTION = re.compile(r"\[(\w+)\]\s*$")
_MACRO = re.compile(r"(<[\w-]+>)\s*=\s*(\S.*?)\s*$")
_ARGUMENT = re.compile(r"(<?[\w-]+>?)\s*:\s*(\S+)$")


class RelationType(NamedTuple):
    """A kind of relation. heads, tails: entity and event types that its two arguments may have."""

    label: str
    heads: Tuple[str, ...]
    tails: Tuple[str, ...]
    symmetric: bool = False


def read_relation_types(path: Union[str, Path]) -> List[RelationType]:
    """The relations that section [relations] of an annotation.conf declares, in file order; a label may come twice.

    Macros (`<NAME>=A|B`) and brat's own `<ENTITY>`, `<EVENT>` and `<ANY>` are replaced by the types they stand for. A
    type stands for itself only, not for those indented below it. `<OVERLAP>` and `<NESTING>` rules and arguments that
    are relations themselves are left out. Raises InputError for a file that cannot be read, a line of another form, a
    macro that is not defined, and if there is no relation.
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    section: Optional[str] = None
    macros: Dict[str, List[str]] = {"<ENTITY>": [], "<EVENT>": []}
    declared: List[Tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#") or set(stripped) == {"-"}:
            continue
        header, macro = _SECTION.match(stripped), _MACRO.match(stripped)
        if header:
            section = header[1].lower()
        elif macro:
            macros[macro[1]] = _split(macro[2])
        elif section in ("entities", "events"):
            name = stripped.split()[0].lstrip("!")  # "!" marks types that cannot be annotated themselves
            macros["<ENTITY>" if section == "entities" else "<EVENT>"].append(name)
        elif section == "relations":
            declared.append((number, stripped))
    macros["<ANY>"] = macros["<ENTITY>"] + macros["<EVENT>"]
    found = [_relation(line, macros, path, number) for number, line in declared if not line.startswith("<")]
    if not found:
        raise InputError(path, None, "no relation in a section [relations]")
    symmetric = {relation.label for relation in found if relation.symmetric}
    return [relation._replace(symmetric=relation.label in symmetric) for relation in found]


def _relation(line: str, macros: Dict[str, List[str]], path: Path, number: int) -> RelationType:
    label, *rest = line.split(None, 1)
    arguments: Dict[str, str] = {}
    for word in "".join(rest).split(","):
        argument = _ARGUMENT.match(word.strip())
        if argument is None:
            raise InputError(path, number, "not of the form LABEL Arg1:TYPE|TYPE, Arg2:TYPE|TYPE")
        arguments[argument[1]] = argument[2]
    symmetric = "symmetric" in arguments.pop("<REL-TYPE>", "").split("-")
    if len(arguments) != 2:
        raise InputError(path, number, "a relation needs two arguments")
    types = []
    for _, names in sorted(arguments.items()):
        resolved: List[str] = []
        for name in _split(names):
            if name.startswith("<") and name not in macros:
                raise InputError(path, number, f"the macro {name} is not defined")
            resolved += macros.get(name, [name])
        types.append(tuple(dict.fromkeys(resolved)))
    return RelationType(label, types[0], types[1], symmetric)


def _split(names: str) -> List[str]:
    return [name.strip() for name in names.split("|") if name.strip()]
