"""The operations of a resource, before OpenAPI v2 or v3 says them its own way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from sampan.schema.definitions import Definitions, GroupVersionKind
from sampan.schema.openapi_resources import ServedResource, Subresource, definition_of

STATUS: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
PATCH: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
DELETE_OPTIONS: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
ANSWERS: Final = ("application/json", "application/yaml")
PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
CUSTOM_PATCHES: Final = PATCHES[:-1]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the path or the query."""

    name: str
    type: str
    description: str
    place: str = "query"


class Operation(msgspec.Struct, frozen=True):
    """One verb on one path. `body` and `answer` name definitions; `takes` are the body's media types."""

    method: str
    action: str
    gvk: GroupVersionKind
    id: str
    description: str
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    takes: tuple[str, ...] = ()
    answer: str | None = None
    codes: tuple[int, ...] = (200,)


class PathItem(msgspec.Struct, frozen=True):
    """A path with what can be done there."""

    path: str
    tag: str
    parameters: tuple[Parameter, ...]
    operations: tuple[Operation, ...]


_NAME: Final = Parameter("name", "string", "name of the object", "path")
_NAMESPACE: Final = Parameter(
    "namespace", "string", "object name and auth scope, such as for teams and projects", "path"
)
_PRETTY: Final = Parameter("pretty", "string", "If 'true', then the output is pretty printed.")
_DRY_RUN: Final = Parameter(
    "dryRun",
    "string",
    "When present, indicates that modifications should not be persisted. Valid values are: "
    "- All: all dry run stages will be processed",
)
_MANAGER: Final = Parameter(
    "fieldManager", "string", "The name of the actor or entity that is making these changes."
)
_VALIDATION: Final = Parameter(
    "fieldValidation",
    "string",
    "What to do with unknown or duplicate fields in the request: Ignore, Warn (the default) or Strict.",
)
_FORCE: Final = Parameter(
    "force", "boolean", "Take fields that other managers own; only for apply patch requests."
)
_GRACE: Final = Parameter(
    "gracePeriodSeconds", "integer", "The seconds before the object should be deleted; zero means at once."
)
_ORPHANS: Final = Parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy instead.")
_PROPAGATION: Final = Parameter(
    "propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."
)
_LIST: Final = (
    Parameter("allowWatchBookmarks", "boolean", "Whether the watch sends BOOKMARK events."),
    Parameter("continue", "string", "The token of the previous page."),
    Parameter("fieldSelector", "string", "Select objects by their fields."),
    Parameter("labelSelector", "string", "Select objects by their labels."),
    Parameter("limit", "integer", "The most objects to answer with at once."),
    Parameter("resourceVersion", "string", "The resource version that the answer must not be older than."),
    Parameter("resourceVersionMatch", "string", "How resourceVersion is applied: Exact or NotOlderThan."),
    Parameter("sendInitialEvents", "boolean", "Whether a watch begins with the objects there are."),
    Parameter("timeoutSeconds", "integer", "How long the call may take."),
    Parameter("watch", "boolean", "Watch for changes instead of listing."),
)
_WRITE: Final = (_DRY_RUN, _MANAGER, _VALIDATION)
_METHODS: Final = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_WORDS: Final = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}


def path_items(resource: ServedResource, definitions: Definitions) -> Iterator[PathItem]:
    """The paths of a resource: its collections, its objects, its subresources."""
    return _Paths(resource, definitions).items()


class _Paths:
    def __init__(self, resource: ServedResource, definitions: Definitions) -> None:
        self._resource = resource
        self._definitions = definitions
        self._type = definition_of(resource, definitions)
        group = resource.gvk.group.removesuffix(".k8s.io") or "core"
        self._tag = f"{group.replace('.', '_').replace('-', '_')}_{resource.gvk.version}"
        words = group.replace("-", ".").split(".")
        self._infix = "".join(map(_capital, words)) + _capital(resource.gvk.version)
        self._scope = "Namespaced" if resource.namespaced else ""

    def items(self) -> Iterator[PathItem]:
        base = f"/{self._resource.root}"
        plural = self._resource.plural
        within: tuple[Parameter, ...] = ()
        if self._resource.namespaced:
            listed = [self._list("ForAllNamespaces", "")] if "list" in self._resource.verbs else []
            yield from self._item(f"{base}/{plural}", (), listed)
            base += "/namespaces/{namespace}"
            within = (_NAMESPACE,)
        yield from self._item(f"{base}/{plural}", within, self._collection())
        one = f"{base}/{plural}/{{name}}"
        yield from self._item(one, (_NAME, *within), self._object())
        for subresource in self._resource.subresources:
            operations = [self._sub(subresource, verb) for verb in _ordered(subresource.verbs)]
            yield from self._item(f"{one}/{subresource.name}", (_NAME, *within), operations)

    def _item(
        self, path: str, parameters: tuple[Parameter, ...], operations: list[Operation]
    ) -> Iterator[PathItem]:
        if operations:
            yield PathItem(path, self._tag, (*parameters, _PRETTY), tuple(operations))

    def _collection(self) -> list[Operation]:
        verbs = self._resource.verbs
        operations: list[Operation] = []
        if "list" in verbs:
            operations.append(self._list("", self._scope))
        if "create" in verbs:
            operations.append(self._one("create"))
        if "deletecollection" in verbs:
            kind = self._resource.gvk.kind
            operations.append(
                Operation(
                    "delete",
                    "deletecollection",
                    self._resource.gvk,
                    f"delete{self._infix}Collection{self._scope}{kind}",
                    f"delete collection of {kind}",
                    (_DRY_RUN, _GRACE, _ORPHANS, _PROPAGATION, *_LIST[1:-1]),
                    DELETE_OPTIONS,
                    ("*/*",),
                    STATUS,
                )
            )
        return operations

    def _object(self) -> list[Operation]:
        return [self._one(v) for v in ("get", "update", "patch", "delete") if v in self._resource.verbs]

    def _list(self, suffix: str, scope: str) -> Operation:
        gvk = self._resource.gvk
        return Operation(
            "get",
            "list",
            gvk,
            f"list{self._infix}{scope}{gvk.kind}{suffix}",
            f"list or watch objects of kind {gvk.kind}",
            _LIST,
            answer=self._list_type(),
        )

    def _list_type(self) -> str | None:
        if self._resource.custom is not None:
            return f"{self._resource.definition}List"
        gvk = self._resource.gvk
        return self._definitions.by_gvk.get(msgspec.structs.replace(gvk, kind=f"{gvk.kind}List"))

    def _one(self, verb: str) -> Operation:
        return self._operation(verb, self._resource.gvk, self._type, "", "")

    def _sub(self, subresource: Subresource, verb: str) -> Operation:
        own = subresource.gvk == self._resource.gvk
        type_ = self._type if own else self._definitions.by_gvk.get(subresource.gvk)
        return self._operation(verb, subresource.gvk, type_, _capital(subresource.name), subresource.name)

    def _operation(
        self, verb: str, gvk: GroupVersionKind, type_: str | None, suffix: str, sub: str
    ) -> Operation:
        kind = self._resource.gvk.kind
        what = f"{sub} of the specified {kind}" if sub else f"the specified {kind}"
        body, takes = self._body(verb, type_)
        return Operation(
            _METHODS[verb],
            {"create": "post", "update": "put"}.get(verb, verb),
            gvk,
            f"{_WORDS[verb]}{self._infix}{self._scope}{kind}{suffix}",
            f"{_WORDS[verb]} {what}",
            _parameters(verb),
            body,
            takes,
            STATUS if verb == "delete" else type_,
            _codes(verb),
        )

    def _body(self, verb: str, type_: str | None) -> tuple[str | None, tuple[str, ...]]:
        if verb == "patch":
            return PATCH, PATCHES if self._resource.custom is None else CUSTOM_PATCHES
        if verb == "delete":
            return DELETE_OPTIONS, ("*/*",)
        return (type_, ("*/*",)) if verb in ("create", "update") else (None, ())


def _parameters(verb: str) -> tuple[Parameter, ...]:
    if verb == "delete":
        return (_DRY_RUN, _GRACE, _ORPHANS, _PROPAGATION)
    if verb == "patch":
        return (*_WRITE, _FORCE)
    return _WRITE if verb in ("create", "update") else ()


def _codes(verb: str) -> tuple[int, ...]:
    return {"create": (200, 201, 202), "update": (200, 201), "patch": (200, 201), "delete": (200, 202)}.get(
        verb, (200,)
    )


def _ordered(verbs: tuple[str, ...]) -> list[str]:
    return [verb for verb in _METHODS if verb in verbs]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
