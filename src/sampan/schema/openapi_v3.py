"""OpenAPI v3: the index at /openapi/v3 and one document for each group and version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sampan.schema import enums
from sampan.schema.definitions import Definitions, GroupVersionKind
from sampan.schema.openapi_parameters import Parameter
from sampan.schema.openapi_paths import TEXT, Operation, PathItem, path_items, resource_list
from sampan.schema.openapi_resources import ServedResource, definition_of
from sampan.schema.openapi_schemas import V3, Components
from sampan.schema.openapi_singles import SECURITY

_CUSTOM_INFO: Final = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
_PHRASES: Final = {200: "OK", 201: "Created", 202: "Accepted"}


def roots(resources: Sequence[ServedResource]) -> tuple[str, ...]:
    """The names of the documents there are: `api/v1`, `apis/apps/v1`."""
    return tuple(sorted({resource.root for resource in resources}))


def index(resources: Sequence[ServedResource], definitions: Definitions) -> dict[str, Any]:
    """What /openapi/v3 answers: where each document is, with a hash that changes when it does."""
    return index_of({root: digest(root, resources, definitions) for root in roots(resources)})


def index_of(hashes: Mapping[str, str]) -> dict[str, Any]:
    """The index of documents with these hashes."""
    return {
        "paths": {
            root: {"serverRelativeURL": f"/openapi/v3/{root}?hash={digest}"}
            for root, digest in hashes.items()
        }
    }


def digest(root: str, resources: Sequence[ServedResource], definitions: Definitions) -> str:
    """The hash of a document: of all it is made from, so that it need not be made to be named."""
    made_from = [definitions.version, enums.REVISION, [r for r in resources if r.root == root]]
    return hashlib.sha512(msgspec.json.encode(made_from)).hexdigest().upper()


def document(root: str, resources: Sequence[ServedResource], definitions: Definitions) -> dict[str, Any]:
    """The document of one group and version. Raises KeyError where there is no resource in it."""
    own = [resource for resource in resources if resource.root == root]
    if not own:
        raise KeyError(root)
    custom = own[0].custom is not None
    gvk = own[0].gvk
    components = Components(definitions, V3, None if custom else (gvk.group, gvk.version))
    paths: dict[str, Any] = {}
    if not custom:
        item = resource_list(root, gvk.group, gvk.version)
        paths[item.path] = _path_item(item, components)
    for resource in own:
        if resource.custom is not None:
            components.add_custom(resource)
        else:
            components.add([definition_of(resource, definitions)])
        for item in path_items(resource, definitions):
            paths[item.path] = _path_item(item, components)
    return {
        "openapi": "3.0.0",
        "info": _CUSTOM_INFO if custom else {"title": "Kubernetes", "version": definitions.version},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components.schemas(),
            **({} if custom else {"securitySchemes": SECURITY}),
        },
    }


def _path_item(item: PathItem, components: Components) -> dict[str, Any]:
    shown: dict[str, Any] = {op.method: _operation(op, item.tag, components) for op in item.operations}
    if item.parameters:
        shown["parameters"] = [_parameter(parameter) for parameter in item.parameters]
    return shown


def _operation(operation: Operation, tag: str, components: Components) -> dict[str, Any]:
    components.add([operation.body, operation.answer or None])
    shown: dict[str, Any] = {
        "tags": [tag],
        "description": operation.description,
        "operationId": operation.id,
    }
    if operation.parameters:
        shown["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        body = {"schema": components.ref(operation.body)}
        shown["requestBody"] = {"content": dict.fromkeys(operation.takes, body)}
        if operation.method != "delete":
            shown["requestBody"]["required"] = True
    shown["responses"] = _responses(operation, components)
    if operation.gvk is not None:
        shown["x-kubernetes-action"] = operation.action
        shown["x-kubernetes-group-version-kind"] = gvk_of(operation.gvk)
    return shown


def _responses(operation: Operation, components: Components) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for code in operation.codes:
        response: dict[str, Any] = {"description": _PHRASES[code]}
        if operation.answer is not None:
            schema = {"type": "string"} if operation.answer == TEXT else components.ref(operation.answer)
            response["content"] = {media: {"schema": schema} for media in operation.gives}
        responses[str(code)] = response
    responses["401"] = {"description": "Unauthorized"}
    return responses


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
    }
    if parameter.place == "path":
        shown["required"] = True
    shown["schema"] = {"type": parameter.type, "uniqueItems": True}
    return shown


def gvk_of(gvk: GroupVersionKind) -> dict[str, str]:
    """A group, version and kind as the extension says it."""
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
