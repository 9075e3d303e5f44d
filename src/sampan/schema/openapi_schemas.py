"""Definitions as the components of an OpenAPI document: references rewritten, nulls taken out of types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from sampan.schema import openapi_structural as structural
from sampan.schema import openapi_texts
from sampan.schema.definitions import REF_PREFIX, Definitions, GroupVersionKind, Schema
from sampan.schema.enums import with_enums
from sampan.schema.openapi_defaults import with_defaults
from sampan.schema.openapi_paths import PATCH
from sampan.schema.openapi_resources import ServedResource

V2: Final = "#/definitions/"
V3: Final = "#/components/schemas/"

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
# Beside a custom schema: what its objects can be selected by.
SELECTABLE: Final = "x-kubernetes-selectable-fields"
_PRESERVES: Final = "x-kubernetes-preserve-unknown-fields"
_OF_EVERY_GROUP: Final = frozenset({_META + "DeleteOptions", _META + "WatchEvent"})
# Groups that the server of custom resources does not know.
_NOT_BUILT_IN: Final = frozenset(
    {"admission.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "imagepolicy.k8s.io"}
)
_GVK: Final = "x-kubernetes-group-version-kind"
_CONVENTIONS: Final = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
# What custom resources say of the fields that every object has; scripts and kubectl's own tests look for it.
_STANDARD_METADATA: Final = f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"
_STANDARD_LIST_METADATA: Final = f"Standard list metadata. More info: {_CONVENTIONS}#types-kinds"
_EMBEDDED_API_VERSION: Final = (
    "apiVersion defines the versioned schema of this representation of an object. "
    f"More info: {_CONVENTIONS}#resources"
)
_EMBEDDED_KIND: Final = (
    "kind is a string value representing the type of this object. In CamelCase. "
    f"More info: {_CONVENTIONS}#types-kinds"
)
# What OpenAPI v2 has no words for; Kubernetes leaves it out of that document.
_NOT_IN_V2: Final = frozenset({"oneOf", "anyOf", "not", "nullable"})


class Components:
    """The schemas of one document, each added when something refers to it."""

    def __init__(self, definitions: Definitions, prefix: str, within: tuple[str, str] | None = None) -> None:
        """`within` is the group and version that the document is of; None where it is of all of them."""
        self._definitions = definitions
        self._prefix = prefix
        self._within = within
        self._schemas: dict[str, Schema] = {}

    def add(self, names: Iterable[str | None]) -> None:
        """Add these definitions and all they refer to."""
        waiting = [name for name in names if name is not None]
        while waiting:
            name = waiting.pop()
            if name in self._schemas:
                continue
            schema = self._published(name)
            self._schemas[name] = schema
            waiting.extend(_references(schema, self._prefix))

    def add_custom(self, resource: ServedResource) -> None:
        """Add a custom resource's definition and its list."""
        assert resource.custom is not None
        name = resource.definition
        self._schemas[name] = self._custom(resource)
        self._schemas[f"{name}List"] = self._custom_list(resource, name)
        self.add([_META + "ObjectMeta", _META + "ListMeta"])

    def schemas(self) -> dict[str, Schema]:
        """All schemas by name, in order."""
        return dict(sorted(self._schemas.items()))

    def ref(self, name: str) -> Schema:
        """A reference to a definition of the document."""
        return {"$ref": self._prefix + name}

    def _published(self, name: str) -> Schema:
        if name == PATCH:
            return {"description": openapi_texts.PATCH, "type": "object"}
        schema = self._definitions.schemas[name]
        if name in (_QUANTITY, _INT_OR_STRING):
            return self._either(name)
        rewritten: Schema = self._rewritten(schema)
        if _GVK in schema:
            for field in ("apiVersion", "kind"):  # the source narrows them; Kubernetes does not
                rewritten.get("properties", {}).get(field, {}).pop("enum", None)
        with_enums(name, rewritten)
        if self._prefix == V3:
            with_defaults(name, rewritten)
            if name in _OF_EVERY_GROUP:
                rewritten[_GVK] = [gvk for gvk in rewritten[_GVK] if self._belongs(gvk)]
        return rewritten

    def _belongs(self, gvk: Mapping[str, str]) -> bool:
        """Whether the document tells of a type of every group that it is of this one."""
        group, version = gvk["group"], gvk["version"]
        if self._within is None:  # of a custom kind
            return group not in _NOT_BUILT_IN
        return (group, version) in (("", "v1"), self._within)

    def _either(self, name: str) -> Schema:
        forms = ("string", "number") if name == _QUANTITY else ("integer", "string")
        shown: Schema = {
            "description": openapi_texts.QUANTITY if name == _QUANTITY else openapi_texts.INT_OR_STRING
        }
        if name == _INT_OR_STRING:
            shown["format"] = "int-or-string"
        if self._prefix == V2:
            return {**shown, "type": "string"}
        return {**shown, "oneOf": [{"type": form} for form in forms]}

    def _rewritten(self, schema: Any) -> Any:
        """A schema as the document says it. Property names are data and stay as they are."""
        if not isinstance(schema, dict):
            return schema
        shown: Schema = {}
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                shown["$ref"] = self._prefix + value.removeprefix(REF_PREFIX)
            elif key == "type" and isinstance(value, list):
                shown["type"] = next(t for t in value if t != "null")
            elif key == "properties" and isinstance(value, dict):
                shown[key] = {name: self._rewritten(item) for name, item in value.items()}
            elif key in ("default", "example", "enum"):
                shown[key] = value
            elif isinstance(value, list):
                shown[key] = [self._rewritten(item) for item in value]
            elif not (self._prefix == V2 and key in _NOT_IN_V2):
                shown[key] = self._rewritten(value)
        if self._prefix == V3 and "$ref" in shown and len(shown) > 1:
            # In OpenAPI 3.0 nothing may stand beside a reference.
            shown["allOf"] = [{"$ref": shown.pop("$ref")}]
        return {k: v for k, v in shown.items() if not (self._prefix == V2 and k in _NOT_IN_V2)}

    def _custom(self, resource: ServedResource) -> Schema:
        v2 = self._prefix == V2
        assert resource.custom is not None
        if v2 and resource.custom.get(_PRESERVES):
            # Clients that validate by this form refuse what is beside the properties that it names.
            return {"type": "object", _GVK: [_shown(resource.gvk)]}
        schema: Schema = self._with_embedded(self._rewritten(structural.shown(resource.custom, v2=v2)))
        properties = {
            **schema.get("properties", {}),
            "apiVersion": self._text_of("apiVersion"),
            "kind": self._text_of("kind"),
            "metadata": self._described_ref("ObjectMeta", _STANDARD_METADATA),
        }
        return {**schema, "type": "object", "properties": properties, _GVK: [_shown(resource.gvk)]}

    def _custom_list(self, resource: ServedResource, name: str) -> Schema:
        kind = f"{resource.gvk.kind}List"
        chosen = (resource.custom or {}).get(SELECTABLE)
        return {
            **({SELECTABLE: chosen} if chosen else {}),
            "description": f"{kind} is a list of {resource.gvk.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": self._text_of("apiVersion"),
                "items": {
                    "description": f"List of {resource.plural}. More info: {_CONVENTIONS}",
                    "type": "array",
                    "items": self.ref(name),
                },
                "kind": self._text_of("kind"),
                "metadata": self._described_ref("ListMeta", _STANDARD_LIST_METADATA),
            },
            _GVK: [_shown(msgspec.structs.replace(resource.gvk, kind=kind))],
        }

    def _with_embedded(self, schema: Any) -> Any:
        """The schema with what every embedded resource has: its kind and its metadata."""
        if not isinstance(schema, dict):
            return schema
        shown = dict(schema)
        if isinstance(shown.get("properties"), dict):
            shown["properties"] = {k: self._with_embedded(v) for k, v in shown["properties"].items()}
        for key in ("items", "additionalProperties"):
            if key in shown:
                shown[key] = self._with_embedded(shown[key])
        if not shown.get("x-kubernetes-embedded-resource"):
            return shown
        if self._prefix == V2 and shown.get(_PRESERVES):
            return shown
        shown["properties"] = {
            **shown.get("properties", {}),
            "apiVersion": {"type": "string", "description": _EMBEDDED_API_VERSION},
            "kind": {"type": "string", "description": _EMBEDDED_KIND},
            "metadata": self._described_ref("ObjectMeta", _STANDARD_METADATA),
        }
        required = list(shown.get("required", ()))
        shown["required"] = [*required, *(name for name in ("kind", "apiVersion") if name not in required)]
        return shown

    def _described_ref(self, name: str, description: str) -> Schema:
        ref = self.ref(_META + name)
        if self._prefix == V2:
            return {"description": description, **ref}
        return {"description": description, "allOf": [ref]}

    def _text_of(self, field: str) -> Schema:
        namespace = self._definitions.schemas["io.k8s.api.core.v1.Namespace"]["properties"][field]
        return {"type": "string", "description": namespace["description"]}


def _references(schema: Any, prefix: str) -> list[str]:
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item, prefix)]
    if not isinstance(schema, dict):
        return []
    found = [name for item in schema.values() for name in _references(item, prefix)]
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref.startswith(prefix):
        found.append(ref.removeprefix(prefix))
    return found


def _shown(gvk: GroupVersionKind) -> dict[str, str]:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
