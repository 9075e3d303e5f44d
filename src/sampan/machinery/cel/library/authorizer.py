"""Kubernetes' CEL functions that ask whether the requester, or a service account, may do something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sampan.machinery import names
from sampan.machinery.cel.values import CelError, Opaque


class Question(NamedTuple):
    """What is asked. `service_account` is (namespace, name), or None for the requester."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


Ask = Callable[[Question], tuple[bool, str]]


class Authorizer(Opaque):
    """Asks `ask`, which answers (allowed, reason)."""

    __slots__ = ("account", "ask")
    type_name = "kubernetes.authorization.Authorizer"

    def __init__(self, ask: Ask, account: tuple[str, str] | None = None) -> None:
        self.ask = ask
        self.account = account


class Check(Opaque):
    """A question without its verb."""

    __slots__ = ("ask", "question", "type_name")

    def __init__(self, ask: Ask, question: Question, kind: str) -> None:
        self.ask = ask
        self.question = question
        self.type_name = f"kubernetes.authorization.{kind}"


class Decision(Opaque):
    """An answer."""

    __slots__ = ("allowed", "error", "reason")
    type_name = "kubernetes.authorization.Decision"

    def __init__(self, allowed: bool, reason: str) -> None:
        self.allowed = allowed
        self.reason = reason
        self.error = ""


def resource_check(ask: Ask, question: Question) -> Check:
    """The value of `authorizer.requestResource`."""
    return Check(ask, question, "ResourceCheck")


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns1123_subdomain(name):
        raise CelError("Invalid service account name")
    if names.dns1123_label(namespace):
        raise CelError("Invalid service account namespace")
    return Authorizer(authorizer.ask, (namespace, name))


def _path(authorizer: Authorizer, path: str) -> Check:
    if not path:
        raise CelError("path must not be empty")
    return Check(authorizer.ask, Question("", path=path, service_account=authorizer.account), "PathCheck")


def _group(authorizer: Authorizer, group: str) -> Check:
    return Check(authorizer.ask, Question("", group=group, service_account=authorizer.account), "GroupCheck")


def _part(field: str) -> Callable[[Check, str], Check]:
    return lambda check, value: resource_check(
        check.ask, Question(**{**check.question._asdict(), field: value})
    )


def _check(check: Check, verb: str) -> Decision:
    return Decision(*check.ask(check.question._replace(verb=verb)))


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "path": _path,
    "group": _group,
    "serviceAccount": _service_account,
    "resource": _part("resource"),
    "subresource": _part("subresource"),
    "namespace": _part("namespace"),
    "name": _part("name"),
    "fieldSelector": _part("field_selector"),
    "labelSelector": _part("label_selector"),
    "check": _check,
    "allowed": lambda decision: decision.allowed,
    "reason": lambda decision: decision.reason,
    "errored": lambda decision: bool(decision.error),
    "error": lambda decision: decision.error,
}
_A = "kubernetes.authorization"
DECLARATIONS: Final = (
    f"{_A}.Authorizer.path(string) {_A}.PathCheck",
    f"{_A}.Authorizer.group(string) {_A}.GroupCheck",
    f"{_A}.Authorizer.serviceAccount(string, string) {_A}.Authorizer",
    f"{_A}.GroupCheck.resource(string) {_A}.ResourceCheck",
    *(
        f"{_A}.ResourceCheck.{name}(string) {_A}.ResourceCheck"
        for name in ("subresource", "namespace", "name", "fieldSelector", "labelSelector")
    ),
    *(f"{_A}.{kind}.check(string) {_A}.Decision" for kind in ("PathCheck", "ResourceCheck")),
    f"{_A}.Decision.allowed() bool",
    f"{_A}.Decision.reason() string",
    f"{_A}.Decision.errored() bool",
    f"{_A}.Decision.error() string",
)
