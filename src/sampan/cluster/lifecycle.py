"""Bringing a cluster up and down on this machine: what `sampan up` and `sampan down` do."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.cluster import config
from sampan.cluster.config import DOMAIN, Layout, Settings
from sampan.cluster.running import Lock, read_states
from sampan.schema.definitions import NEWEST

API_WAIT_S: Final = 30.0
NODES_WAIT_S: Final = 60.0
DNS_WAIT_S: Final = 90.0
DOWN_WAIT_S: Final = 60.0
_POLL_S: Final = 0.02
_DNS_TIMEOUT_S: Final = 0.2
# Deaths of one part during a start after which waiting longer is pointless.
_HOPELESS_DEATHS: Final = 3

_OWN_NAMES: Final = frozenset(
    {"config.json", "config.new", "images", "kubeconfig", "logs", "nodes", "pki", "run", "store"}
)

Say = Callable[[str], None]


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
        try:
            config.save(layout, settings)
        except OSError as problem:
            raise unwritable(layout, problem) from problem
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
    )
    _check(settings)
    preflight.demand(runtime)
    demand_port(settings.port)
    try:
        config.save(layout, settings)
    except OSError as problem:
        raise unwritable(layout, problem) from problem
    return settings


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


def is_up(layout: Layout) -> bool:
    """Whether a supervisor runs for this data directory."""
    return Lock.holder(layout.run) != 0


def start(
    layout: Layout, settings: Settings, *, detached: bool, fresh: bool = False
) -> subprocess.Popen[bytes]:
    """Start the supervisor, which starts the parts, and make what is missing of the credentials meanwhile.

    Raises SampanError where the directory cannot be written; a `fresh` one is removed again.
    """
    try:
        layout.run.mkdir(parents=True, exist_ok=True)
        layout.logs.mkdir(parents=True, exist_ok=True)
        for stale in (layout.run / "parts.json", layout.credentials_made):
            stale.unlink(missing_ok=True)
        with (layout.logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                supervise_argv(layout),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=detached,
                cwd="/",
            )
        _make_credentials(layout, settings, process)
    except OSError as problem:
        if fresh:
            shutil.rmtree(layout.root, ignore_errors=True)
        raise unwritable(layout, problem) from problem
    return process


def _make_credentials(layout: Layout, settings: Settings, supervisor: subprocess.Popen[bytes]) -> None:
    """Make them while the parts load. Raises OSError, SampanError, and then has ended what was started."""
    from sampan.cluster import credentials

    try:
        credentials.ensure(layout, settings, now())
        layout.credentials_made.touch()
    except (OSError, SampanError):
        from sampan.cluster.teardown import teardown

        supervisor.terminate()
        supervisor.wait()
        teardown(layout, settings)
        raise


def unwritable(layout: Layout, problem: OSError) -> SampanError:
    """Why the data directory cannot be written, with the mend."""
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        mend = "make room on its disk, or choose another --data-dir"
    else:
        mend = "choose another --data-dir, or mend its owner"
    return SampanError(f"Cannot write to {layout.root}: {problem.strerror}; {mend}.")


def wait_for_supervisor(layout: Layout, process: subprocess.Popen[bytes]) -> None:
    """Return once the supervisor has started a part. Raises SampanError with its last words where it ends."""
    while not (layout.run / "parts.json").exists():
        if process.poll() is not None:
            words = (layout.logs / "supervisor.log").read_text(errors="replace").strip().splitlines()
            raise SampanError(words[-1] if words else f"The supervisor of {layout.root} ended at once.")
        time.sleep(_POLL_S)


def supervise_argv(layout: Layout) -> list[str]:
    return [sys.executable, "-m", "sampan.cluster.main", "supervise", str(layout.root)]


def stop(layout: Layout) -> bool:
    """End the cluster and everything it made on the machine; False where none was running.

    Raises SampanError where it does not end in time.
    """
    pid = Lock.holder(layout.run)
    return end(layout, config.load(layout) if pid == 0 else None)


def end(layout: Layout, settings: Settings | None) -> bool:
    """As `stop`; what a cluster that is not running left behind is found by `settings`."""
    pid = Lock.holder(layout.run)
    if pid == 0:
        if settings is not None:
            from sampan.cluster.teardown import teardown

            teardown(layout, settings)
        return False
    with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
        os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + DOWN_WAIT_S
    while Lock.holder(layout.run) == pid:
        if time.monotonic() > deadline_s:
            raise SampanError(
                f"The supervisor (process {pid}) did not end within {DOWN_WAIT_S:.0f} s; see "
                f"{layout.logs}/supervisor.log, then run `sampan down` again."
            )
        time.sleep(_POLL_S)
    return True


class Api:
    """A small blocking client for waiting: it must import nothing that takes time to load."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._layout = layout
        self._settings = settings
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; (0, b"") where nobody answers."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """The same for creating an object from JSON."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            connection = self._connect()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException, ssl.SSLError):
            self._connection = None
            return 0, b""

    def items(self, path: str) -> list[dict[str, Any]]:
        code, body = self.get(path)
        if code != 200:
            return []
        found: list[dict[str, Any]] = msgspec.json.decode(body).get("items") or []
        return found

    def _connect(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self._layout.authority))
            pki = self._layout.pki
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self._settings.port, context=context, timeout=5
            )
        return self._connection


def wait_for_api(layout: Layout, settings: Settings) -> None:
    """Return once the API server is ready. Raises SampanError when it does not become so."""
    api = Api(layout, settings)
    _wait(layout, API_WAIT_S, lambda: api.get("/readyz")[0] == 200, "the API server to answer", "apiserver")


def wait_for_nodes(layout: Layout, settings: Settings, since: datetime) -> None:
    """Return once every node is Ready, has said so after `since`, and takes pods in `default`."""
    api = Api(layout, settings)

    def ready() -> bool:
        # Without its service account the API server refuses every pod of a namespace.
        if api.get("/api/v1/namespaces/default/serviceaccounts/default")[0] != 200:
            return False
        nodes = api.items("/api/v1/nodes")
        if len(nodes) < settings.nodes or not all(condition(n, "Ready") for n in nodes):
            return False
        leases = api.items("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
        renewed = {lease["metadata"]["name"] for lease in leases if _renewed_after(lease, since)}
        return all(node["metadata"]["name"] in renewed for node in nodes)

    part = "node-1" if settings.runtime != "simulated" else "nodes"
    _wait(layout, NODES_WAIT_S, ready, "every node to be Ready", part)


def _renewed_after(lease: dict[str, Any], since: datetime) -> bool:
    renewed = lease.get("spec", {}).get("renewTime")
    return bool(renewed) and datetime.fromisoformat(renewed) >= since


def wait_for_dns(layout: Layout, settings: Settings) -> None:
    """Return once the cluster's DNS server gives the address of the `kubernetes` Service."""
    _wait(
        layout,
        DNS_WAIT_S,
        lambda: resolves(settings.dns_ip, f"kubernetes.default.svc.{DOMAIN}", settings.service_ip),
        "the cluster's DNS to answer",
        "node-1",
    )


def resolves(server: str, name: str, address: str) -> bool:
    """Whether a DNS server answers an A query for `name` with `address`."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"
    query = b"\x53\x41\1\0\0\1\0\0\0\0\0\0" + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(_DNS_TIMEOUT_S)
        try:
            channel.sendto(query, (server, 53))
            return channel.recv(512).endswith(socket.inet_aton(address))
        except OSError:
            return False


def _wait(layout: Layout, limit_s: float, done: Callable[[], bool], what: str, part: str) -> None:
    deadline_s = time.monotonic() + limit_s
    while not done():
        for sentence in hopeless(layout):
            raise SampanError(f"{sentence} The log is {layout.logs}/{part}.log (`sampan logs {part}`).")
        if time.monotonic() > deadline_s:
            raise SampanError(
                f"Waited {limit_s:.0f} s for {what}, in vain. "
                f"Look at `sampan status` and `sampan logs {part}`."
            )
        time.sleep(_POLL_S)


class Reachable(msgspec.Struct, frozen=True):
    """A Service that can be opened from this machine."""

    name: str
    url: str


def reachable(layout: Layout, settings: Settings) -> list[Reachable]:
    """The NodePort Services of users, with the URL to open."""
    found = []
    for service in Api(layout, settings).items("/api/v1/services"):
        metadata, spec = service["metadata"], service["spec"]
        if metadata["namespace"] == "kube-system":
            continue
        for port in spec.get("ports", ()):
            if port.get("nodePort"):
                name = f"{metadata['namespace']}/{metadata['name']}"
                found.append(Reachable(name, f"http://127.0.0.1:{port['nodePort']}/"))
    return found


def hopeless_parts(layout: Layout) -> bool:
    """Whether a part dies again and again."""
    return any(hopeless(layout))


def hopeless(layout: Layout) -> Iterator[str]:
    """A sentence for each part that dies again and again."""
    for state in read_states(layout.run):
        if len(state.deaths) >= _HOPELESS_DEATHS and state.state == "waiting":
            yield f"The {state.name} does not stay up: it {state.deaths[-1].why}."


def condition(obj: dict[str, Any], name: str) -> bool:
    conditions = obj.get("status", {}).get("conditions") or []
    return any(c.get("type") == name and c.get("status") == "True" for c in conditions)


def now() -> datetime:
    return datetime.now(UTC)
