"""`sampan up` and `sampan down`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from sampan.base.errors import SampanError
from sampan.cli.progress import Steps
from sampan.cluster import asked, config, lifecycle, preflight, readiness
from sampan.cluster.config import Layout, Settings
from sampan.cluster.teardown import delete_data

CONTEXT: Final = "sampan"


def up(layout: Layout, options: argparse.Namespace) -> int:
    """Start the cluster and wait until it works; says so when it is up already."""
    steps = Steps()
    if options.apply:
        from sampan.cluster import documents

        documents.read(options.apply)  # what is broken is said before anything is made
    if lifecycle.is_up(layout):
        return _already_up(layout, options)
    runtime = preflight.best_runtime() if options.runtime in (None, "auto") else options.runtime
    fresh = config.load(layout) is None
    wanted = asked.Wanted(
        nodes=options.nodes,
        runtime=runtime if fresh or options.runtime not in (None, "auto") else None,
        kubernetes_version=options.kubernetes_version,
        port=options.port,
        load_balancer_pool=tuple(options.load_balancer_pool) if options.load_balancer_pool else None,
        audit_policy=_file(options.audit_policy),
        audit_log=_file(options.audit_log),
        autoscaler_config=_file(options.autoscaler_config),
        descheduler_config=_file(options.descheduler_config),
        encryption_config=_file(options.encryption_config),
        authentication_config=_file(options.authentication_config),
        scheduler_config=_file(options.scheduler_config),
        runtime_config=options.runtime_config,
        eviction_hard=options.eviction_hard,
        controller_manager_args=tuple(options.controller_manager_arg)
        if options.controller_manager_arg is not None
        else None,
    )
    _check_files(wanted)
    settings = asked.settle(layout, wanted)
    if not fresh:
        preflight.demand(settings.runtime)
        asked.demand_port(settings.port)
    since = lifecycle.now()
    process = lifecycle.start(layout, settings, detached=not options.foreground, fresh=fresh)
    try:
        _see_through(layout, settings, steps, since, options, process)
    except KeyboardInterrupt:
        if not options.foreground:
            raise
        lifecycle.stop(layout)
        process.wait()
    return 0


def _file(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser().absolute())


def _check_files(wanted: asked.Wanted) -> None:
    """What is broken is said before anything is made."""
    if wanted.audit_policy:
        from sampan.cluster import audit

        audit.load(Path(wanted.audit_policy))
    if wanted.autoscaler_config:
        from sampan.autoscaler.nodes import config as groups
        from sampan.cluster import userfiles

        userfiles.load(Path(wanted.autoscaler_config), "autoscaler configuration", groups.parse)
    if wanted.descheduler_config:
        from sampan.cluster import userfiles
        from sampan.descheduler import policy

        userfiles.load(Path(wanted.descheduler_config), "descheduler policy", policy.parse)
    if wanted.encryption_config:
        from sampan.cluster import encryption

        encryption.load(Path(wanted.encryption_config))
    if wanted.authentication_config:
        from sampan.cluster import authentication

        authentication.load(Path(wanted.authentication_config))
    if wanted.scheduler_config:
        from sampan.cluster import scheduling

        scheduling.load(Path(wanted.scheduler_config))


def _see_through(
    layout: Layout,
    settings: Settings,
    steps: Steps,
    since: datetime,
    options: argparse.Namespace,
    process: subprocess.Popen[bytes],
) -> None:
    """Wait until the cluster works and say so; in the foreground, wait until it has ended."""
    try:
        lifecycle.wait_for_supervisor(layout, process)
        _wait(layout, settings, steps, since, options.apply)
    except SampanError:
        if readiness.hopeless_parts(layout):
            lifecycle.stop(layout)  # what does not work is not left running
        raise
    if not options.no_merge:
        _merge(layout, settings)
    _tell(layout, settings, steps)
    sys.stdout.flush()
    if options.foreground and process.wait() != 0:
        raise SampanError(f"The supervisor ended by itself; {layout.logs}/supervisor.log says why.")


def _already_up(layout: Layout, options: argparse.Namespace) -> int:
    settings = config.load(layout)
    assert settings is not None, "a supervisor runs only where there are settings"
    for name in ("nodes", "port", "runtime", "kubernetes_version"):
        wanted, present = getattr(options, name), getattr(settings, name)
        if wanted not in (None, "auto", present):
            raise SampanError(
                f"The cluster in {layout.root} is up with {name.replace('_', ' ')} {present}; to change that "
                f"to {wanted}, run `sampan down` first."
            )
    print(f"The cluster in {layout.root} is up already; nothing was changed.")
    _apply(layout, settings, options.apply)
    _next_steps(layout, settings)
    return 0


def _wait(layout: Layout, settings: Settings, steps: Steps, since: datetime, manifests: list[Path]) -> None:
    with steps.step("Starting the API server", f"API server ready on port {settings.port}"):
        readiness.wait_for_api(layout, settings)
    nodes = "the node" if settings.nodes == 1 else f"{settings.nodes} nodes"
    done = "Node is Ready" if settings.nodes == 1 else f"All {settings.nodes} nodes are Ready"
    with steps.step(f"Waiting for {nodes}", done):
        readiness.wait_for_nodes(layout, settings, since)
    if settings.runtime == "containerd":
        with steps.step("Waiting for the cluster's DNS", "Cluster DNS answers"):
            readiness.wait_for_dns(layout, settings)
    if manifests:
        with steps.step("Applying manifests", f"Applied {', '.join(str(m) for m in manifests)}"):
            _apply(layout, settings, manifests)


def _apply(layout: Layout, settings: Settings, manifests: list[Path]) -> None:
    if manifests:
        from sampan.cluster.manifests import apply_and_wait

        apply_and_wait(layout, settings, manifests)


def _merge(layout: Layout, settings: Settings) -> None:
    from sampan.cluster import kubeconfig

    path = kubeconfig.user_config_path()
    name = kubeconfig.context_name(path, settings, CONTEXT)
    kubeconfig.merge(path, layout, settings, name)


def _tell(layout: Layout, settings: Settings, steps: Steps) -> None:
    print(f"\nThe cluster is up after {steps.total_s:.1f} s: Kubernetes {settings.kubernetes_version}.")
    _next_steps(layout, settings)


def _next_steps(layout: Layout, settings: Settings) -> None:
    for service in readiness.reachable(layout, settings):
        print(f"Reach {service.name} at {service.url}")
    print(f"Kubeconfig: {layout.kubeconfig}")
    where = "" if layout.root == config.default_root() else f" --data-dir {layout.root}"
    print("Try next:")
    if preflight.find_program("kubectl"):
        print(f"  export KUBECONFIG={layout.kubeconfig}")
        print("  kubectl get pods --all-namespaces")
    else:
        print(f"  sampan status{where}")
        print("  sampan kubectl get pods --all-namespaces")
    print(f"  sampan down{where}")


def _delete_damaged(layout: Layout) -> int:
    """Delete a cluster whose settings cannot be read; a running supervisor cleans up by those it knows."""
    lifecycle.end(layout, config.salvage(layout))
    _delete(layout)
    return 0


def _delete(layout: Layout) -> None:
    from sampan.cluster import kubeconfig

    kubeconfig.remove_cluster(kubeconfig.user_config_path(), layout)
    delete_data(layout)
    print(f"Removed {layout.root}.")


def down(layout: Layout, *, delete: bool) -> int:
    """End the cluster; with `delete`, forget it."""
    try:
        settings = config.load(layout)
    except SampanError:
        if not delete or asked.strangers(layout):
            raise
        return _delete_damaged(layout)
    if settings is None:
        print(f"There is no cluster in {layout.root}; nothing was changed.")
        return 0
    steps = Steps()
    with steps.step("Ending the cluster", "Every part has ended"):
        was_up = lifecycle.stop(layout)
    if delete:
        _delete(layout)
    elif was_up:
        print(f"The cluster is down; its objects and volumes are in {layout.root}.")
    else:
        print("The cluster was down already.")
    sys.stdout.flush()
    return 0
