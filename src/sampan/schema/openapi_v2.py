"""OpenAPI v2 (Swagger): the one document at /openapi/v2, as JSON and as gnostic's protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.schema.definitions import Definitions
from sampan.schema.openapi_paths import ANSWERS, Operation, Parameter, PathItem, path_items
from sampan.schema.openapi_resources import ServedResource, definition_of
from sampan.schema.openapi_schemas import V2, Components
from sampan.schema.openapi_v3 import gvk_of

# The media type of the protobuf form, and the names by which clients ask for it. The older one has an `@`,
# which is no media type to Go's parser, so it is never answered.
PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
PROTOBUF_ASKED: Final = (PROTOBUF, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
_PHRASES: Final = {200: "OK", 201: "Created", 202: "Accepted"}


def document(resources: Sequence[ServedResource], definitions: Definitions) -> dict[str, Any]:
    """The document for all resources."""
    components = Components(definitions, V2)
    paths: dict[str, Any] = {}
    for resource in resources:
        if resource.custom is not None:
            components.add_custom(resource)
        else:
            components.add([definition_of(resource, definitions)])
        for item in path_items(resource, definitions):
            paths[item.path] = _path_item(item, components)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": f"v{definitions.version}.0"},
        "paths": dict(sorted(paths.items())),
        "definitions": components.schemas(),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _path_item(item: PathItem, components: Components) -> dict[str, Any]:
    shown: dict[str, Any] = {op.method: _operation(op, item.tag, components) for op in item.operations}
    shown["parameters"] = [_parameter(parameter) for parameter in item.parameters]
    return shown


def _operation(operation: Operation, tag: str, components: Components) -> dict[str, Any]:
    components.add([operation.body, operation.answer])
    shown: dict[str, Any] = {
        "description": operation.description,
        "consumes": list(operation.takes or ("*/*",)),
        "produces": list(ANSWERS),
        "schemes": ["https"],
        "tags": [tag],
        "operationId": operation.id,
    }
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    if operation.body is not None:
        body: dict[str, Any] = {"name": "body", "in": "body", "schema": components.ref(operation.body)}
        if operation.method != "delete":
            body["required"] = True
        parameters.insert(0, body)
    if parameters:
        shown["parameters"] = parameters
    shown["responses"] = _responses(operation, components)
    shown["x-kubernetes-action"] = operation.action
    shown["x-kubernetes-group-version-kind"] = gvk_of(operation.gvk)
    return shown


def _responses(operation: Operation, components: Components) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for code in operation.codes:
        responses[str(code)] = {"description": _PHRASES[code]}
        if operation.answer is not None:
            responses[str(code)]["schema"] = components.ref(operation.answer)
    responses["401"] = {"description": "Unauthorized"}
    return responses


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "uniqueItems": True,
        "type": parameter.type,
        "description": parameter.description,
        "name": parameter.name,
        "in": parameter.place,
    }
    if parameter.place == "path":
        shown["required"] = True
    return shown
