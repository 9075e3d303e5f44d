"""What there is to know about an API kind: the one shape that every module of this layer fills.

The generic verbs know no kind; all that differs between kinds stands in its `Kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.machinery.field import FieldError
from sampan.machinery.schema_node import SchemaNode
from sampan.schema import codec
from sampan.schema.definitions import GroupVersionKind

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
# Groups whose objects may have finalizers without a domain.
_FREE_FINALIZERS: Final = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "node.k8s.io",
        "policy",
    }
)
# What is updated only on condition of the revision that it had.
_CONDITIONAL: Final = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "clustertrustbundles.certificates.k8s.io",
        "csidrivers.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "devicetaintrules.resource.k8s.io",
        "leases.coordination.k8s.io",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "podcertificaterequests.certificates.k8s.io",
        "poddisruptionbudgets.policy",
        "runtimeclasses.node.k8s.io",
        "storageversionmigrations.storagemigration.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "volumeattachments.storage.k8s.io",
    }
)
# Whose updates are asked for a generateName that makes names, as creates are.
_KEEPS_PREFIXES: Final = frozenset(
    {
        "apiservices.apiregistration.k8s.io",
        "clustertrustbundles.certificates.k8s.io",
        "configmaps",
        "controllerrevisions.apps",
        "csinodes.storage.k8s.io",
        "csistoragecapacities.storage.k8s.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "flowschemas.flowcontrol.apiserver.k8s.io",
        "ingressclasses.networking.k8s.io",
        "ingresses.networking.k8s.io",
        "ipaddresses.networking.k8s.io",
        "limitranges",
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        "resourceclaims.resource.k8s.io",
        "resourceclaimtemplates.resource.k8s.io",
        "runtimeclasses.node.k8s.io",
        "secrets",
        "serviceaccounts",
        "storageclasses.storage.k8s.io",
        "storageversionmigrations.storagemigration.k8s.io",
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "volumeattachments.storage.k8s.io",
        "volumeattributesclasses.storage.k8s.io",
    }
)
NAMESPACED: Final = True
CLUSTER: Final = False


class Column(msgspec.Struct, frozen=True):
    """A column of `kubectl get`. `value(object, now)` gives the cell; priority 1 shows with -o wide only."""

    name: str
    value: Callable[[Any, datetime], Any]
    type: str = "string"
    description: str = ""
    priority: int = 0
    format: str = ""


class Scale(msgspec.Struct, frozen=True):
    """How autoscaling/v1 Scale maps onto a kind."""

    get_replicas: Callable[[Any], int]
    set_replicas: Callable[[Any, int], None]
    status_replicas: Callable[[Any], int]
    selector: Callable[[Any], str]
    # Where the replicas stand in the object.
    path: tuple[str, ...] = ("spec", "replicas")


class SubresourceUpdate(msgspec.Struct, frozen=True):
    """An update through a subresource that takes the whole object, such as `status` or `resize`.

    `prepare(new, old)` puts back, in place, all that this subresource does not change. `validate(new, old)`
    gives what is wrong beside `Kind.validate`; None where the kind's own function for it serves
    (`validate_status_update`).
    """

    prepare: Callable[[Any, Any], None]
    validate: Callable[[Any, Any], list[FieldError]] | None = None


def _nothing(_obj: Any) -> None:
    return None


def _no_errors(_obj: Any) -> list[FieldError]:
    return []


def _no_update_errors(_new: Any, _old: Any) -> list[FieldError]:
    return []


def _no_prepare_update(_new: Any, _old: Any) -> None:
    return None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a version asks of objects that are stored in another one; see the same names in Kind.

    The functions take structs of the version that is stored.
    """

    name_errors: Callable[[str], list[str]] | None = None
    validate: Callable[[Any], list[FieldError]] = _no_errors
    validate_create: Callable[[Any], list[FieldError]] = _no_errors
    validate_update: Callable[[Any, Any], list[FieldError]] = _no_update_errors


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """An API kind in the version it is stored in.

    All functions take structs of the newest version's types. `default` runs on every object that comes in
    and must be idempotent; it fills the struct in place. `validate` gives every error at once;
    `validate_create` adds what is wrong with a new one only, `validate_update` what the new object may not
    change. `prepare_create` clears what a client may not set (status); `prepare_update` keeps what the main
    resource may not touch, and `subresource_updates` say it for subresources by their names. Status,
    generation and metadata are handled by the generic verbs from `status` and `generation`.
    """

    api_version: str
    kind: str
    plural: str
    singular: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = NAMESPACED
    verbs: tuple[str, ...] = ALL_VERBS
    # Whether there is a status subresource; the main resource then ignores changes of status.
    status: bool = False
    # Whether an update of the status leaves labels, annotations, owners and finalizers as they were.
    status_keeps_metadata: bool = False
    # Whether metadata.generation counts changes outside metadata and status.
    generation: bool = False
    scale: Scale | None = None
    default: Callable[[Any], None] = _nothing
    # Why an object of the right shape cannot be read all the same, as `strconv` tells it; "" where it can.
    unreadable: Callable[[Any], str] | None = None
    validate: Callable[[Any], list[FieldError]] = _no_errors
    validate_create: Callable[[Any], list[FieldError]] = _no_errors
    validate_update: Callable[[Any, Any], list[FieldError]] = _no_update_errors
    validate_status_update: Callable[[Any, Any], list[FieldError]] = _no_update_errors
    prepare_create: Callable[[Any], None] = _nothing
    prepare_update: Callable[[Any, Any], None] = _no_prepare_update
    # What an update that is wrong is told alone: the errors of the object as a "whole", or of its "change".
    told_alone: str = ""
    # What is worth a Warning header of a new object before `prepare_create` changes it.
    early_warnings: Callable[[Any], list[str]] | None = None
    # Whether an update is told what is wrong with the change before what is wrong with the object.
    change_first: bool = False
    # What is allowed and yet worth a Warning header: of a new object (old is None) or of an update.
    warnings: Callable[[Any, Any], list[str]] | None = None
    # Times that an update gives to what is new in it: the new object, the old one, and now.
    stamp_update: Callable[[Any, Any, datetime], None] | None = None
    subresource_updates: Mapping[str, SubresourceUpdate] = msgspec.field(default_factory=dict)
    # Which names are valid: a function of machinery.names giving a list of messages.
    name_errors: Callable[[str], list[str]] | None = None
    # Field selectors beside metadata.name and metadata.namespace.
    field_selectors: Mapping[str, Callable[[Any], str]] = msgspec.field(default_factory=dict)
    # A struct that has only what `field_selectors` read: each event of a kind of which somebody watches a
    # selection is looked at. None: they need the whole object.
    selected: type[msgspec.Struct] | None = None
    columns: tuple[Column, ...] = ()
    # Seconds of grace that a delete without options gives; only Pods have any.
    grace_period_s: Callable[[Any, int | None], int] | None = None
    # Other (group/version)s of the same shape, and their kinds where those differ.
    also_served: tuple[str, ...] = ()
    # The name under which objects are stored, where this is a further version of that kind.
    stored_as: GroupVersionKind | None = None
    # What this further version asks of objects, where that is not what the stored version does.
    rules: Rules | None = None
    # Subresources beside status and scale, for discovery: ("pods/log", "Pod", ("get",)) …
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    # An object that the verbs never store: reviews, bindings, evictions.
    virtual: bool = False
    # A finalizer that a delete sets, for what has to be done before the object may go.
    delete_finalizer: str = ""
    # The type of its objects where it is no published one.
    own_type: Any = None
    # Removes, in place, what the schema does not specify, and gives the paths of that.
    prune: Callable[[Any], list[str]] | None = None
    # Everything that a change makes wrong, in place of `validate` and `validate_update`.
    validate_change: Callable[[Any, Any], list[FieldError]] | None = None
    # The schema as server-side apply asks it, where it is no published one.
    merging: Callable[[], SchemaNode] | None = None

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        return self.api_version.rpartition("/")[2]

    @property
    def gvk(self) -> GroupVersionKind:
        return GroupVersionKind(self.group, self.version, self.kind)

    @property
    def qualified_finalizers(self) -> bool:
        """Whether finalizers must name a domain, but for Kubernetes' own."""
        if self.own_type is not None or self.kind == "Event":
            return False
        return self.group not in _FREE_FINALIZERS

    @property
    def conditional(self) -> bool:
        """Whether an update must name the revision that it is based on."""
        return self.own_type is not None or self.resource in _CONDITIONAL

    @property
    def keeps_prefixes(self) -> bool:
        """Whether an update must leave a generateName from which names can be made."""
        return self.resource in _KEEPS_PREFIXES

    @property
    def resource(self) -> str:
        """`deployments.apps`: the name errors and RBAC use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def type(self) -> Any:
        """The struct of the kind."""
        return self.own_type if self.own_type is not None else codec.types().of_kind(self.gvk)


def age(obj: Any, now: datetime) -> str:
    """The AGE cell, as kubectl's HumanDuration writes it."""
    created = obj.metadata.creationTimestamp
    return "<unknown>" if created is None else human_duration((now - created).total_seconds())


def human_duration(total_s: float) -> str:
    """`90s`, `5m30s`, `3h`, `2d4h`, `400d`: k8s.io/apimachinery/pkg/util/duration.HumanDuration."""
    seconds = int(total_s)
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


_NAME_TEXT: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some "
    "resources may allow a client to request the generation of an appropriate name automatically. Name "
    "is primarily intended for creation idempotence and configuration definition. Cannot be updated. "
    "More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_AGE_TEXT: Final = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is "
    "not guaranteed to be set in happens-before order across separate operations. Clients may not set "
    "this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. "
    "Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)

NAME: Final = Column(
    "Name",
    lambda obj, _now: obj.metadata.name,
    format="name",
    description=_NAME_TEXT,
)
AGE: Final = Column("Age", age, description=_AGE_TEXT)
