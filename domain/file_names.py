"""Original file names: what a caller's file was called before it was stored."""

from pathlib import PurePosixPath

from traffic_storage.domain.errors import FieldProblem, shown
from traffic_storage.domain.identifiers import text_problem

MAX_FILE_NAME = 255
_NO_NAMES = frozenset({".", ".."})


def file_name_problem(field: str, name: object) -> FieldProblem | None:
    """Why `name` may not be an original file name: printable, bounded, no path.

    A blank name, a path separator of any system, and more than `MAX_FILE_NAME` characters are
    refused.
    """
    if problem := text_problem(field, name, MAX_FILE_NAME):
        return problem
    if not isinstance(name, str) or name in _NO_NAMES or "/" in name or "\\" in name:
        return FieldProblem(field, f"is {shown(name)}, a path", "give the name without folders")
    return None


def file_name_of(path: str) -> str | None:
    """The file name that a path ends with, made to fit the rules; None where no name is left.

    Folders are dropped, unprintable characters become `_`, and a name that is too long is cut
    before its ending.
    """
    last = path.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter if letter.isprintable() else "_" for letter in last)
    if len(name) > MAX_FILE_NAME:
        ending = PurePosixPath(name).suffix[:16]
        name = name[: MAX_FILE_NAME - len(ending)] + ending
    return None if file_name_problem("filename", name) else name
