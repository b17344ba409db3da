"""A text that shows itself nowhere, such as a password."""

from pathlib import Path
from typing import Final, NoReturn, final

MASK: Final = "********"


@final
class Secret:
    """A secret text, which `reveal` alone gives. Immutable, hashable and equal by value.

    `repr`, `str`, `attrs.asdict` and JSON give a mask or fail, pickling raises TypeError, and a
    copy is the same object.
    """

    __slots__ = ("_text", "file")
    _text: str
    file: Path | None

    def __init__(self, text: str, file: Path | None = None) -> None:
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "file", file)

    @classmethod
    def read(cls, file: Path) -> "Secret":
        """The secret that a file holds.

        Raises:
            OSError, UnicodeDecodeError: the file can't be read.
        """
        return cls(_content(file), file)

    def reveal(self) -> str:
        """The text. A file is read anew, so that a rotated secret is found; if that fails or the
        file is empty, the text that was read first.
        """
        try:
            return (self.file and _content(self.file)) or self._text
        except (OSError, ValueError):
            return self._text

    def __len__(self) -> int:
        return len(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return MASK

    def __setattr__(self, name: str, _: object) -> NoReturn:
        raise AttributeError(f"a secret is immutable, {name} too")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def __deepcopy__(self, _: object) -> "Secret":
        return self

    def __copy__(self) -> "Secret":
        return self


def _content(file: Path) -> str:
    """The text of a file without a byte order mark and the line break at its end."""
    return file.read_text("utf-8-sig").removesuffix("\n").removesuffix("\r")
