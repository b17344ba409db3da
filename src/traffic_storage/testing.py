"""The testing kit for embedders and adapter writers; see `traffic_storage.entrypoints.testing`."""

from traffic_storage.entrypoints import testing as _kit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from traffic_storage.entrypoints.testing import *  # noqa: F403

__all__ = _kit.__all__


def __dir__() -> list[str]:
    return dir(_kit)


if not TYPE_CHECKING:  # with __getattr__, a type checker would accept misspelt names

    def __getattr__(name: str) -> object:
        return getattr(_kit, name)
