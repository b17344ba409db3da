"""SQL statements of SQLAlchemy Core, each built once and compiled once for each database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from attrs import define, field, frozen
from sqlalchemy import Delete, Insert, Update, literal_column
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.elements import ClauseElement

Value: TypeAlias = str | int | float | bool | bytes | None
"""The types of values that both databases accept and return unchanged."""

Args: TypeAlias = tuple[Value, ...]
"""The arguments of a statement, in the order of its `names`."""

K = TypeVar("K")

_ranks = count()


@frozen
class CompiledText:
    """The text of a statement in one dialect; `arrange` puts arguments into the order of the text."""

    sql: str
    arrange: Callable[[Args], Args]

    def all(self, rows: Sequence[Args]) -> Sequence[Args]:
        """Return the arguments of several executions, each in the order of the text."""
        return rows if self.arrange is _as_they_are else [self.arrange(row) for row in rows]


@frozen
class LookedUp:
    """Adjacent arguments, from `start` to `stop`, that become the one value which `by` finds."""

    by: "Statement"
    start: int
    stop: int


@frozen
class Copied:
    """How PostgreSQL copies the rows of an insertion into a table: by COPY.

    The arguments are the values of `columns`, except those that are `looked_up` first.
    """

    table: str
    columns: tuple[str, ...]
    looked_up: LookedUp | None = None


@define(eq=False)
class Statement:
    """A statement whose arguments are a tuple in the order of `names`.

    `core` is the statement, `on_sqlite` its form for SQLite if that differs. `copied` is how many of
    its rows can be inserted at once, in less time. `rank` is the position
    of the statement in a transaction: the order in which the statements were defined.
    """

    core: ClauseElement
    names: tuple[str, ...]
    on_sqlite: ClauseElement | None = field(default=None, kw_only=True)
    copied: Copied | None = field(default=None, kw_only=True)
    rank: int = field(init=False, factory=lambda: next(_ranks))
    _texts: dict[str, CompiledText] = field(init=False, factory=dict)

    def text(self, dialect: Dialect, *, counting: bool = False) -> CompiledText:
        """Return the text of the statement in a dialect.

        With `counting`, the statement returns one row for each row that it changes.
        """
        key = f"{dialect.name}+{counting}"
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = self._compile(dialect, counting=counting)
        return found

    def _compile(self, dialect: Dialect, *, counting: bool) -> CompiledText:
        is_sqlite = dialect.name == "sqlite"
        core = self.on_sqlite if is_sqlite and self.on_sqlite is not None else self.core
        if counting and isinstance(core, Insert | Update | Delete):
            core = core.returning(literal_column("1"))
        compiled = core.compile(dialect=dialect)
        places = getattr(compiled, "positiontup", None) or []
        return CompiledText(str(compiled), _arrangement(self.names, places, compiled.params))


class Reads(Mapping[K, Statement]):
    """Statements by key, each built by `make` when it is first looked up.

    Building all pages takes longer than most commands run. Only for statements that read: those of
    a transaction are ranked in the order in which they are built.
    """

    def __init__(self, keys: Iterable[K], make: Callable[[K], Statement]) -> None:
        self._built: dict[K, Statement | None] = dict.fromkeys(keys)
        self._make = make

    def __getitem__(self, key: K) -> Statement:
        found = self._built[key]
        if found is None:
            found = self._built[key] = self._make(key)
        return found

    def __iter__(self) -> Iterator[K]:
        return iter(self._built)

    def __len__(self) -> int:
        return len(self._built)


def _arrangement(
    names: Sequence[str], places: Sequence[str], constants: dict[str, Any]
) -> Callable[[Args], Args]:
    """Return a function that converts arguments in the order of `names` to the order of `places`.

    A place without a name is a constant that the dialect has added.
    """
    if list(names) == list(places):
        return _as_they_are
    added = tuple(constants[place] for place in places if place not in names)
    known = [*names, *(place for place in places if place not in names)]
    picked = [known.index(place) for place in places]
    if len(picked) == 1:
        return lambda args: ((*args, *added)[picked[0]],)
    pick = itemgetter(*picked)
    return lambda args: pick((*args, *added))


def _as_they_are(args: Args) -> Args:
    return args
