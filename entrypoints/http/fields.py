"""Names of fields in errors, and the `Idempotency-Key` header."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from attrs import evolve

from traffic_storage.domain.errors import InvalidInput, WrongFields

_KEY = re.compile(r"[\x20-\x7e]{1,255}")


@contextmanager
def renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Errors name fields as this resource's clients know them."""
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
    """The key that the `Idempotency-Key` headers of a request give, or None without one.

    Quotes around it are not part of it.

    Raises:
        InvalidInput: there are several; or it is empty, too long or not printable ASCII.
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
            f"is no key: {lines[0]!a:.60}",
            "send 1 to 255 printable ASCII characters, as a UUID",
        )
    return bare
