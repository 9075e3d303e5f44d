"""What the user asked for, and what the cluster of a data directory is to be."""

from __future__ import annotations

import secrets
import socket
from typing import Final

import msgspec

from sampan.base.errors import SampanError
from sampan.cluster import config
from sampan.cluster.config import Layout, Settings
from sampan.cluster.lifecycle import end, unwritable
from sampan.schema.definitions import NEWEST

_OWN_NAMES: Final = frozenset(
    {"config.json", "config.new", "images", "kubeconfig", "logs", "nodes", "pki", "run", "store"}
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for; None where nothing was said."""

    nodes: int | None = None
    runtime: str | None = None
    kubernetes_version: str | None = None
    port: int | None = None
    load_balancer_pool: tuple[str, ...] | None = None
    audit_policy: str | None = None
    audit_log: str | None = None
    autoscaler_config: str | None = None
    descheduler_config: str | None = None
    encryption_config: str | None = None
    authentication_config: str | None = None
    scheduler_config: str | None = None
    runtime_config: tuple[str, ...] | None = None
    eviction_hard: tuple[str, ...] | None = None
    controller_manager_args: tuple[str, ...] | None = None


_MAY_CHANGE: Final = (
    "nodes",
    "port",
    "load_balancer_pool",
    "audit_policy",
    "audit_log",
    "autoscaler_config",
    "descheduler_config",
    "encryption_config",
    "authentication_config",
    "scheduler_config",
    "runtime_config",
    "eviction_hard",
    "controller_manager_args",
)


def settle(layout: Layout, wanted: Wanted) -> Settings:
    """The cluster's settings: the saved ones, or new ones from what was asked and what the machine offers.

    Raises SampanError where an existing cluster cannot become what was asked for.
    """
    known = config.load(layout)
    if known is None:
        _refuse_foreign(layout)
        return _new(layout, wanted)
    changed = {
        name: getattr(wanted, name)
        for name in ("runtime", "kubernetes_version")
        if getattr(wanted, name) is not None and getattr(wanted, name) != getattr(known, name)
    }
    for name, value in changed.items():
        raise SampanError(
            f"The cluster in {layout.root} was made with {name.replace('_', ' ')} {getattr(known, name)} and "
            f"cannot become {value}; use another --data-dir, or `sampan down --delete` first."
        )
    replaced = {name: getattr(wanted, name) for name in _MAY_CHANGE if getattr(wanted, name) is not None}
    settings = msgspec.structs.replace(known, **replaced)
    _check(settings)
    if settings != known:
        if settings.nodes < known.nodes:
            end(layout, known)  # a crash may have left the pods of a node that shall be no more
        _save(layout, settings)
    return settings


def _check(settings: Settings) -> None:
    if settings.runtime_config:
        from sampan.kinds.groups import switched_on

        switched_on(settings.runtime_config, settings.version)
    if settings.eviction_hard:
        from sampan.node.pressure.plan import thresholds, written

        try:
            thresholds(written(settings.eviction_hard))
        except ValueError as error:
            raise SampanError(f"--eviction-hard cannot be used: {error}.") from None
    if settings.controller_manager_args:
        from sampan.controllers import catalog, flags

        try:
            flags.with_flags(catalog.Settings(), settings.controller_manager_args)
        except ValueError as error:
            raise SampanError(f"--controller-manager-arg cannot be used: {error}.") from None


def _new(layout: Layout, wanted: Wanted) -> Settings:
    from sampan.cluster import preflight

    runtime = wanted.runtime or preflight.best_runtime()
    pods, services = config.free_ranges(preflight.routes())
    settings = Settings(
        id=secrets.token_hex(2),
        port=wanted.port or config.DEFAULT_PORT,
        kubernetes_version=wanted.kubernetes_version or NEWEST,
        runtime=runtime,
        nodes=wanted.nodes or 1,
        pod_range=pods,
        service_range=services,
        load_balancer_pool=wanted.load_balancer_pool or (),
        audit_policy=wanted.audit_policy or "",
        audit_log=wanted.audit_log or "",
        autoscaler_config=wanted.autoscaler_config or "",
        descheduler_config=wanted.descheduler_config or "",
        encryption_config=wanted.encryption_config or "",
        authentication_config=wanted.authentication_config or "",
        scheduler_config=wanted.scheduler_config or "",
        runtime_config=wanted.runtime_config or (),
        eviction_hard=wanted.eviction_hard or (),
        controller_manager_args=wanted.controller_manager_args or (),
    )
    _check(settings)
    preflight.demand(runtime)
    demand_port(settings.port)
    _save(layout, settings)
    return settings


def _save(layout: Layout, settings: Settings) -> None:
    try:
        config.save(layout, settings)
    except OSError as problem:
        raise unwritable(layout, problem) from problem


def _refuse_foreign(layout: Layout) -> None:
    """A directory with somebody else's files is not made into a data directory."""
    if not layout.root.exists():
        return
    if not layout.root.is_dir():
        raise SampanError(f"{layout.root} is not a directory; choose another --data-dir.")
    strange = strangers(layout)
    if strange:
        raise SampanError(
            f"{layout.root} holds {strange[0]!r} and no config.json, so it is not a Sampan data directory; "
            "choose an empty one with --data-dir."
        )


def strangers(layout: Layout) -> list[str]:
    """What lies in a data directory and was not put there by Sampan."""
    return sorted(p.name for p in layout.root.iterdir() if p.name not in _OWN_NAMES)


def demand_port(port: int) -> None:
    """Raises SampanError where somebody listens on the API server's port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            raise SampanError(
                f"Port {port} on 127.0.0.1 cannot be used ({problem.strerror}); choose another with --port, "
                "or stop what listens there."
            ) from problem
