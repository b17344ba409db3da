"""JSON Schemas (2020-12) of what goes over the wire, made from the types of the views.

So the published schema and the answer can't differ: both are the one TypedDict.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints, is_typeddict

Schema: TypeAlias = dict[str, Any]

_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
}
# By the name of a member; what only holds times and digests says so.
_FORMATS: Mapping[str, Schema] = {
    "sha256": {"pattern": "^[0-9a-f]{64}$"},
    "created_at": {"format": "date-time"},
    "captured_at": {"format": "date-time"},
    "expires_at": {"format": "date-time"},
    "received_at": {"format": "date-time"},
    "verified_at": {"format": "date-time"},
    "timestamp": {"format": "date-time"},
}


class Schemas:
    """Collects the schemas of named types, as `components/schemas` of an OpenAPI document."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def reference(self, typed_dict: type) -> Schema:
        """A reference to the schema of a TypedDict, entered once."""
        name = typed_dict.__name__.removesuffix("View")
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self._object(typed_dict)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, typed_dict: type) -> Schema:
        members = get_type_hints(typed_dict)
        return {
            "type": "object",
            "description": (typed_dict.__doc__ or "").strip(),
            "properties": {
                name: {**self.of(kind), **_FORMATS.get(name, {})} for name, kind in members.items()
            },
            "required": list(members),
            "additionalProperties": False,
        }

    def of(self, kind: object) -> Schema:
        """The schema of a type annotation."""
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if is_typeddict(kind):
            return self.reference(kind)  # type: ignore[arg-type]
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in {dict, Mapping}:
            return {"type": "object", "additionalProperties": self._value(arguments[1])}
        if origin in {Union, UnionType}:
            return self._union(arguments)
        raise TypeError(f"no schema for {kind!r}")

    def _value(self, kind: object) -> Schema | bool:
        # A recursive alias of JSON stands for any value.
        return True if _is_json(kind) else self.of(kind)

    def _union(self, arguments: tuple[object, ...]) -> Schema:
        schemas = [self.of(argument) for argument in arguments]
        if all(set(schema) == {"type"} for schema in schemas):
            return {"type": [schema["type"] for schema in schemas]}
        return {"anyOf": schemas}


def _is_json(kind: object) -> bool:
    return get_origin(kind) in {Union, UnionType} and bool in get_args(kind)
