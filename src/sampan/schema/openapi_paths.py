"""The operations of a resource, before OpenAPI v2 or v3 says them its own way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from sampan.schema import openapi_parameters as parameters
from sampan.schema.definitions import Definitions, GroupVersionKind
from sampan.schema.openapi_connect import OPTIONS
from sampan.schema.openapi_parameters import Parameter
from sampan.schema.openapi_resources import ServedResource, Subresource, definition_of

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS: Final = _META + "Status"
PATCH: Final = _META + "Patch"
DELETE_OPTIONS: Final = _META + "DeleteOptions"
RESOURCE_LIST: Final = _META + "APIResourceList"
WATCH_EVENT: Final = _META + "WatchEvent"
# What stands for an answer that is text and no object.
TEXT: Final = ""

_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
CUSTOM_ANSWERS: Final = ("application/json", "application/yaml")
ANSWERS: Final = (*CUSTOM_ANSWERS, _PROTOBUF)
STREAMS: Final = (*ANSWERS, "application/json;stream=watch", f"{_PROTOBUF};stream=watch")
ANYTHING: Final = ("*/*",)
CUSTOM_PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
PATCHES: Final = (*CUSTOM_PATCHES[:2], "application/strategic-merge-patch+json", CUSTOM_PATCHES[2])


class Operation(msgspec.Struct, frozen=True):
    """One verb on one path. `body` and `answer` name definitions; `takes` and `gives` are media types."""

    method: str
    id: str
    description: str
    action: str = ""
    gvk: GroupVersionKind | None = None
    parameters: tuple[Parameter, ...] = ()
    body: str | None = None
    takes: tuple[str, ...] = ANYTHING
    answer: str | None = None
    gives: tuple[str, ...] = ANSWERS
    codes: tuple[int, ...] = (200,)


class PathItem(msgspec.Struct, frozen=True):
    """A path with what can be done there, and the parameters that all of it takes."""

    path: str
    tag: str
    parameters: tuple[Parameter, ...]
    operations: tuple[Operation, ...]


_METHODS: Final = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_WORDS: Final = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}
_SAYS: Final = {"get": "read", "update": "replace", "patch": "partially update"}
# What a proxy passes on beside the verbs that there are for objects.
_ANY_METHOD: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_ATTACHED: Final = ("get", "post")
_CODES: Final = {"create": (200, 201, 202), "update": (200, 201), "patch": (200, 201), "delete": (200, 202)}
_NOT_ANY_MORE: Final = "deprecated: use the 'watch' parameter with a list operation instead"
# Kinds of which a deletion answers the object, and no Status.
_ANSWERS_OBJECT: Final = frozenset(
    [
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Pod",
        "PodTemplate",
        "ResourceQuota",
        "Service",
        "ServiceAccount",
        "DeviceClass",
        "ResourceClaim",
        "ResourceClaimTemplate",
        "ResourceSlice",
        "CSIDriver",
        "CSINode",
        "StorageClass",
        "VolumeAttachment",
        "VolumeAttributesClass",
    ]
)


def path_items(resource: ServedResource, definitions: Definitions) -> Iterator[PathItem]:
    """The paths of a resource: its collections, objects and subresources, and where it was watched once."""
    return _Paths(resource, definitions).items()


def resource_list(root: str, group: str, version: str) -> PathItem:
    """The path of the document that names the resources of `api/v1` or `apis/GROUP/VERSION`."""
    name = _infix(group, version)
    operation = Operation(
        "get",
        f"get{name}APIResources",
        "get available resources",
        takes=ANSWERS,
        answer=RESOURCE_LIST,
    )
    return PathItem(f"/{root}/", tag_of(group, version), (), (operation,))


def tag_of(group: str, version: str = "") -> str:
    """`rbacAuthorization_v1` of rbac.authorization.k8s.io/v1: how operations are grouped."""
    first, *others = _words(group)
    return "_".join(filter(None, (first[:1].lower() + first[1:] + "".join(map(_capital, others)), version)))


def _infix(group: str, version: str) -> str:
    return "".join(map(_capital, _words(group))) + _capital(version)


def _words(group: str) -> list[str]:
    return (group.removesuffix(".k8s.io") or "core").replace("-", ".").split(".")


class _Paths:
    def __init__(self, resource: ServedResource, definitions: Definitions) -> None:
        self._resource = resource
        self._custom = resource.custom is not None
        self._definitions = definitions
        self._type = definition_of(resource, definitions)
        gvk = resource.gvk
        self._tag = tag_of(gvk.group, gvk.version)
        self._infix = _infix(gvk.group, gvk.version)
        self._scope = "Namespaced" if resource.namespaced else ""
        self._takes = CUSTOM_ANSWERS if self._custom else ANYTHING
        self._gives = CUSTOM_ANSWERS if self._custom else ANSWERS

    def items(self) -> Iterator[PathItem]:
        root, plural, verbs = self._resource.root, self._resource.plural, self._resource.verbs
        name = parameters.name_of(self._resource.gvk.kind)
        within: tuple[Parameter, ...] = ()
        places = [f"/{root}/", f"/{root}/watch/"]
        watched = "watch" in verbs and not self._custom
        if self._resource.namespaced:
            listed = [self._list("ForAllNamespaces", "")] if "list" in verbs else []
            yield from self._item(f"{places[0]}{plural}", (), listed)
            if watched:
                yield from self._item(f"{places[1]}{plural}", (), [self._watch("ListForAllNamespaces", "")])
            places = [f"{place}namespaces/{{namespace}}/" for place in places]
            within = (parameters.NAMESPACE,)
        yield from self._item(places[0] + plural, within, self._collection())
        one = f"{plural}/{{name}}"
        yield from self._item(places[0] + one, (name, *within), self._object())
        if watched:
            yield from self._item(places[1] + plural, within, [self._watch("List", self._scope)])
            if "get" in verbs:
                yield from self._item(
                    places[1] + one, (name, *within), [self._watch("", self._scope, one=True)]
                )
        for subresource in self._resource.subresources:
            if not self._custom:  # the name of what is sent there, says kube-apiserver
                name = parameters.name_of(subresource.gvk.kind)
            yield from self._below(f"{places[0]}{one}/{subresource.name}", (name, *within), subresource)

    def _below(
        self, path: str, within: tuple[Parameter, ...], subresource: Subresource
    ) -> Iterator[PathItem]:
        options = OPTIONS.get((self._resource.gvk.kind, subresource.name))
        if options is None:
            operations = [self._sub(subresource, verb) for verb in _METHODS if verb in subresource.verbs]
            yield from self._item(path, within, operations)
        elif subresource.name == "log":
            yield from self._item(path, (*within, *options), [self._log(subresource)])
        else:
            methods = _ANY_METHOD if subresource.name == "proxy" else _ATTACHED
            yield self._connected(path, (*within, *options), subresource, methods, "")
            if subresource.name == "proxy":
                below = (*within, *options, parameters.REST_OF_PATH)
                yield self._connected(f"{path}/{{path}}", below, subresource, methods, "WithPath")

    def _item(
        self, path: str, within: tuple[Parameter, ...], operations: list[Operation]
    ) -> Iterator[PathItem]:
        if operations:
            yield _shared(path, self._tag, (*within, parameters.PRETTY), operations)

    def _connected(
        self,
        path: str,
        takes: tuple[Parameter, ...],
        subresource: Subresource,
        methods: Sequence[str],
        suffix: str,
    ) -> PathItem:
        kind, name = self._resource.gvk.kind, subresource.name
        operations = [
            Operation(
                method,
                f"connect{self._infix}{_capital(method)}{self._scope}{kind}{_capital(name)}{suffix}",
                f"connect {method.upper()} requests to {name} of {kind}",
                "connect",
                subresource.gvk,
                answer=TEXT,
                gives=ANYTHING,
            )
            for method in methods
        ]
        return _shared(path, self._tag, takes, operations)

    def _log(self, subresource: Subresource) -> Operation:
        made = self._sub(subresource, "get")
        return msgspec.structs.replace(made, answer=TEXT, gives=("text/plain", *ANSWERS))

    def _collection(self) -> list[Operation]:
        verbs = self._resource.verbs
        operations: list[Operation] = []
        if "list" in verbs:
            operations.append(self._list("", self._scope))
        if "create" in verbs:
            operations.append(self._one("create"))
        if "deletecollection" in verbs:
            operations.append(self._delete_collection())
        return operations

    def _delete_collection(self) -> Operation:
        kind = self._resource.gvk.kind
        chosen = parameters.LIST if self._custom else (*parameters.DELETE, *parameters.CHOOSE)
        return Operation(
            "delete",
            f"delete{self._infix}Collection{self._scope}{kind}",
            f"delete collection of {kind}",
            "deletecollection",
            self._resource.gvk,
            chosen,
            None if self._custom else DELETE_OPTIONS,
            self._takes,
            STATUS,
            self._gives,
        )

    def _object(self) -> list[Operation]:
        return [self._one(v) for v in ("get", "update", "patch", "delete") if v in self._resource.verbs]

    def _list(self, suffix: str, scope: str) -> Operation:
        gvk = self._resource.gvk
        watched = "watch" in self._resource.verbs and not self._custom
        return Operation(
            "get",
            f"list{self._infix}{scope}{gvk.kind}{suffix}",
            f"list {'or watch ' if watched else ''}objects of kind {gvk.kind}",
            "list",
            gvk,
            parameters.LIST,
            takes=self._takes,
            answer=self._list_type(),
            gives=CUSTOM_ANSWERS if self._custom else STREAMS,
        )

    def _watch(self, suffix: str, scope: str, *, one: bool = False) -> Operation:
        """The place where one kind was watched before lists had the parameter for it."""
        gvk = self._resource.gvk
        what = f"watch individual changes to a list of {gvk.kind}. {_NOT_ANY_MORE}."
        if one:
            what = (
                f"watch changes to an object of kind {gvk.kind}. {_NOT_ANY_MORE}, "
                "filtered to a single item with the 'fieldSelector' parameter."
            )
        return Operation(
            "get",
            f"watch{self._infix}{scope}{gvk.kind}{suffix}",
            what,
            "watch" if one else "watchlist",
            gvk,
            parameters.LIST,
            answer=WATCH_EVENT,
            gives=STREAMS,
        )

    def _list_type(self) -> str | None:
        if self._custom:
            return f"{self._resource.definition}List"
        gvk = self._resource.gvk
        return self._definitions.by_gvk.get(msgspec.structs.replace(gvk, kind=f"{gvk.kind}List"))

    def _one(self, verb: str) -> Operation:
        gvk = self._resource.gvk
        says = f"{_SAYS[verb]} the specified {gvk.kind}" if verb in _SAYS else f"{verb} {_a(gvk.kind)}"
        return self._operation(verb, gvk, self._type, "", says)

    def _sub(self, subresource: Subresource, verb: str) -> Operation:
        gvk, kind, name = subresource.gvk, self._resource.gvk.kind, subresource.name
        type_ = self._type if gvk == self._resource.gvk else self._definitions.by_gvk.get(gvk)
        says = (
            f"{_SAYS[verb]} {name} of the specified {kind}"
            if verb in _SAYS
            else f"{verb} {name} of {_a(kind)}"
        )
        shown = self._resource.gvk if self._custom else gvk
        return self._operation(verb, shown, type_, _capital(name), says)

    def _operation(
        self, verb: str, gvk: GroupVersionKind, type_: str | None, suffix: str, says: str
    ) -> Operation:
        body, takes = self._body(verb, type_)
        answer = type_
        if verb == "delete" and (self._custom or gvk.kind not in _ANSWERS_OBJECT):
            answer = STATUS
        codes = _CODES.get(verb, (200,))
        return Operation(
            _METHODS[verb],
            f"{_WORDS[verb]}{self._infix}{self._scope}{self._resource.gvk.kind}{suffix}",
            says,
            {"create": "post", "update": "put"}.get(verb, verb),
            gvk,
            self._parameters(verb),
            body,
            takes,
            answer,
            self._gives,
            (200,) if self._custom and verb == "patch" else codes,
        )

    def _parameters(self, verb: str) -> tuple[Parameter, ...]:
        if verb == "delete":
            return parameters.DELETE
        if verb == "patch":
            return parameters.PATCH
        if verb == "get":
            return (parameters.RESOURCE_VERSION,) if self._custom else ()
        return parameters.WRITE

    def _body(self, verb: str, type_: str | None) -> tuple[str | None, tuple[str, ...]]:
        if verb == "patch":
            return PATCH, CUSTOM_PATCHES if self._custom else PATCHES
        if verb == "delete":
            return DELETE_OPTIONS, self._takes
        return (type_, self._takes) if verb in ("create", "update") else (None, self._takes)


def _shared(path: str, tag: str, within: Iterable[Parameter], operations: Sequence[Operation]) -> PathItem:
    """The item of a path; what all of its operations take is taken by the path."""
    common = set(operations[0].parameters).intersection(*(each.parameters for each in operations[1:]))
    own = [
        msgspec.structs.replace(each, parameters=_ordered(p for p in each.parameters if p not in common))
        for each in operations
    ]
    return PathItem(path, tag, _ordered((*within, *common)), tuple(own))


def _ordered(found: Iterable[Parameter]) -> tuple[Parameter, ...]:
    return tuple(sorted(found, key=lambda each: (each.name, each.place)))


def _a(kind: str) -> str:
    """A kind with its article, as kube-apiserver finds it: none for what looks like a plural."""
    if kind.endswith("s") and not kind.endswith("ss"):
        return kind
    return f"{'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
