"""/healthz, /livez and /readyz: which checks there are, and what each says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sampan.apiserver.core.request import Request, Response

ROOTS: Final = frozenset({"healthz", "livez", "readyz"})
_TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = {"X-Content-Type-Options": "nosniff"}
# What the start does, by the names of kube-apiserver's hooks and in their order: scripts ask for them.
_HOOKS: Final = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
)
_ALWAYS: Final = ("ping", "log")


def names(root: str) -> list[str]:
    """The checks below an endpoint."""
    return list(_checks(root, ready=True, stored=True))


def lines(*, ready: bool, stored: bool) -> Iterator[str]:
    """What /metrics/slis tells: how each check is."""
    name = "kubernetes_healthcheck"
    yield f"# HELP {name} Whether a check is passed."
    yield f"# TYPE {name} gauge"
    for root in sorted(ROOTS):
        for check, well in sorted(_checks(root, ready=ready, stored=stored).items()):
            yield f'{name}{{name="{check}",type="{root}"}} {int(well)}'


def _checks(root: str, *, ready: bool, stored: bool) -> dict[str, bool]:
    checks = dict.fromkeys(_ALWAYS, True)
    if root != "readyz":
        checks["loopback-serving-certificate"] = True
    checks["etcd"] = stored
    if root == "readyz":
        checks |= {"etcd-readiness": stored, "informer-sync": ready}
    # A server that has not started yet lives all the same.
    checks |= dict.fromkeys(_HOOKS, ready or root == "livez")
    if root == "readyz":
        checks["shutdown"] = ready
    return checks


def answer(request: Request, *, ready: bool, stored: bool) -> Response | None:
    """The answer of a health endpoint; None where the path is none.

    `ready`: the start is done and the end has not begun. `stored`: what is read and written is the store's.
    """
    root, slash, name = request.path.removeprefix("/").partition("/")
    if root not in ROOTS or (slash and not name):
        return None
    checks = _checks(root, ready=ready, stored=stored)
    if name:
        if name not in checks:
            return None
        if checks[name]:
            return Response(body=b"ok", content_type=_TEXT)
        return _plain(500, f"internal server error: {name} failed\n")
    excluded = request.query_lists.get("exclude") or [request.query.get("exclude", "")]
    return _whole(root, checks, [given for given in excluded if given], "verbose" in request.query)


def _whole(root: str, checks: dict[str, bool], excluded: Sequence[str], verbose: bool) -> Response:
    lines, failed = [], []
    for name, well in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif well:
            lines.append(f"[+]{name} ok")
        else:
            failed.append(name)
            lines.append(f"[-]{name} failed: reason withheld")
    unknown = [name for name in excluded if name not in checks]
    if unknown:
        quoted = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    if failed:
        return _plain(500, "\n".join([*lines, f"{root} check failed", ""]))
    return _plain(200, "\n".join([*lines, f"{root} check passed", ""]) if verbose else "ok")


def _plain(code: int, text: str) -> Response:
    return Response(status=code, body=text.encode(), content_type=_TEXT, headers=dict(_HEADERS))
