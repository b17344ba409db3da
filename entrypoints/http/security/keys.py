"""The valid API keys: those of the settings and those of the keys file, which may change."""

import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from attrs import frozen

from traffic_storage.domain.errors import ConfigurationError, FieldProblem, InvalidInput
from traffic_storage.domain.principal import ApiKey, Principal, duplicate_problems, parse_api_key

logger = logging.getLogger("traffic_storage.http")

_FILE_FIELD = "api_keys_file"


@frozen
class KeyFile:
    """The content of a keys file.

    Each line of the file registers an API key. Empty lines and `#` comments are skipped.
    """

    keys: tuple[ApiKey, ...]
    problems: tuple[FieldProblem, ...]

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """Return the keys of a file and the problems of its invalid lines.

        Raises:
            OSError, UnicodeDecodeError: the file can't be read.
        """
        keys: list[ApiKey] = []
        problems: list[FieldProblem] = []
        for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                keys.append(parse_api_key(line, f"{_FILE_FIELD} {path}, line {number}"))
            except InvalidInput as error:
                problems += error.problems
        problems += duplicate_problems(keys, f"{_FILE_FIELD} {path}")
        return cls(tuple(keys), tuple(problems))


class KeyRing:
    """The registered keys, indexed by their digest.

    The keys themselves are not kept. The file is read again whenever its modification time, size or
    inode has changed, so keys can be added and revoked without a restart. While the file can't be
    read, none of its keys is valid.

    Raises:
        ConfigurationError: the file can't be read, or lines of it are wrong; the error lists all of
            them.
    """

    def __init__(
        self, lines: Iterable[str], file: Path | None, now: Callable[[], datetime]
    ) -> None:
        self._now = now
        self._fixed = {key.digest: key for key in map(parse_api_key, lines)}
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._from_file: dict[str, ApiKey] = {}
        if file is not None:
            self._start(file)

    @property
    def in_use(self) -> bool:
        """Whether requests need a key."""
        return bool(self._fixed) or self._file is not None

    @property
    def count(self) -> int:
        """The number of registered keys, including expired ones."""
        self._refresh()
        return len({**self._from_file, **self._fixed})

    def principal(self, key: str) -> Principal | None:
        """Return the principal of a key, or None if the key is unknown or expired."""
        self._refresh()
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = self._fixed.get(digest) or self._from_file.get(digest)
        if found is None or not hmac.compare_digest(digest, found.digest):
            return None
        return None if found.is_expired(self._now()) else found.principal

    def _start(self, file: Path) -> None:
        keys = read_key_file(file)
        self._seen = _version(file)
        self._from_file = {key.digest: key for key in keys}

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            version = _version(self._file)
            if version == self._seen:
                return
            found = KeyFile.read(self._file)
        except (OSError, UnicodeDecodeError) as error:
            if self._seen is not None:
                logger.error(  # noqa: TRY400
                    "no key of the keys file %s is accepted until the file is readable again: %s",
                    self._file,
                    error,
                )
            self._seen, self._from_file = None, {}
            return
        for problem in found.problems:
            logger.error("%s", problem)
        self._seen, self._from_file = version, {key.digest: key for key in found.keys}


def read_key_file(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: the file can't be read, or lines of it are wrong; the error lists all of
            them.
    """
    try:
        found = KeyFile.read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError.of(
            _FILE_FIELD,
            f"{file} can't be read: {error}",
            "make the file readable, or set another path",
        ) from error
    if found.problems:
        raise ConfigurationError(found.problems)
    return found.keys


def _version(file: Path) -> tuple[int, int, int]:
    """Return values that change when a file is modified or replaced."""
    status = os.stat(file)  # noqa: PTH116 - called for each request
    return status.st_mtime_ns, status.st_size, status.st_ino
