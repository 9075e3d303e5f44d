"""Protobuf messages and methods without generated code.

`tables.py` names the messages and fields that are used; here they become descriptors at the first use.
Importing this module costs nothing: protobuf (7 MB, 60 ms) is imported when a message is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from sampan.node.drivers import tables as driver_tables
from sampan.node.runtimes.cri import tables

# A message class or instance: its fields are known to the table, not to the type checker.
Message = Any

_SCALARS = {
    "double": 1,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
}
_TYPE_MESSAGE = 11
_LABEL_OPTIONAL = 1
_LABEL_REPEATED = 3
_METHODS = tables.METHODS | driver_tables.METHODS
_WELL_KNOWN = {
    "any": "google.protobuf.Any",
    "timestamp": "google.protobuf.Timestamp",
}


def message(full_name: str) -> Message:
    """The class of a message, e.g. `message("runtime.v1.VersionRequest")`. Raises KeyError if unknown."""
    return _classes(full_name.rpartition(".")[0] in driver_tables.PACKAGES)[full_name]


@cache
def _classes(of_drivers: bool) -> dict[str, Message]:
    packages = driver_tables.PACKAGES if of_drivers else tables.PACKAGES
    from google.protobuf import (
        any_pb2,
        descriptor_pb2,
        descriptor_pool,
        empty_pb2,
        message_factory,
        timestamp_pb2,
    )

    pool = descriptor_pool.DescriptorPool()
    for module in (any_pb2, timestamp_pb2, empty_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for package, text in packages.items():
        file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
        file.dependency.extend(["google/protobuf/any.proto", "google/protobuf/timestamp.proto"])
        for name, fields in parse_table(text):
            _describe(file.message_type.add(name=name), package, fields)
        pool.Add(file)
    names = [f"{package}.{name}" for package, text in packages.items() for name, _ in parse_table(text)]
    names.append("google.protobuf.Empty")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names}


def parse_table(text: str) -> Iterator[tuple[str, tuple[tuple[str, int, str], ...]]]:
    """Each line `Message: name number type, ...` as (message, ((name, number, type), ...))."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if not name.strip():
            continue
        fields = (field.split() for field in rest.split(",") if field.strip())
        yield name.strip(), tuple((field, int(number), kind) for field, number, kind in fields)


def _describe(descriptor: Message, package: str, fields: tuple[tuple[str, int, str], ...]) -> None:
    for name, number, kind in fields:
        repeated = kind.startswith("*")
        field = descriptor.field.add(
            name=name, number=number, label=_LABEL_REPEATED if repeated else _LABEL_OPTIONAL
        )
        kind = kind.lstrip("*")
        if kind.partition(":")[0] == "map":
            field.label = _LABEL_REPEATED
            kind = _add_map_entry(descriptor, package, name, kind.partition(":")[2])
            field.type, field.type_name = _TYPE_MESSAGE, f".{package}.{descriptor.name}.{kind}"
        elif kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = _TYPE_MESSAGE, "." + _WELL_KNOWN.get(kind, f"{package}.{kind}")


def _add_map_entry(descriptor: Message, package: str, field_name: str, value: str) -> str:
    """The nested entry type that a map from strings is on the wire; protobuf fixes its name."""
    name = "".join(part[:1].upper() + part[1:] for part in field_name.split("_")) + "Entry"
    entry = descriptor.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, key in ((1, "key"), (2, "value")):
        entry.field.add(name=key, number=number, label=_LABEL_OPTIONAL, type=_SCALARS["string"])
    if value:
        entry.field[1].type, entry.field[1].type_name = _TYPE_MESSAGE, f".{package}.{value}"
    return name


def method_types(service: str, method: str) -> tuple[Message, Message]:
    """The (request, response) classes of a method: by their names, unless the table says otherwise."""
    package = service.rpartition(".")[0]
    request, response = _METHODS.get(f"{service}/{method}", ("", ""))
    return (
        message(request or f"{package}.{method}Request"),
        message(response or f"{package}.{method}Response"),
    )


def codec(service: str, method: str) -> tuple[Callable[[Message], bytes], Callable[[bytes], Message]]:
    """How a method's request is written and its response is read."""
    request, response = method_types(service, method)
    return request.SerializeToString, response.FromString
