"""A secret text, such as a password, that is never printed."""

from pathlib import Path
from typing import Final, NoReturn, final

MASK: Final = "********"


@final
class Secret:
    """A secret text that only `reveal` returns. Immutable, hashable and equal by value.

    `repr` and `str` return a mask, `attrs.asdict` keeps the object, JSON serialisation and pickling
    raise TypeError, and a copy is the same object.
    """

    __slots__ = ("_text", "file")
    _text: str
    file: Path | None

    def __init__(self, text: str, file: Path | None = None) -> None:
        object.__setattr__(self, "_text", text)
        object.__setattr__(self, "file", file)

    @classmethod
    def read(cls, file: Path) -> "Secret":
        """Read a secret from a file.

        Raises:
            OSError, UnicodeDecodeError: the file can't be read.
        """
        return cls(_content(file), file)

    def reveal(self) -> str:
        """Return the text.

        A secret from a file is read again at each call, so that a rotated secret takes effect. If
        the file is empty or can't be read, the text that was read first is returned.
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
        raise AttributeError(f"a secret is immutable: `{name}` can't be set")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret can't be pickled")

    def __deepcopy__(self, _: object) -> "Secret":
        return self

    def __copy__(self) -> "Secret":
        return self


def _content(file: Path) -> str:
    """Return the text of a file without a byte order mark and without a final line break."""
    return file.read_text("utf-8-sig").removesuffix("\n").removesuffix("\r")
