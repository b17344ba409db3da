"""Backups of the catalogue's database, and what is different in a catalogue that was loaded from one.

A backup has every row: those that a snapshot tells in its own format, and jobs, incidents, plans, the
outbox, counters. It is loaded into an empty database of the same kind and version.

A loaded catalogue is older than its stores, which may hold files that it does not know. So until a
rebuild has ended, its stores are not trusted, nothing is purged, and nothing in the quarantine is
deleted.
"""

from datetime import datetime
from enum import StrEnum

from attrs import frozen

from traffic_storage.domain.identifiers import Incarnation


class DatabaseKind(StrEnum):
    """The kinds of databases."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MEMORY = "memory"


@frozen
class DatabaseForm:
    """What the bytes of a backup are: the kind of the database, and the version of its tables."""

    kind: DatabaseKind
    version: str


@frozen
class Loading:
    """What is written into a catalogue in the transaction that loads it from a backup.

    Attributes:
        backup_at: the moment of the backup; `loaded_at`: the time of loading.
        incarnation: a token that no store has; it replaces those of all stores, so that the
            catalogue trusts none of them.
    """

    backup_at: datetime
    loaded_at: datetime
    incarnation: Incarnation


@frozen
class Loaded:
    """The catalogue was loaded from a backup, and no rebuild has ended since."""

    backup_at: datetime
    loaded_at: datetime

    @property
    def in_words(self) -> str:
        """What this means, and what to do."""
        return (
            f"the catalogue was loaded from a backup of {self.backup_at:%F %T} UTC, and its stores may "
            "hold what it does not know: run `traffic-storage rebuild`"
        )


@frozen
class EndLoad:
    """Record that a rebuild has ended: the catalogue knows what its stores hold.

    Has no effect on a catalogue that was not loaded.
    """
