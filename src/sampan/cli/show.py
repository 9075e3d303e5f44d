"""Commands that look and tell."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from sampan.base.errors import SampanError
from sampan.cluster import config, lifecycle, preflight, readiness
from sampan.cluster.config import Layout, Settings
from sampan.cluster.restarts import PartState
from sampan.cluster.running import read_states, started_ago_s

_TAIL_BYTES: Final = 64 * 1024
_FOLLOW_EVERY_S: Final = 0.2


def demand_cluster(layout: Layout) -> Settings:
    """The settings of the cluster here. Raises SampanError where there is none."""
    settings = config.load(layout)
    if settings is None:
        raise SampanError(f"There is no cluster in {layout.root}; make one with `sampan up`.")
    return settings


def status(layout: Layout) -> int:
    """Print the cluster's parts; 0 when it is up, 1 when it is not."""
    settings = demand_cluster(layout)
    if not lifecycle.is_up(layout):
        print(f"The cluster in {layout.root} is down. Start it with `sampan up`.")
        return 1
    api = readiness.Api(layout, settings)
    nodes = api.items("/api/v1/nodes")
    ready = sum(readiness.condition(node, "Ready") for node in nodes)
    print(
        f"The cluster in {layout.root} is up: Kubernetes {settings.kubernetes_version}, {settings.runtime}."
    )
    print(f"API server  https://127.0.0.1:{settings.port}")
    print(f"Nodes       {ready} of {len(nodes)} ready")
    print(f"Kubeconfig  {layout.kubeconfig}")
    print()
    print(f"{'PART':<20} {'STATE':<9} {'PID':>7} {'RESTARTS':>8} {'SINCE':>8}  LAST DEATH")
    for state in read_states(layout.run):
        print(_part_row(state))
    return 0


def _part_row(state: PartState) -> str:
    from sampan.kinds.kind import human_duration

    since = human_duration(started_ago_s(state, lifecycle.now())) if state.pid else "-"
    death = f"{state.deaths[-1].at}: {state.deaths[-1].why}" if state.deaths else "-"
    return f"{state.name:<20} {state.state:<9} {state.pid or '-':>7} {state.restarts:>8} {since:>8}  {death}"


def kubeconfig(layout: Layout) -> int:
    """Print the administrator's kubeconfig."""
    demand_cluster(layout)
    if not layout.kubeconfig.exists():
        raise SampanError(f"{layout.kubeconfig} is not written yet; run `sampan up` first.")
    sys.stdout.write(layout.kubeconfig.read_text())
    return 0


def logs(layout: Layout, component: str, *, follow: bool) -> int:
    """Print the end of a part's log, and what comes after."""
    demand_cluster(layout)
    path = layout.log(component)
    known = sorted(p.stem for p in layout.logs.glob("*.log"))
    if component not in known:
        raise SampanError(f"There is no log of {component!r}; there are {', '.join(known) or 'none yet'}.")
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        while True:
            data = log.read()
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()
            if not follow:
                return 0
            time.sleep(_FOLLOW_EVERY_S)
            if path.stat().st_size < log.tell():  # it became long, and was begun anew
                log.seek(0)


def check(runtime: str, *, packages_only: bool) -> int:
    """Print what the machine has and lacks; 1 where something is missing."""
    chosen = preflight.best_runtime() if runtime == "auto" else runtime
    found = list(preflight.findings(chosen))
    missing = [finding for finding in found if not finding.ok]
    if packages_only:
        print(" ".join(sorted({f.package for f in missing if f.package})))
        return 0
    for finding in found:
        print(f"{'ok     ' if finding.ok else 'MISSING'} {finding.name:<12} {finding.detail}")
    if not missing:
        print(f"This machine has all that the {chosen} runtime needs.")
        return 0
    command = preflight.mend_command(missing)
    mends = ([command] if command else []) + [f.mend for f in missing if f.mend]
    print("To mend it:")
    for mend in mends:
        print(f"  {mend}")
    return 1


def kubectl(layout: Layout, arguments: list[str]) -> int:
    """Become kubectl, with this cluster's kubeconfig. Raises SampanError where there is no kubectl."""
    demand_cluster(layout)
    program = preflight.find_program("kubectl")
    if program is None:
        raise SampanError(
            "There is no kubectl on this machine. Install it with your package manager (Debian: "
            f"`apt-get install kubernetes-client`), or use any client with KUBECONFIG={layout.kubeconfig}."
        )
    os.environ["KUBECONFIG"] = str(layout.kubeconfig)
    os.execv(program, [program, *arguments])


def version() -> int:
    """Print Sampan's version and the Kubernetes version it serves."""
    import platform

    from sampan import __version__
    from sampan.schema.definitions import NEWEST

    print(f"sampan {__version__} (Kubernetes {NEWEST}, Python {platform.python_version()})")
    return 0
