"""An API server small enough for the node's tests, and builders of pods."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sampan.client.client import Client
from sampan.client.transport import Reply
from sampan.schema import api, codec


class FakeApi:
    """Implements `Transport` over a dict: get, list, watch, create, update, patch, delete, token requests."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.tokens = 0
        self._revision = itertools.count(1)
        self._uids = itertools.count(1)
        self._watchers: list[tuple[str, str, asyncio.Queue[bytes]]] = []

    @property
    def client(self) -> Client:
        return Client(self)

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        self.requests.append((method, path))
        given = json.loads(body) if body else {}
        if method == "POST" and path.endswith("/token"):
            self.tokens += 1
            given["status"] = {"token": f"token-{self.tokens}", "expirationTimestamp": None}
            return _reply(201, given)
        if method == "POST":
            return self._create(path, given)
        base = path.removesuffix("/status")
        if base not in self.objects:
            if method == "GET" and path.rsplit("/", 1)[1].islower() and _is_collection(path):
                return self._list(path, query or {})
            return _status(404, "NotFound", f"{path} not found")
        if method == "GET":
            return _reply(200, self.objects[base])
        if method == "DELETE":
            return self._delete(base, given)
        return self._change(base, path, given, method)

    def _create(self, path: str, given: dict[str, Any]) -> Reply:
        if "name" not in given["metadata"]:
            before = sum(known.startswith(f"{path}/") for known in self.objects)
            given["metadata"]["name"] = f"{given['metadata']['generateName']}{before}"
        name = given["metadata"]["name"]
        full = f"{path}/{name}"
        if full in self.objects:
            return _status(409, "AlreadyExists", f"{name} already exists")
        given["metadata"].setdefault("uid", f"uid-{next(self._uids)}")
        self._put(full, given, "ADDED")
        return _reply(201, given)

    def _list(self, path: str, query: Mapping[str, str]) -> Reply:
        fields = query.get("fieldSelector", "")
        items = [o for p, o in self.objects.items() if _matches(p, o, path, fields)]
        return _reply(200, {"metadata": {"resourceVersion": str(next(self._revision))}, "items": items})

    def _change(self, base: str, path: str, given: dict[str, Any], method: str) -> Reply:
        old = self.objects[base]
        uid = given.get("metadata", {}).get("uid")
        if uid and uid != old["metadata"].get("uid"):
            return _status(409, "Conflict", "the uid differs")
        new = given if method == "PUT" else _merge(old, given)
        new["metadata"]["uid"] = old["metadata"].get("uid")
        self._put(base, new, "MODIFIED")
        return _reply(200, new)

    def _delete(self, base: str, options: dict[str, Any]) -> Reply:
        old = self.objects[base]
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != old["metadata"].get("uid"):
            return _status(409, "Conflict", "the uid differs")
        if options.get("gracePeriodSeconds") == 0 or "/pods/" not in base:
            self.remove(base)
        return _reply(200, {})

    def remove(self, path: str) -> None:
        old = self.objects.pop(path)
        old["metadata"]["resourceVersion"] = str(next(self._revision))
        self._tell(path, old, "DELETED")

    def _put(self, path: str, obj: dict[str, Any], type_: str) -> None:
        obj = json.loads(json.dumps(obj))
        obj["metadata"]["resourceVersion"] = str(next(self._revision))
        self.objects[path] = obj
        self._tell(path, obj, type_)

    def _tell(self, path: str, obj: dict[str, Any], type_: str) -> None:
        line = json.dumps({"type": type_, "object": obj}).encode()
        for collection, fields, queue in self._watchers:
            if _matches(path, obj, collection, fields):
                queue.put_nowait(line)

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        entry = (path, (query or {}).get("fieldSelector", ""), queue)
        self._watchers.append(entry)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(entry)

    async def close(self) -> None:
        return None

    # --- for tests ------------------------------------------------------------------------------------

    def put(self, path: str, obj: Any) -> None:
        """Create or replace, as somebody else would."""
        self._put(path, codec.to_builtins(obj), "MODIFIED" if path in self.objects else "ADDED")

    def pod(self, name: str, namespace: str = "default") -> api.Pod:
        return codec.from_builtins(self.objects[f"/api/v1/namespaces/{namespace}/pods/{name}"], api.Pod)

    def mark_deleted(self, name: str, grace_s: int = 30, namespace: str = "default") -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        meta = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace_s}
        self._put(path, _merge(self.objects[path], {"metadata": meta}), "MODIFIED")


def _is_collection(path: str) -> bool:
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    return len(rest) in (1, 3) and (len(rest) == 1 or rest[0] == "namespaces")


def _matches(path: str, obj: dict[str, Any], collection: str, fields: str) -> bool:
    meta = obj["metadata"]
    plural = collection.rsplit("/", 1)[1]
    if path.rsplit("/", 2)[1] != plural:
        return False
    if "/namespaces/" in collection and not path.startswith(collection + "/"):
        return False
    for term in filter(None, fields.split(",")):
        different = "!=" in term
        key, _, value = term.replace("!=", "=").partition("=")
        spec = obj.get("spec", {})
        held = {
            "metadata.name": meta["name"],
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.driver": spec.get("driver", ""),
        }[key]
        if (held == value) is different:
            return False
    return True


def _merge(old: Any, patch: Any) -> Any:
    """A strategic merge for conditions (by type), and a JSON merge for everything else."""
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif key == "conditions":
            by_type = {c["type"]: c for c in old.get(key, ())}
            for condition in value:
                by_type[condition["type"]] = condition
            merged[key] = list(by_type.values())
        elif isinstance(value, list):
            merged[key] = [v for v in value if not (isinstance(v, dict) and "$patch" in v)]
        else:
            merged[key] = _merge(old.get(key, {}), value)
    return merged


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, {}, json.dumps(body).encode())


def _status(code: int, reason: str, message: str) -> Reply:
    return _reply(code, {"kind": "Status", "code": code, "reason": reason, "message": message})


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", "imagePullPolicy": "IfNotPresent", **fields}


def make_pod(
    name: str = "web",
    *,
    node: str = "node-1",
    containers: list[dict[str, Any]] | None = None,
    meta: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> api.Pod:
    """A pod as the API server would give it to the node."""
    return codec.from_builtins(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": f"{name}-uid",
                "generation": 1,
                **(meta or {}),
            },
            "spec": {
                "nodeName": node,
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "containers": containers if containers is not None else [container()],
                **spec,
            },
            "status": {"phase": "Pending", "qosClass": "BestEffort", **(status or {})},
        },
        api.Pod,
    )


def pod_path(name: str = "web", namespace: str = "default") -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{name}"
