"""Waiting until a cluster does its work, and how it is reached. Imports nothing that takes time to load."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.cluster.config import DOMAIN, Layout, Settings
from sampan.cluster.running import read_states

API_WAIT_S: Final = 30.0
NODES_WAIT_S: Final = 60.0
DNS_WAIT_S: Final = 90.0
_POLL_S: Final = 0.02
_DNS_TIMEOUT_S: Final = 0.2
# Deaths of one part during a start after which waiting longer is pointless.
_HOPELESS_DEATHS: Final = 3


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
