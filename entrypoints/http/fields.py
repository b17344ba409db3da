"""Translation of field names in errors, and the `Idempotency-Key` header."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import evolve

from traffic_storage.domain.errors import InvalidInput, WrongFields

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Replace field names in errors: `names` maps the name in the error to the client's name."""
    try:
        yield
    except WrongFields as error:
        if not any(problem.field in names for problem in error.problems):
            raise
        raise type(error)(
            evolve(problem, field=names.get(problem.field, problem.field))
            for problem in error.problems
        ) from error


def idempotency_key(lines: Sequence[str]) -> str | None:
    """Return the key in the `Idempotency-Key` header of a request, or None without the header.

    Quotes around the key are removed.

    Raises:
        InvalidInput: the header comes more than once, or the key is empty, longer than 255
            characters or not printable ASCII.
    """
    if not lines:
        return None
    if len(lines) > 1:
        raise InvalidInput.of("Idempotency-Key", "comes more than once", "send it once")
    bare = lines[0].strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        bare = bare[1:-1]
    if not _KEY.fullmatch(bare):
        raise InvalidInput.of(
            "Idempotency-Key",
            f"must be 1 to 255 printable ASCII characters: {lines[0]!a:.60}",
            "send a unique text, as a UUID",
        )
    return bare
