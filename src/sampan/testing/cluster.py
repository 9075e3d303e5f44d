"""A whole cluster inside the calling process: API server, controllers, scheduler, simulated nodes.

Everything runs in one event loop on one background thread, over a store in memory, with a clock that can
be moved. Real clients reach it over HTTPS on loopback with the kubeconfig; tests reach it directly.

    with Cluster() as cluster:
        cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name="shop")))
        cluster.advance(300)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from sampan.apiserver.core.authn import TokenKeys
from sampan.apiserver.core.server import ApiServer
from sampan.apiserver.core.server import Settings as ServerSettings
from sampan.apiserver.core.users import ADMIN, AUTHENTICATED, User
from sampan.apiserver.direct import DirectTransport
from sampan.base.clock import Clock, SimulatedClock, SystemClock
from sampan.base.garbage import looked_for_seldom
from sampan.base.ids import RandomIds
from sampan.client.client import Client
from sampan.client.informer import SharedInformers
from sampan.cluster import addons, pki, scheduling
from sampan.cluster.tls import client_context, server_context
from sampan.controllers.catalog import Settings as ControllerSettings
from sampan.controllers.catalog import controllers
from sampan.controllers.certificates.issuing import Authority
from sampan.controllers.runtime.manager import Manager
from sampan.kinds import registry
from sampan.kinds.groups import switched_on
from sampan.node.simulated_fleet import SimulatedNodes
from sampan.scheduler.configuration import Configuration
from sampan.scheduler.shell import Scheduler
from sampan.schema.definitions import NEWEST
from sampan.store.memory import MemoryStore
from sampan.testing.sync import SyncClient

T = TypeVar("T")
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
START_LIMIT_S: Final = 30.0
# Each node is registered by four writes; where others use the machine, too, that is not always quick.
START_LIMIT_PER_NODE_S: Final = 0.02
WAIT_LIMIT_S: Final = 10.0
_POLL_S: Final = 0.002
# Python's garbage is looked for after so many new objects: all parts at work on a batch of some hundred pods
# make about as many, of which few outlive it.
YOUNG_MOST: Final = 200_000
_VERSION: Final = tuple(int(part) for part in NEWEST.split(".")[:2])


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a Cluster is made of."""

    nodes: int = 1
    # A clock that moves only when `advance` is called; False for the machine's own.
    simulated_clock: bool = True
    controllers: bool = True
    scheduler: bool = True
    scheduler_config: Configuration | None = None
    autoscaler: Mapping[str, Any] | None = None
    runtime_config: tuple[str, ...] = ()
    descheduler: Mapping[str, Any] | None = None


class Cluster:
    """A cluster for tests; a context manager. All methods may be called from any thread but its own."""

    def __init__(
        self,
        *,
        nodes: int = 1,
        simulated_clock: bool = True,
        controllers: bool = True,
        scheduler: bool = True,
        scheduler_config: Mapping[str, Any] | Path | None = None,
        autoscaler: Mapping[str, Any] | None = None,
        runtime_config: Sequence[str] = (),
        descheduler: Mapping[str, Any] | None = None,
    ) -> None:
        """`scheduler_config` is a KubeSchedulerConfiguration, as a mapping or a file; `autoscaler` is what
        `sampan up --autoscaler-config` reads; `runtime_config` names further versions to serve, such as
        "scheduling.k8s.io/v1beta1=true"; `descheduler` is what `sampan up --descheduler-config` reads.

        Raises SampanError for one that cannot be used.
        """
        self._options = Options(
            nodes=nodes,
            simulated_clock=simulated_clock,
            controllers=controllers,
            scheduler=scheduler,
            scheduler_config=scheduling.chosen(scheduler_config),
            autoscaler=autoscaler,
            runtime_config=tuple(runtime_config),
            descheduler=descheduler,
        )
        self._further = switched_on(self._options.runtime_config, _VERSION)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._stop: asyncio.Event | None = None
        self._directory: Path | None = None
        # The servers of `kubeconfig`'s clients and of the nodes; there from its first use on.
        self._http: Any = None
        self._streams: Any = None

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start; returns once the API server answers and every node is Ready."""
        self._thread = threading.Thread(target=self._run, name="sampan cluster", daemon=True)
        self._thread.start()
        limit_s = START_LIMIT_S + START_LIMIT_PER_NODE_S * self._options.nodes
        if not self._started.wait(limit_s):
            raise TimeoutError(f"the cluster did not start within {limit_s:.0f} s")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop and forget everything."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    @cached_property
    def client(self) -> SyncClient:
        """A client that may do anything; it blocks until the answer is there."""
        return SyncClient(self.async_client, self.call)

    def client_as(self, name: str, *groups: str) -> SyncClient:
        """A client that acts as this user."""
        user = User(name, (*groups, AUTHENTICATED))
        return SyncClient(Client(DirectTransport(self.server, user)), self.call)

    @cached_property
    def kubeconfig(self) -> Path:
        """A kubeconfig for real clients. The server listens on loopback from the first use of this on."""
        return self.call(self._listen())

    def now(self) -> datetime:
        """The cluster's time."""
        return self.clock.now()

    def advance(self, seconds: float) -> None:
        """Move the cluster's clock, running everything that falls due on the way."""
        clock = self.clock
        if not isinstance(clock, SimulatedClock):
            raise TypeError("this cluster runs on the machine's clock; make it with simulated_clock=True")
        self.call(clock.advance(seconds))

    def settle(self) -> None:
        """Return once no controller has anything to do at this instant."""
        self.wait_until(lambda: self.manager is None or self.manager.idle, advance=False)

    def wait_until(self, condition: Callable[[], bool], *, advance: bool = True) -> None:
        """Return once `condition` holds, moving the clock second by second where it is simulated.

        Raises TimeoutError when it does not hold within ten seconds of real time.
        """
        deadline_s = SystemClock().monotonic_s() + WAIT_LIMIT_S
        moves = advance and isinstance(self.clock, SimulatedClock)
        while not condition():
            if SystemClock().monotonic_s() > deadline_s:
                raise TimeoutError(f"{condition} did not come to hold within {WAIT_LIMIT_S:.0f} s")
            if moves:
                self.advance(1)
            else:
                self.call(asyncio.sleep(_POLL_S))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the cluster's loop and give its result."""
        assert self._loop is not None, "the cluster has not been started"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- in the cluster's own thread ------------------------------------------------------------------

    def _run(self) -> None:
        try:
            import uvloop

            with looked_for_seldom(YOUNG_MOST), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # handed to whoever started or closes the cluster
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        options = self._options
        self.clock: Clock = SimulatedClock() if options.simulated_clock else SystemClock()
        self.store = MemoryStore()
        self._authority = pki.make_authority("sampan", datetime.now(UTC))
        signing = pki.make_signing_key()
        keys = TokenKeys(signing.key, (signing.certificate,), ISSUER, (ISSUER,))
        ids = RandomIds()
        kinds = registry.ALL + self._further
        self.server = ApiServer(self.store, self.clock, ids, ServerSettings(keys=keys), kinds)
        await self.server.start()
        self.async_client = Client(DirectTransport(self.server, ADMIN))
        informers = SharedInformers(self.async_client, self.clock)
        self.manager: Manager | None = None
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(informers.run())]
            if options.controllers:
                await addons.ensure_class(self.async_client, addons.storage_class())
                chosen = controllers(
                    ControllerSettings(
                        ca_bundle=self._authority.certificate.decode(),
                        authority=Authority(self._authority.certificate, self._authority.key),
                        token_key=signing.key,
                    )
                )
                self.manager = Manager(self.async_client, self.clock, chosen, informers=informers)
                self.server.components.here = True
                running.append(tasks.create_task(self.manager.run()))
            if options.scheduler:
                self.scheduler = Scheduler(
                    self.async_client,
                    informers,
                    self.clock,
                    ids,
                    configuration=options.scheduler_config,
                    pod_groups=bool(self._further),
                )
                running.append(tasks.create_task(self.scheduler.run()))
            if options.autoscaler is not None:
                from sampan.autoscaler.nodes import config
                from sampan.autoscaler.nodes import running as scaling

                profiles = self.scheduler.profiles if options.scheduler else ()
                looks_at = self.scheduler.kinds if options.scheduler else ()
                groups = config.parse(options.autoscaler)
                work = scaling.scale(self.async_client, informers, self.clock, groups, profiles, looks_at)
                running.append(tasks.create_task(work))
            if options.descheduler is not None:
                from sampan.descheduler import policy
                from sampan.descheduler.running import Descheduler

                profiles = self.scheduler.profiles if options.scheduler else ()
                rules = policy.parse(options.descheduler)
                self.descheduler = Descheduler(self.async_client, self.clock, rules, profiles)
                running.append(tasks.create_task(self.descheduler.run()))
            if options.nodes:
                self.nodes = SimulatedNodes(
                    self.async_client, self.clock, ids, options.nodes, informers=informers
                )
                running.append(tasks.create_task(self.nodes.run()))
                await self.nodes.registered()
            self._started.set()
            await self._stop.wait()
            for task in running:
                task.cancel()
        if self._http is not None:
            await self._http.close()
        if self._streams is not None:
            await self._streams.close()
        await self.server.close()
        await self.store.close()

    async def _listen(self) -> Path:
        from sampan.apiserver.http.relay import Relay
        from sampan.apiserver.http.serve import HttpServer
        from sampan.node.streaming.access import API_SERVER
        from sampan.node.streaming.server import StreamServer

        self._directory = Path(tempfile.mkdtemp(prefix="sampan-"))
        now = datetime.now(UTC)
        authority = self._authority
        pki.save(self._directory, "ca", authority)
        hosts = ("127.0.0.1", "localhost")
        pki.save(self._directory, "server", pki.issue(authority, "apiserver", now, hosts=hosts))
        admin = pki.issue(authority, ADMIN.name, now, organizations=("system:masters",))
        pki.save(self._directory, "admin", admin)
        to_nodes = pki.issue(authority, API_SERVER, now, organizations=("system:masters",))
        pki.save(self._directory, "kubelet-client", to_nodes)
        certificates = self._directory / "ca.crt", self._directory
        tls = server_context(*certificates, "server")
        nodes_at = ""
        if self._options.nodes:
            self._streams = StreamServer(self.nodes, self.clock, tls)
            nodes_at = f"127.0.0.1:{await self._streams.start('127.0.0.1')}"
        relay = Relay(client_context(*certificates, "kubelet-client"), nodes_at=nodes_at)
        self._http = HttpServer(self.server, relay)
        port = await self._http.start("127.0.0.1", 0, tls)
        return write_kubeconfig(self._directory, port)


def write_kubeconfig(directory: Path, port: int) -> Path:
    """A kubeconfig with the certificates in it: not every client finds files that lie beside it."""

    def inline(name: str) -> str:
        return base64.b64encode((directory / name).read_bytes()).decode()

    path = directory / "kubeconfig"
    path.write_text(
        "apiVersion: v1\n"
        "kind: Config\n"
        "current-context: sampan\n"
        "contexts: [{name: sampan, context: {cluster: sampan, user: sampan}}]\n"
        f"clusters: [{{name: sampan, cluster: {{server: 'https://127.0.0.1:{port}', "
        f"certificate-authority-data: {inline('ca.crt')}}}}}]\n"
        f"users: [{{name: sampan, user: {{client-certificate-data: {inline('admin.crt')}, "
        f"client-key-data: {inline('admin.key')}}}}}]\n"
    )
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Cluster]:
    """A started cluster, closed at the end."""
    with Cluster(**options) as cluster:
        yield cluster
