"""Backups of a catalogue's database: copying it, and loading a copy into an empty database.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: the disk of the database is full.
"""

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from traffic_storage.domain.database_backup import DatabaseForm, Loaded, Loading
from traffic_storage.domain.errors import WrongState

Write = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a copy; nothing is read ahead while it waits."""


class NotBlank(WrongState):
    """The database has files, violations or holds, or something is being stored."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is not empty: a backup is loaded only into a database without files, violations, "
            "holds and unfinished store operations",
            remedy="name a new database; to add to this one, use `snapshot restore`",
        )


class UnusableBackup(WrongState):
    """The bytes are no backup of a database of this kind and version."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the backup of the database can't be used: {why}",
            remedy="use another snapshot, or `snapshot restore`",
        )


class DatabaseCopy(Protocol):
    """Copies the database as it is at one moment."""

    @abstractmethod
    async def copy_database(self, write: Write) -> DatabaseForm:
        """Pass all rows of all tables to `write`, in bounded memory; return what the bytes are.

        Writers are not kept waiting. If a call of `write` fails, its error is raised. The bytes are
        whole only if this returns.
        """


class Loads(Protocol):
    """Reads whether the catalogue awaits a rebuild; the change is `EndLoad`."""

    @abstractmethod
    async def loaded(self) -> Loaded | None:
        """Return from which backup the catalogue was loaded, if no rebuild has ended since."""


class DatabaseBackup(Loads, Protocol):
    """Loads copies of databases."""

    @property
    @abstractmethod
    def form(self) -> DatabaseForm:
        """What the bytes of a copy must be: the kind of this database, the version of its tables."""

    @abstractmethod
    async def is_blank(self) -> bool:
        """Return whether there are no files, violations, holds and unfinished store operations.

        True if there are no tables. Creates none.
        """

    @abstractmethod
    async def load_database(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        """Replace all rows by those of a copy of the same form, in one transaction.

        In the same transaction, the entries of all stores get `loading.incarnation`, the ingest
        journal and the cursors of rebuilds are emptied, and `loaded` returns what `loading` says.
        If this raises, the database is as it was, or has empty tables.

        Raises:
            NotBlank: the database is not empty; nothing was changed.
            UnusableBackup: the bytes are no whole copy of a database of this kind and version.
        """
