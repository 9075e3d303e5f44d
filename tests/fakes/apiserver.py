"""A dict-backed API server for tests of clients and controllers: REST and watch, no kinds, no validation.

It keeps what matters to a controller: one revision counter, optimistic concurrency, generation, the status
subresource, finalizers, preconditions, generated names, label and field selectors, and a watch history
that can be cut off (410).
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from sampan.client.errors import ApiError, error_from
from sampan.client.transport import Reply
from sampan.kinds import registry
from sampan.machinery import selectors
from sampan.schema import codec

Json = dict[str, Any]


class Refuse(Exception):
    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.details = code, reason, details or {}


class FakeServer:
    """A `Transport` whose server is a dict of JSON objects by path."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.objects: dict[str, Json] = {}
        self.revision = 0
        self.floor = 0
        self.requests: list[tuple[str, str]] = []
        self.down = False
        # Called with (method, path, body) before a request is served; may raise `Refuse` or ConnectionError.
        self.intercept: Callable[[str, str, Json], None] = lambda _method, _path, _body: None
        self._now = now or (lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self._history: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Event()
        self._names = 0

    # -- Transport ---------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Reply:
        await asyncio.sleep(0)
        if self.down:
            raise ConnectionRefusedError("the fake server is down")
        self.requests.append((method, path))
        given: Json = json.loads(body) if body else {}
        try:
            self.intercept(method, path, given)
            status, answer = self._serve(method, path, dict(query or {}), given)
        except Refuse as refused:
            status, answer = refused.code, _failure(refused)
        return Reply(status, {}, json.dumps(answer).encode())

    async def stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        if self.down:
            raise ConnectionRefusedError("the fake server is down")
        asked = dict(query or {})
        position = int(asked.get("resourceVersion") or self.revision)
        if position < self.floor:
            raise error_from(
                410, json.dumps(_failure(Refuse(410, "Expired", "too old resource version"))).encode()
            )
        self.requests.append(("WATCH", path))
        while not self.down:
            changed, upto = self._changed, self.revision
            for revision, kind, where, obj in list(self._history):
                if position < revision <= upto and _within(path, where) and _selected(obj, asked):
                    yield json.dumps({"type": kind, "object": obj}).encode() + b"\n"
            if upto > position and asked.get("allowWatchBookmarks"):
                mark = {"metadata": {"resourceVersion": str(upto)}}
                yield json.dumps({"type": "BOOKMARK", "object": mark}).encode()
            position = upto
            await changed.wait()

    async def close(self) -> None:
        self.disconnect()

    # -- what tests do -----------------------------------------------------------------------------

    def disconnect(self) -> None:
        """End every watch; new requests fail until `down` is False again."""
        self.down = True
        self._wake()

    def forget_history(self) -> None:
        """Compact: a watch from before now is answered with 410."""
        self.floor = self.revision
        self._history.clear()

    def put(self, obj: Any) -> Json:
        """Store an object as it is (struct or dict), around every rule."""
        data = obj if isinstance(obj, dict) else codec.to_builtins(obj)
        path = self.path_of(data)
        return self._store(path, data, "MODIFIED" if path in self.objects else "ADDED")

    def drop(self, path: str) -> None:
        """Remove an object around every rule."""
        self._remove(path)

    def path_of(self, data: Json) -> str:
        version = data["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = data["metadata"].get("namespace")
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{where}/{_plural(data['kind'])}/{data['metadata']['name']}"

    def of_kind(self, kind: str) -> list[Json]:
        return [obj for obj in self.objects.values() if obj.get("kind") == kind]

    # -- verbs -------------------------------------------------------------------------------------

    def _serve(self, method: str, path: str, query: Json, body: Json) -> tuple[int, Json]:
        path = unquote(path)
        base, subresource = _split(path)
        if method == "GET":
            return 200, self._read(path, query)
        if method == "POST":
            if subresource == "eviction":
                return 201, self._delete(base, body.get("deleteOptions") or {})
            return 201, self._create(path, body)
        if method == "DELETE" and not _is_object(base):
            for where in [one for one in sorted(self.objects) if _within(path, one)]:
                self._delete(where, body)
            return 200, {"kind": "List", "apiVersion": "v1", "items": []}
        old = self.objects.get(base)
        if old is None:
            raise Refuse(404, "NotFound", f"{path} not found")
        if method == "DELETE":
            return 200, self._delete(path, body)
        if method == "PATCH":
            _guard(old, body.get("metadata") or {})
            body = _merge(old, body)
        return 200, self._update(base, subresource, old, body)

    def _read(self, path: str, query: Json) -> Json:
        if path in self.objects:
            return self.objects[path]
        if path == "/apis":
            return _groups()
        if path == "/api/v1" or (path.count("/") == 3 and path.startswith("/apis/")):
            return _resources(path.removeprefix("/apis/").removeprefix("/api/"))
        if _is_object(path):
            raise Refuse(404, "NotFound", f"{path} not found")
        items = [
            o for where, o in sorted(self.objects.items()) if _within(path, where) and _selected(o, query)
        ]
        meta = {"resourceVersion": str(self.revision)}
        return {"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items}

    def _create(self, path: str, body: Json) -> Json:
        meta = body.setdefault("metadata", {})
        if not meta.get("name"):
            self._names += 1
            meta["name"] = f"{meta.get('generateName', '')}{self._names:05d}"
        if "/namespaces/" in path:
            meta["namespace"] = path.split("/namespaces/")[1].split("/")[0]
        where = f"{path}/{meta['name']}"
        if where in self.objects:
            raise Refuse(409, "AlreadyExists", f"{where} already exists")
        meta["uid"] = f"uid-{self.revision + 1}"
        meta["creationTimestamp"] = _stamp(self._now())
        meta["generation"] = 1
        return self._store(where, body, "ADDED")

    def _update(self, path: str, subresource: str, old: Json, body: Json) -> Json:
        _guard(old, body.get("metadata") or {})
        new = copy.deepcopy(body)
        if subresource == "status":
            new = {**copy.deepcopy(old), "status": new.get("status", {})}
        elif subresource == "finalize":
            new = {**copy.deepcopy(old), "spec": new.get("spec", {})}
        else:
            new.setdefault("metadata", {})
            for name in ("uid", "creationTimestamp", "deletionTimestamp", "namespace", "name", "generation"):
                if name in old["metadata"]:
                    new["metadata"][name] = old["metadata"][name]
            if "status" in old:
                new["status"] = copy.deepcopy(old["status"])
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not _held(new):
            self._remove(path)
            return new
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return old
        return self._store(path, new, "MODIFIED")

    def _delete(self, path: str, options: Json) -> Json:
        old = self.objects.get(path)
        if old is None:
            raise Refuse(404, "NotFound", f"{path} not found")
        _guard(old, options.get("preconditions") or {}, delete=True)
        new = copy.deepcopy(old)
        meta = new["metadata"]
        added = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(
            options.get("propagationPolicy") or ""
        )
        if added and added not in meta.get("finalizers", ()):
            meta.setdefault("finalizers", []).append(added)
        if meta.get("finalizers") or _held(new) or self._graceful(new, options):
            if meta.get("deletionTimestamp"):
                return old
            meta["deletionTimestamp"] = _stamp(self._now())
            if new.get("kind") == "Namespace":
                new.setdefault("status", {})["phase"] = "Terminating"
            return self._store(path, new, "MODIFIED")
        self._remove(path)
        return new

    def _graceful(self, obj: Json, options: Json) -> bool:
        scheduled = obj.get("kind") == "Pod" and obj.get("spec", {}).get("nodeName")
        return bool(scheduled) and options.get("gracePeriodSeconds") != 0

    # -- storage -----------------------------------------------------------------------------------

    def _store(self, path: str, obj: Json, event: str) -> Json:
        self.revision += 1
        stored = copy.deepcopy(obj)
        stored["metadata"]["resourceVersion"] = str(self.revision)
        stored["metadata"].setdefault("uid", f"uid-{self.revision}")
        self.objects[path] = stored
        self._record(event, path, stored)
        return stored

    def _remove(self, path: str) -> None:
        self.revision += 1
        last = copy.deepcopy(self.objects.pop(path))
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._record("DELETED", path, last)

    def _record(self, event: str, path: str, obj: Json) -> None:
        self._history.append((self.revision, event, path, obj))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _groups() -> Json:
    groups = []
    for group in registry.groups():
        versions = [
            {"groupVersion": f"{group.name}/{version}", "version": version} for version in group.versions
        ]
        if group.name:
            groups.append({"name": group.name, "versions": versions, "preferredVersion": versions[0]})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(api_version: str) -> Json:
    group, _, version = api_version.rpartition("/")
    resources = [
        {
            "name": kind.plural,
            "kind": kind.kind,
            "namespaced": kind.namespaced,
            "singularName": "",
            "verbs": [] if kind.virtual else list(kind.verbs),
        }
        for kind in registry.kinds_of(group, version)
    ]
    return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}


def _failure(refused: Refuse) -> Json:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": refused.code,
        "reason": refused.reason,
        "message": str(refused),
        "details": refused.details,
    }


def _held(obj: Json) -> bool:
    return obj.get("kind") == "Namespace" and bool(obj.get("spec", {}).get("finalizers"))


def _guard(old: Json, given: Json, delete: bool = False) -> None:
    for name in ("uid", "resourceVersion"):
        if given.get(name) and given[name] != old["metadata"].get(name):
            raise Refuse(409, "Conflict", f"{name} is {old['metadata'].get(name)}, not {given[name]}")


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return copy.deepcopy(merged)


def _plural(kind: str) -> str:
    lower = kind.lower()
    if lower == "endpoints":
        return lower
    return lower[:-1] + "ies" if lower.endswith("y") else lower + ("es" if lower.endswith("ss") else "s")


def _parts(path: str) -> list[str]:
    parts = path.strip("/").split("/")
    return parts[2:] if parts[0] == "api" else parts[3:]


def _is_object(path: str) -> bool:
    rest = _parts(path)
    if rest and rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    return len(rest) > 1


def _split(path: str) -> tuple[str, str]:
    for end in ("status", "finalize", "eviction", "scale", "binding"):
        if path.endswith("/" + end):
            return path[: -len(end) - 1], end
    return path, ""


def _within(collection: str, path: str) -> bool:
    parent = path.rsplit("/", 1)[0]
    if parent == collection:
        return True
    root, _, plural = collection.rpartition("/")
    rest = parent.removeprefix(root + "/namespaces/") if parent.startswith(root + "/namespaces/") else ""
    return rest.count("/") == 1 and rest.split("/")[1] == plural


def _selected(obj: Json, query: Json) -> bool:
    labels = query.get("labelSelector")
    if labels and not selectors.parse(labels).matches(obj["metadata"].get("labels") or {}):
        return False
    for term in filter(None, (query.get("fieldSelector") or "").split(",")):
        path, _, value = term.partition("=")
        found: Any = obj
        for step in path.split("."):
            found = (found or {}).get(step)
        if (found or "") != value.lstrip("="):
            return False
    return True


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["ApiError", "FakeServer", "Refuse"]
