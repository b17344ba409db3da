"""Original names: the rules for the file name that a caller gives with a file."""

from pathlib import PurePosixPath

from traffic_storage.domain.errors import FieldProblem, shown
from traffic_storage.domain.identifiers import text_problem

MAX_FILE_NAME = 255
_RESERVED_NAMES = frozenset({".", ".."})


def file_name_problem(field: str, name: object) -> FieldProblem | None:
    """Return what is wrong with an original file name, or None if the name is valid.

    `field` is the name of the input field in the problem. A valid name is
    printable, not blank, has at most `MAX_FILE_NAME` characters, and
    contains neither `/` nor a backslash.
    """
    if problem := text_problem(field, name, MAX_FILE_NAME):
        return problem
    if not isinstance(name, str) or name in _RESERVED_NAMES or "/" in name or "\\" in name:
        return FieldProblem(
            field, f"is {shown(name)}, which is a path", "give the name without folders"
        )
    return None


def file_name_of(path: str) -> str | None:
    """Return the file name at the end of a path as a valid original name; None if there is none.

    Folders are removed, unprintable characters become `_`, and a name that is too long is cut
    before its suffix.
    """
    last = path.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter if letter.isprintable() else "_" for letter in last)
    if len(name) > MAX_FILE_NAME:
        ending = PurePosixPath(name).suffix[:16]
        name = name[: MAX_FILE_NAME - len(ending)] + ending
    return None if file_name_problem("filename", name) else name
