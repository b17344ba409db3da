"""The names of the files that jobs export, and who may fetch one."""

import re
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.principal import Principal

_KEPT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[a-z]{2,8}")


def kept_name(job_id: UUID, extension: str) -> str:
    """Return the name of the file that a job exports: the same in each of its runs."""
    return f"{job_id}.{extension}"


def is_kept_name(name: str) -> bool:
    """Return whether a job may have made the file with this name."""
    return _KEPT.fullmatch(name) is not None


@frozen
class Asker:
    """Who asked for an export: the name of a principal, and the devices it was bound to then."""

    name: str
    devices: tuple[str, ...]

    @classmethod
    def of(cls, principal: Principal) -> "Asker":
        """Return the asker that this principal is now."""
        return cls(principal.name, principal.devices)

    def may_be_answered_to(self, principal: Principal) -> bool:
        """Return whether this principal may fetch what the asker may see.

        It may if it is the one that asked, bound to the same devices, or bound to none.
        """
        return not principal.devices or Asker.of(principal) == self
