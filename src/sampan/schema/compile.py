"""Published definitions compiled to msgspec structs, each at its first use.

The structs decode at the speed of C, drop what Kubernetes does not know, and write back what Go's types
would: what is empty is left out, what is required or embedded by value stays. That follows from four rules:

- optional scalars and references default to None and are left out;
- lists and maps default to empty and are left out, but a required list is written as `[]`;
- a required scalar has Go's zero value and is always written;
- `metadata`, `spec`, `status`, `template` (and a container's `resources`) are embedded by value in Go, so
  they are never None and always written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from types import ModuleType
from typing import Annotated, Any, Final

import msgspec

from sampan.machinery.quantity import Quantity, quantity
from sampan.schema.definitions import Definitions, GroupVersionKind, Schema, ref_of
from sampan.schema.names import attribute

Struct = type[msgspec.Struct]

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
# A time without its zone could not be compared with any other.
_TIME: Final = Annotated[datetime, msgspec.Meta(tz=True)]
_MICRO_TIME: Final = Annotated[
    str,
    msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$"),
]
_INT32: Final = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_INT64: Final = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_INTEGERS: Final[Mapping[str, Any]] = {"int32": _INT32, "int64": _INT64}
_SPECIAL: Final[Mapping[str, Any]] = {
    _META + "Time": _TIME,
    _META + "MicroTime": _MICRO_TIME,
    _META + "FieldsV1": dict[str, Any],
    "io.k8s.apimachinery.pkg.api.resource.Quantity": Quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": int | str,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": Any,
}
_EMBEDDED: Final = frozenset({"metadata", "spec", "status", "template"})
_POINTERS: Final = frozenset({"CustomResourceSubresources"})
_EMBEDDED_RESOURCES: Final = frozenset({"Container", "EphemeralContainer", "PersistentVolumeClaimSpec"})
# Written first, so that the revision stands at the same place in every object of a kind.
_FIRST: Final = {"kind": 0, "apiVersion": 1, "metadata": 2, "resourceVersion": 3, "name": 4, "namespace": 5}
_ZERO: Final[Mapping[Any, Callable[[], Any]]] = {
    str: lambda: "",
    int: lambda: 0,
    _INT32: lambda: 0,
    _INT64: lambda: 0,
    bool: lambda: False,
    int | float: lambda: 0,
    bytes: lambda: b"",
    int | str: lambda: 0,
}


class Types:
    """The structs of one version's definitions.

    `strict` ones refuse unknown fields. They serve to find out whether there are any at the speed of C;
    objects are of the others.
    """

    def __init__(self, definitions: Definitions, *, strict: bool = False) -> None:
        self.definitions = definitions
        self.strict = strict
        suffix = "_strict" if strict else ""
        name = f"sampan.schema.compiled_{definitions.version.replace('.', '_')}{suffix}"
        self._module = ModuleType(name)
        sys.modules[name] = self._module  # where msgspec looks up a type within itself
        self._structs: dict[str, Any] = {}
        self._names: dict[Struct, str] = {}
        self._underway: set[str] = set()

    def of(self, full: str) -> Any:
        """The Python type of the definition with this full name: a struct, or a plain type."""
        known = self._structs.get(full)
        return known if known is not None else self._compile(full)

    def of_kind(self, gvk: GroupVersionKind) -> Struct:
        """The struct of a kind. Raises KeyError where the version has none."""
        struct: Struct = self.of(self.definitions.by_gvk[gvk])
        return struct

    def name_of(self, struct: Struct) -> str:
        """The full name of a struct's definition. Raises KeyError for what is no struct of these."""
        return self._names[struct]

    def _compile(self, full: str) -> Any:
        schema = self.definitions.schemas[full]
        if full in _SPECIAL:
            compiled = _SPECIAL[full]
        elif "properties" not in schema and schema.get("type") != ["object", "null"]:
            compiled = Any
        else:
            compiled = self._struct(full, schema)
        self._structs[full] = compiled
        return compiled

    def _struct(self, full: str, schema: Schema) -> Any:
        self._underway.add(full)
        properties = schema.get("properties", {})
        required = frozenset(schema.get("required", ()))
        fields: list[tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        for name in sorted(properties, key=lambda n: (_FIRST.get(n, 99), n)):
            annotation, default = self._field(full, name, properties[name], name in required)
            fields.append((attribute(name), annotation, default))
            if attribute(name) != name:
                rename[attribute(name)] = name
        struct = msgspec.defstruct(
            _identifier(full),
            fields,
            module=self._module.__name__,
            omit_defaults=True,
            kw_only=True,
            rename=rename or None,
            forbid_unknown_fields=self.strict,
        )
        self._names[struct] = full
        setattr(self._module, _identifier(full), struct)
        self._underway.discard(full)
        return struct

    def _field(self, owner: str, name: str, schema: Schema, required: bool) -> tuple[Any, Any]:
        ref = ref_of(schema)
        if ref is not None and is_embedded(owner, name, self.definitions):
            struct = self._annotation(schema)
            return struct, msgspec.field(default_factory=struct)
        annotation = self._annotation(schema)
        kind = container_of(schema)
        if kind is not None:
            return annotation, msgspec.field(default_factory=_written(kind) if required else kind)
        if annotation is Any:
            return Any, None
        if required and annotation in _ZERO:
            return annotation, msgspec.field(default_factory=_ZERO[annotation])
        if isinstance(annotation, str):
            return f"{annotation} | None", None
        return annotation | None, None

    def _annotation(self, schema: Schema) -> Any:
        ref = ref_of(schema)
        if ref is not None:
            return _identifier(ref) if ref in self._underway else self.of(ref)
        kind = container_of(schema)
        if kind is list:
            item = self._annotation(schema.get("items", {}))
            return f"list[{item}]" if isinstance(item, str) else list[item]  # type: ignore[valid-type]
        if kind is dict:
            item = self._annotation(schema.get("additionalProperties", {}))
            if item is _TIME:
                item = _TIME | None  # PodDisruptionBudget.status.disruptedPods may hold the zero time
            return f"dict[str, {item}]" if isinstance(item, str) else dict[str, item]  # type: ignore[valid-type]
        return _INTEGERS.get(schema.get("format", ""), scalar_of(schema))


def _written(kind: Callable[[], Any]) -> Callable[[], Any]:
    # msgspec leaves out an empty list or map only where its factory is `list` or `dict` itself.
    return lambda: kind()


def is_embedded(owner: str, name: str, definitions: Definitions) -> bool:
    """Whether Go embeds the field by value, so that it is always there."""
    end = owner.rsplit(".", 1)[1]
    if name == "resources":
        return end in _EMBEDDED_RESOURCES
    if name not in _EMBEDDED or end in _POINTERS:
        return False
    ref = ref_of(definitions.schemas[owner]["properties"][name])
    return ref is not None and "properties" in definitions.schemas[ref]


def container_of(schema: Schema) -> type[list[Any]] | type[dict[str, Any]] | None:
    """`list` or `dict` where the schema is a list or a map."""
    kind = schema_type(schema)
    if kind == "array":
        return list
    if kind == "object" and "properties" not in schema:
        return dict
    return None


def schema_type(schema: Schema) -> str | None:
    """The one JSON type that the schema allows beside null."""
    declared = schema.get("type")
    if isinstance(declared, list):
        for one in declared:
            if one != "null":
                return str(one)
        return None
    return declared


def scalar_of(schema: Schema) -> Any:
    """The Python type of a scalar schema; Any where it is free-form."""
    kind = schema_type(schema)
    if kind == "string":
        return bytes if schema.get("format") == "byte" else str
    # A number is written as it came: 1 must not come back as 1.0.
    return {"integer": int, "number": int | float, "boolean": bool}.get(kind or "", Any)


def _identifier(full: str) -> str:
    return full.replace(".", "_").replace("-", "_")


def decode_custom(expected: type, value: Any) -> Any:
    """msgspec's `dec_hook`: what JSON has no type for. Raises ValueError for a malformed quantity."""
    if expected is Quantity:
        if isinstance(value, Quantity):
            return value
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return quantity(value)
        raise ValueError(f"a quantity is a string or a number, not {type(value).__name__}")
    from_json = getattr(expected, "from_json", None)
    if from_json is not None:  # a type that says itself what it is in JSON: CustomObject
        return from_json(value)
    raise NotImplementedError(expected)


def encode_custom(value: Any) -> Any:
    """msgspec's `enc_hook`."""
    if isinstance(value, Quantity):
        return value.text
    to_json = getattr(value, "to_json", None)
    if to_json is not None:
        return to_json()
    raise TypeError(f"{type(value).__name__} has no JSON form")
