"""The strict converter: from attrs objects to JSON and back, without converting wrong types.

By default, cattrs reads "1" and 1.9 as the integer 1 and accepts a time without an offset. This
library reads its own JSON texts with the strict converter instead.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import attrs
from cattrs import (
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    transform_error,
)
from cattrs.cols import homogenous_tuple_structure_factory, is_sequence
from cattrs.preconf.orjson import OrjsonConverter, make_converter
from cattrs.v import format_exception

from traffic_storage.domain.digests import Sha256, declared_sha256
from traffic_storage.domain.errors import FieldProblem, InvalidInput, WrongFields, shown

T = TypeVar("T")
_UNKNOWN = "is unknown"


def strict_converter() -> OrjsonConverter:
    """Return a new converter between attrs objects and JSON that refuses values of a wrong type.

    It also refuses unknown members. A time is an ISO 8601 text with an offset. Members that have
    their default value are omitted from the output. To refuse a value the converter raises an
    exception; `refusal_text` lists its problems.
    """
    converter = make_converter(forbid_extra_keys=True, omit_if_default=True)

    def read_object(kind: type[T]) -> Callable[[object, object], T]:
        read = converter.gen_structure_attrs_fromdict(kind)

        def structure(value: object, _: object) -> T:
            if type(value) is not dict:
                raise _wrong_type(value, "object")
            return read(value, kind)

        return structure

    def read_list(kind: Any) -> Callable[[object, object], tuple[Any, ...]]:  # noqa: ANN401 - a generic alias
        read = homogenous_tuple_structure_factory(kind, converter)

        def structure(value: object, _: object) -> tuple[Any, ...]:
            if type(value) is not list:
                raise _wrong_type(value, "list")
            found: tuple[Any, ...] = read(value, kind)
            return found

        return structure

    converter.register_structure_hook_factory(attrs.has, read_object)
    converter.register_structure_hook_factory(is_sequence, read_list)
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _exactly(primitive))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook_func(lambda kind: kind is Sha256, _digest)
    return converter


def read_tables(
    converter: OrjsonConverter,
    value: object,
    tables: Mapping[str, type[Any]],
    where: str = "",
) -> Any:  # noqa: ANN401 - of the type tables[""]
    """Read the content of a TOML file or of a JSON object that a person has written.

    `tables` has the class of each table by its path: "" is the whole, "rules" the entries of a list
    of tables, "profiles.clock" a table in each of them.

    Raises:
        InvalidInput: it is wrong. Each problem names the table, its place (from 1) and the field, as
            `rules[2].days`, and for an unknown name a similar one; `where`, such as the path of a
            file, is added to each message.
    """
    try:
        return converter.structure(value, tables[""])
    except Exception as error:
        # The converter raises errors of many classes; each names a wrong field.
        found = [_with_suggestion(one, tables) for one in refused_fields(error)]
        raise InvalidInput(with_place(one, where) for one in found) from error


def with_place(problem: FieldProblem, where: str) -> FieldProblem:
    """Return the problem with the place of the input, such as the path of a file, in its message."""
    message = f"{problem.message} (in {where})" if where else problem.message
    return attrs.evolve(problem, message=message)


def _with_suggestion(problem: FieldProblem, tables: Mapping[str, type[Any]]) -> FieldProblem:
    if problem.remedy or problem.message != _UNKNOWN:
        return problem
    table, _, name = problem.field.rpartition(".")
    kind = tables[re.sub(r"\[\d+\]", "", table)]
    names = [known for known, one in attrs.fields_dict(kind).items() if one.init]
    near = difflib.get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"the names are {', '.join(names)}"
    return attrs.evolve(problem, remedy=remedy)


def refusal_text(error: Exception) -> str:
    """Return the problems in an exception of a strict converter as one line of text."""
    if isinstance(error, ClassValidationError):
        return "; ".join(transform_error(error, path="$", format_exception=_problem))
    return str(error)


def refused_fields(error: BaseException, path: str = "") -> Iterator[FieldProblem]:
    """Yield the problems in an exception of a strict converter.

    Each names its field by the path to it, in which places of lists count from 1: `rules[2].days`.
    """
    if isinstance(error, IterableValidationError):
        for inner, place in error.group_exceptions()[0]:
            yield from refused_fields(inner, f"{path}[{int(place.index) + 1}]")
    elif isinstance(error, ClassValidationError):
        of_fields, others = error.group_exceptions()
        for inner, member in of_fields:
            yield from refused_fields(inner, _below(path, member.name))
        for inner in others:
            yield from refused_fields(inner, path)
    else:
        yield from _refused(error, path)


def _refused(error: BaseException, path: str) -> Iterator[FieldProblem]:
    match error:
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield FieldProblem(_below(path, name), _UNKNOWN)
        case WrongFields():
            for problem in error.problems:
                yield attrs.evolve(problem, field=_below(path, problem.field))
        case KeyError():
            yield FieldProblem(path, "is missing")
        case _:
            yield FieldProblem(path or "input", _problem(error, None))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _problem(error: BaseException, kind: type[Any] | None) -> str:
    # This module raises these two types; messages of other code with these types are clear too.
    if isinstance(error, TypeError | ValueError):
        return str(error)
    return format_exception(error, kind)


def _exactly(wanted: type[T]) -> Callable[[object, type[T]], T]:
    def structure(value: object, kind: type[T]) -> T:
        if type(value) is not wanted:
            raise _wrong_type(value, wanted.__name__)
        # cattrs also calls the hook of a class for its subclasses: StrEnum for str.
        return value if kind is wanted else _word(value, kind)

    return structure


def _word(value: object, kind: type[T]) -> T:
    try:
        return kind(value)  # type: ignore[call-arg]
    except ValueError as error:
        if not issubclass(kind, StrEnum):
            raise
        raise ValueError(f"must be one of {', '.join(kind)}, not {shown(value)}") from error


def _number(value: object, _: object) -> float:
    if type(value) is not float and type(value) is not int:
        raise _wrong_type(value, "number")
    return float(value)


def _time(value: object, _: object) -> datetime:
    if type(value) is not str:
        raise _wrong_type(value, "time")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("the time has no offset from UTC")
    return moment


def _digest(value: object, _: object) -> Sha256:
    if type(value) is not str:
        raise _wrong_type(value, "digest")
    return declared_sha256(value)


def _wrong_type(value: object, wanted: str) -> TypeError:
    return TypeError(f"must be of type {wanted}, not {type(value).__name__}")
