"""What webhooks and policies see of one write, in whatever version they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.apiserver.core.authz import Authorizer
from sampan.apiserver.core.bodies import Bodies
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.resource import Resource, Resources
from sampan.apiserver.core.updating import keep_all_but_status
from sampan.apiserver.core.users import User
from sampan.apiserver.core.webhooks.client import WebhookClient
from sampan.apiserver.core.webhooks.services import ServiceAddresses
from sampan.base.ids import Ids
from sampan.kinds.kind import Kind
from sampan.schema import api, codec
from sampan.schema.custom import CustomObject

_OPERATIONS: Final = {"create": "CREATE", "update": "UPDATE", "delete": "DELETE", "connect": "CONNECT"}
_OPTIONS: Final = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}


class Parts(msgspec.Struct, frozen=True):
    """What the dynamic part of admission needs of its API server."""

    resources: Resources
    bodies: Bodies
    authorizer: Authorizer
    ids: Ids
    client: WebhookClient
    services: ServiceAddresses


class Foreign:
    """An object of another kind than the resource it is sent to: an Eviction, a Scale, PodExecOptions."""

    def __init__(self, api_version: str, kind: str, document: dict[str, Any]) -> None:
        self.api_version = api_version
        self.kind = kind
        self.document = {"kind": kind, "apiVersion": api_version, **document}


class Subject:
    """One write on its way through the dynamic part of admission."""

    def __init__(
        self, context: Context, verb: str, subresource: str, namespace: str, obj: Any, old: Any, parts: Parts
    ) -> None:
        self.context = context
        self.verb = verb
        self.operation = _OPERATIONS[verb]
        self.subresource = subresource
        self.resource = context.resource
        self.served = context.served
        self.foreign = obj if isinstance(obj, Foreign) else None
        self.obj: Any = None if self.foreign is not None else obj
        self.old = old
        metadata = (obj if obj is not None else old).metadata if self.foreign is None else None
        self.name: str = (metadata.name if metadata is not None else "") or context.target.name
        is_namespace = self.resource.kind.plural == "namespaces" and not self.resource.kind.group
        # As in Kubernetes, a Namespace lies in itself.
        self.namespace = self.name if is_namespace else namespace
        self.is_namespace = is_namespace
        self._resources = parts.resources
        self._bodies = parts.bodies
        self._documents: dict[str, Any] = {}
        self._old_documents: dict[str, Any] = {}
        self._namespace_object: Any = None

    @property
    def user(self) -> User:
        return self.context.user

    @property
    def cluster_scoped(self) -> bool:
        return not self.namespace or self.is_namespace

    # -- documents -----------------------------------------------------------------------------------

    def document(self, version: Resource) -> dict[str, Any] | None:
        """The object as JSON in one of its versions; None where there is none (a deletion)."""
        if self.foreign is not None:
            return self.foreign.document
        return self._document(self.obj, version, self._documents)

    def old_document(self, version: Resource) -> dict[str, Any] | None:
        """The object before the write, likewise."""
        return self._document(self.old, version, self._old_documents)

    def _document(
        self, obj: Any, version: Resource, known: dict[str, dict[str, Any]]
    ) -> dict[str, Any] | None:
        if obj is None or isinstance(obj, Foreign):
            return obj.document if obj is not None else None
        found = known.get(version.api_version)
        if found is None:
            own = version.from_hub(codec.copy(obj)) if version.converts else obj
            found = {"kind": version.kind.kind, "apiVersion": version.api_version}
            known[version.api_version] = found = found | {
                key: value for key, value in codec.to_builtins(own).items() if key not in found
            }
        return found

    def replace(self, document: dict[str, Any], version: Resource) -> None:
        """Take what a webhook or policy made of the object. Raises StatusError where it is no such object."""
        self._documents.clear()
        if self.foreign is not None:
            self.foreign.document = document
            return
        quiet = msgspec.structs.replace(self.context, field_validation="Ignore")
        new = self._bodies.decode_data(msgspec.json.encode(document), quiet, version)
        hub = version.to_hub(new) if version.converts else new
        self._keep(hub)
        if isinstance(self.obj, CustomObject):
            self.obj.metadata, self.obj.content = hub.metadata, hub.content
            return
        for name in hub.__struct_fields__:
            setattr(self.obj, name, getattr(hub, name))

    def renew(self) -> None:
        """The object was changed in place."""
        self._documents.clear()

    def _keep(self, new: Any) -> None:
        """What this write cannot change stays, whatever a webhook says."""
        obj, kind = self.obj, self.resource.kind
        new.kind, new.apiVersion = obj.kind, obj.apiVersion
        metadata, kept = new.metadata, obj.metadata
        for name in ("uid", "namespace", "resourceVersion", "generation", "creationTimestamp"):
            setattr(metadata, name, getattr(kept, name))
        metadata.deletionTimestamp = kept.deletionTimestamp
        metadata.deletionGracePeriodSeconds = kept.deletionGracePeriodSeconds
        if self.subresource == "status":
            keep_all_but_status(new, obj)
        elif self.verb == "create":
            kind.prepare_create(new)
        elif kind.status and not self.subresource:
            new.status = obj.status

    # -- names ---------------------------------------------------------------------------------------

    def versions(self) -> Sequence[Resource]:
        """The resource as it was asked for, then the same objects in their other versions."""
        others = (each for each in self._resources.versions(self.resource) if each is not self.served)
        return (self.served, *others)

    def gvk(self, version: Resource) -> dict[str, str]:
        """`kind` of an AdmissionRequest."""
        if self.foreign is not None:
            group, _, number = self.foreign.api_version.rpartition("/")
            return {"group": group, "version": number, "kind": self.foreign.kind}
        return {"group": version.kind.group, "version": version.kind.version, "kind": version.kind.kind}

    def options(self) -> dict[str, Any]:
        """The options of the request."""
        context = self.context
        made: dict[str, Any] = {"apiVersion": "meta.k8s.io/v1"}
        if self.verb == "connect":
            return self.foreign.document if self.foreign is not None else {}
        known = _OPTIONS.get(context.target.verb if not self.foreign else self.verb)
        made["kind"] = known or _OPTIONS[self.verb]
        if context.dry_run:
            made["dryRun"] = ["All"]
        if made["kind"] != "DeleteOptions":
            made["fieldManager"] = context.manager
        return made

    def request(self, uid: str, version: Resource) -> dict[str, Any]:
        """An AdmissionRequest without objects."""
        user = self.user
        info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
        if user.uid:
            info["uid"] = user.uid
        if user.extra:
            info["extra"] = {key: list(values) for key, values in user.extra.items()}
        made: dict[str, Any] = {
            "uid": uid,
            "kind": self.gvk(version),
            "resource": _gvr(version.kind),
            "requestKind": self.gvk(self.served),
            "requestResource": _gvr(self.served.kind),
            "operation": self.operation,
            "userInfo": info,
            "dryRun": self.context.dry_run,
            "options": self.options(),
        }
        if self.subresource:
            made["subResource"] = made["requestSubResource"] = self.subresource
        if self.name:
            made["name"] = self.name
        if self.namespace:
            made["namespace"] = self.namespace
        return made

    # -- labels --------------------------------------------------------------------------------------

    def labels(self) -> tuple[dict[str, str] | None, dict[str, str] | None]:
        """The labels of the object and of the old one; None where there is no such object with metadata."""
        if self.foreign is not None:
            metadata = self.foreign.document.get("metadata")
            return (metadata.get("labels") or {} if metadata is not None else None), None
        return (
            self.obj.metadata.labels if self.obj is not None else None,
            self.old.metadata.labels if self.old is not None else None,
        )

    def namespace_object(self) -> Any:
        """The Namespace that the object is in, or that it is; None where it is in none."""
        if not self.namespace:
            return None
        if self.is_namespace and self.obj is not None:
            return self.obj
        if self._namespace_object is None:
            resource = self._resources.of(api.Namespace)
            item = resource.cache.get("", self.namespace)
            if item is not None:
                self._namespace_object = resource.decode_stored(item.data)
        return self._namespace_object


def _gvr(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "resource": kind.plural}
