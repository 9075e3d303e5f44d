"""The OpenAPI documents of extension servers: what of them is taken, and how it is put beside this server's.

Of version 3 each group and version has a document of its own, which is served as the extension server wrote
it. Version 2 is one document for all: the paths of the group and what they refer to are put into this
server's. A server that knows version 2 alone has its part of that made into a document of version 3, as in
kube-aggregator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

INDEX: Final = "/openapi/v3"
WHOLE: Final = "/openapi/v2"
_V2_REF: Final = "#/definitions/"
_V3_REF: Final = "#/components/schemas/"
# Paths and definitions of a document of version 2.
Part = dict[str, Any]
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")


class Documents(msgspec.Struct, frozen=True):
    """What one extension server says of one group and version. `seen` changes when it says something else."""

    seen: str
    v3: bytes
    v2: Part


def place_of(index: Any, root: str) -> str:
    """Where an index of version 3 says that the document of `apis/GROUP/VERSION` is; "" where it has none."""
    try:
        url = index["paths"][root]["serverRelativeURL"]
    except (KeyError, TypeError):
        return ""
    return url if isinstance(url, str) and url.startswith(f"{INDEX}/") else ""


def checked_v3(data: bytes) -> bytes:
    """A document of version 3 that clients will be able to read. Raises ValueError."""
    document = msgspec.json.decode(data)
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3."):
        raise ValueError("this is no OpenAPI document of version 3")
    if not isinstance(document.get("paths"), dict):
        raise ValueError("this OpenAPI document has no paths")
    return data


def part_of_v2(document: Any, root: str) -> Part:
    """The paths below `/apis/GROUP/VERSION` and the definitions that they reach. Raises ValueError."""
    if not isinstance(document, dict) or document.get("swagger") != "2.0":
        raise ValueError("this is no OpenAPI document of version 2")
    given, definitions = document.get("paths"), document.get("definitions", {})
    if not isinstance(given, dict) or not isinstance(definitions, dict):
        raise ValueError("this OpenAPI document has no paths or definitions")
    shared = document.get("parameters") or {}
    paths = {
        path: _path_item(item, shared)
        for path, item in given.items()
        if f"{path}/".startswith(f"/{root}/") and isinstance(item, dict)
    }
    found: dict[str, Any] = {}
    left = set(_refs(paths, _V2_REF))
    while left:
        name = left.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            left |= set(_refs(found[name], _V2_REF))
    return {"paths": paths, "definitions": found}


def _path_item(item: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """With all that this server's own have, so that one writer can write both."""
    made: dict[str, Any] = {m: _operation(item[m], shared) for m in _METHODS if isinstance(item.get(m), dict)}
    if item.get("parameters"):
        made["parameters"] = [_parameter(each, shared) for each in item["parameters"]]
    return made


def _operation(operation: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: operation.get(name) or [] for name in ("tags", "produces", "consumes")}
    texts = {name: operation.get(name) or "" for name in ("description", "operationId")}
    responses = {
        code: {"description": "", **answer} for code, answer in (operation.get("responses") or {}).items()
    }
    parameters = [_parameter(each, shared) for each in operation.get("parameters") or ()]
    schemes = operation.get("schemes") or ["https"]
    return {
        **operation,
        **texts,
        **lists,
        "schemes": schemes,
        "parameters": parameters,
        "responses": responses,
    }


def _parameter(parameter: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter by itself, where Go's servers refer to what the document has for all its paths."""
    if "$ref" in parameter:
        parameter = shared[parameter["$ref"].removeprefix("#/parameters/")]
    if parameter.get("in") == "body":
        return {"name": "body", "schema": {}, **parameter}
    return {"description": "", "type": "string", **parameter}


def merged_v2(own: dict[str, Any], parts: Iterable[Part]) -> dict[str, Any]:
    """This server's document with the parts of others in it.

    A definition of a name that is taken by another one gets a number behind its name, as in kube-openapi.
    """
    paths, definitions = dict(own["paths"]), dict(own["definitions"])
    for part in parts:
        renamed = _renamed(part["definitions"], definitions)
        if renamed:
            part = _with_refs(part, {_V2_REF + old: _V2_REF + new for old, new in renamed.items()})
        for name, definition in part["definitions"].items():
            definitions.setdefault(renamed.get(name, name), definition)
        paths.update(part["paths"])
    return {**own, "paths": paths, "definitions": definitions}


def _renamed(theirs: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, str]:
    """New names for those of their definitions that are not what the same name means here."""
    renamed = {}
    for name, definition in theirs.items():
        if name.startswith("io.k8s.") and name in taken:
            continue  # what all share: theirs are of another release, and ours will do
        number, free = 2, name
        while free in taken and taken[free] != definition:
            free, number = f"{name}_v{number}", number + 1
        if free != name:
            renamed[name] = free
    return renamed


def v3_of(part: Part, title: str) -> bytes:
    """The document of version 3 that says what a part of one of version 2 says."""
    paths = {path: _item_v3(item) for path, item in part["paths"].items()}
    document = {
        "openapi": "3.0.0",
        "info": {"title": title, "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": part["definitions"]},
    }
    return msgspec.json.encode(_with_refs(document, {_V2_REF: _V3_REF}))


def _item_v3(item: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {m: _operation_v3(item[m]) for m in _METHODS if m in item}
    if "parameters" in item:
        made["parameters"] = [_parameter_v3(each) for each in item["parameters"]]
    return made


def _operation_v3(operation: Mapping[str, Any]) -> dict[str, Any]:
    gone = ("consumes", "produces", "schemes", "parameters", "responses")
    made = {name: value for name, value in operation.items() if name not in gone}
    bodies = [each for each in operation["parameters"] if each.get("in") == "body"]
    made["parameters"] = [_parameter_v3(each) for each in operation["parameters"] if each not in bodies]
    for body in bodies[:1]:
        content = {media: {"schema": body["schema"]} for media in operation["consumes"] or ["*/*"]}
        made["requestBody"] = {"content": content}
        if body.get("required"):
            made["requestBody"]["required"] = True
    made["responses"] = {code: _response_v3(r, operation) for code, r in operation["responses"].items()}
    return made


def _response_v3(response: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: value for name, value in response.items() if name != "schema"}
    if "schema" in response:
        media = operation["produces"] or ["application/json"]
        made["content"] = {each: {"schema": response["schema"]} for each in media}
    return made


def _parameter_v3(parameter: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("name", "in", "description", "required")
    made: dict[str, Any] = {name: parameter[name] for name in kept if name in parameter}
    made["schema"] = {n: v for n, v in parameter.items() if n in ("type", "format", "uniqueItems", "enum")}
    return made


def _refs(value: Any, prefix: str) -> Iterable[str]:
    if isinstance(value, dict):
        ref = value.get("$ref")
        if isinstance(ref, str) and ref.startswith(prefix):
            yield ref.removeprefix(prefix)
        for item in value.values():
            yield from _refs(item, prefix)
    elif isinstance(value, list):
        for item in value:
            yield from _refs(item, prefix)


def _with_refs(value: Any, prefixes: Mapping[str, str]) -> Any:
    """The value with its references changed: those that are a key of `prefixes`, or else begin with one."""
    if isinstance(value, dict):
        made = {name: _with_refs(item, prefixes) for name, item in value.items()}
        ref = made.get("$ref")
        if isinstance(ref, str):
            made["$ref"] = _ref(ref, prefixes)
        return made
    if isinstance(value, list):
        return [_with_refs(item, prefixes) for item in value]
    return value


def _ref(ref: str, prefixes: Mapping[str, str]) -> str:
    if ref in prefixes:
        return prefixes[ref]
    if _V2_REF in prefixes and ref.startswith(_V2_REF):
        return prefixes[_V2_REF] + ref.removeprefix(_V2_REF)
    return ref
