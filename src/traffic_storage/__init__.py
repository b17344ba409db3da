"""Traffic Storage: storage and data management for the evidence of traffic violations.

The public names below are resolved when they are first used, so that `import traffic_storage`
costs next to nothing and an embedder pays only for the parts that it names.
"""

from importlib import import_module
from importlib.metadata import version

__all__ = ["__version__"]

# Where each public name is defined: the attribute has the same name there, unless the
# place says otherwise after a colon.
_PLACES: dict[str, str] = {}

__version__: str


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = version("traffic-storage")
    elif name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        value = getattr(import_module(module), attribute or name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
