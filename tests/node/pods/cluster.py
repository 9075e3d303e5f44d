"""A cluster on containerd, and pods in it that a test can wait for, read from and run commands in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sampan.client.client import STRATEGIC, Client
from sampan.client.errors import ApiError
from sampan.client.kubeconfig import load_kubeconfig
from sampan.node.images.builtin import BUSYBOX
from sampan.schema import api, codec
from tests.kubectl import Kubectl
from tests.ports import free_port

T = TypeVar("T")

NAMESPACE: Final = "pods"
WAIT_S: Final = 30.0
_UP_TIMEOUT_S: Final = 120


class Cluster:
    """A cluster of its own. Everything that it makes goes into one namespace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self._made: list[Pod] = []
        self._names = 0

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.root / "kubeconfig")

    def up(self) -> None:
        self.sampan("up", "--port", str(free_port()), "--no-merge")
        self._client = Client(load_kubeconfig(self.root / "kubeconfig"))
        self.make(api.Namespace, {"metadata": {"name": NAMESPACE}})
        self.until(lambda: self.has(api.ServiceAccount, "default"), "the service account default is there")
        self.make(api.Service, {"metadata": {"name": "early-bird"}, "spec": {"ports": [{"port": 7070}]}})

    def down(self) -> None:
        if self._client is not None:
            self.run(self._client.close())
        self._runner.close()
        self.sampan("down", "--delete")

    def clean(self) -> None:
        """Delete the test's pods at once. Nobody waits for them."""
        made, self._made = self._made, []
        for pod in made:
            pod.delete(grace_s=0)

    def sampan(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "sampan.cli.main", *arguments, "--data-dir", str(self.root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_UP_TIMEOUT_S)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"

    def logs(self) -> str:
        """The ends of the logs of the cluster's parts."""
        files = sorted((self.root / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in files)

    # --- objects --------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def make(self, kind: type[T], obj: dict[str, Any]) -> T:
        """Create an object, in the namespace of the tests if it belongs into one."""
        return self.run(self.client.create(codec.from_builtins(obj, kind), NAMESPACE))

    def config_map(self, name: str, **data: str) -> None:
        self.make(api.ConfigMap, {"metadata": {"name": name}, "data": data})

    def secret(self, name: str, **data: str) -> None:
        self.make(api.Secret, {"metadata": {"name": name}, "stringData": data})

    def patch(self, kind: type[T], name: str, patch: dict[str, Any], subresource: str = "") -> T:
        work = self.client.patch(kind, name, NAMESPACE, patch, patch_type=STRATEGIC, subresource=subresource)
        return self.run(work)

    def has(self, kind: type[Any], name: str) -> bool:
        try:
            self.run(self.client.get(kind, name, NAMESPACE))
        except ApiError as error:
            assert error.code == 404, error
            return False
        return True

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """For what no watch tells: look again and again."""

        async def wait() -> None:
            await asyncio.sleep(0.05)

        for _ in range(int(WAIT_S / 0.05)):
            if condition():
                return
            self.run(wait())
        raise AssertionError(f"within {WAIT_S:.0f} s it did not happen that {what}")

    # --- pods -----------------------------------------------------------------------------------------

    def pod(
        self,
        script: str = "sleep 1000",
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        container: dict[str, Any] | None = None,
        **spec: Any,
    ) -> Pod:
        """Create a pod whose container `main` runs `script`. It runs once unless `restartPolicy` is given."""
        self._names += 1
        own = {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script], **(container or {})}
        whole = {"containers": [own], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, **spec}
        meta = {"name": f"p{self._names}", "labels": labels or {}, "annotations": annotations or {}}
        made = Pod(self, self.make(api.Pod, {"metadata": meta, "spec": whole}))
        self._made.append(made)
        return made

    def output(self, script: str = "", **given: Any) -> str:
        """What a pod prints that runs `script` once and must succeed."""
        pod = self.pod(script, **given)
        over = pod.over()
        assert over.status.phase == "Succeeded", (over.status, pod.log())
        return pod.log()

    @property
    def pods_directory(self) -> Path:
        return self.root / "nodes" / "node-1" / "pods"


class Pod:
    """A pod that was created."""

    def __init__(self, cluster: Cluster, created: api.Pod) -> None:
        self.cluster = cluster
        self.name = created.metadata.name or ""
        self.uid = created.metadata.uid or ""
        self.created = created

    def get(self) -> api.Pod:
        return self.cluster.run(self.cluster.client.get(api.Pod, self.name, NAMESPACE))

    def until(self, condition: Callable[[api.Pod], Any], what: str) -> api.Pod:
        """The first state of the pod, from its creation on, that fulfils the condition."""
        return self.cluster.run(self._until(condition, what))

    async def _until(self, condition: Callable[[api.Pod], Any], what: str) -> api.Pod:
        last: api.Pod | None = None
        try:
            async with asyncio.timeout(WAIT_S):
                events = self.cluster.client.watch(
                    api.Pod, NAMESPACE, fields=f"metadata.name={self.name}", resource_version="0"
                )
                async for event in events:
                    if event.type == "BOOKMARK" or event.object.metadata.uid != self.uid:
                        continue
                    last = event.object
                    if event.type != "DELETED" and condition(last):
                        return last
        except TimeoutError:
            pass
        status = codec.encode(last.status).decode() if last else "never seen"
        raise AssertionError(f"within {WAIT_S:.0f} s pod {self.name} was never {what}: {status}")

    def history(self) -> list[api.Pod]:
        """Every state of the pod from now until it is gone from the API."""
        return self.cluster.run(self._history())

    async def _history(self) -> list[api.Pod]:
        found: list[api.Pod] = []
        async with asyncio.timeout(WAIT_S):
            events = self.cluster.client.watch(
                api.Pod, NAMESPACE, fields=f"metadata.name={self.name}", resource_version="0"
            )
            async for event in events:
                if event.type != "BOOKMARK":
                    found.append(event.object)
                if event.type == "DELETED":
                    break
        return found

    def running(self) -> api.Pod:
        return self.until(lambda p: p.status.phase == "Running", "Running")

    def ready(self) -> api.Pod:
        return self.until(lambda p: condition_of(p, "Ready").status == "True", "Ready")

    def over(self) -> api.Pod:
        return self.until(lambda p: p.status.phase in ("Succeeded", "Failed"), "over")

    def restarted(self, times: int = 1, container: str = "main") -> api.Pod:
        return self.until(lambda p: status_of(p, container).restartCount >= times, f"restarted {times} times")

    def waits(self, reason: str, container: str = "main") -> str:
        """The message with which the container waits for that reason."""

        def waiting(pod: api.Pod) -> api.ContainerStateWaiting | None:
            state = status_of(pod, container).state
            return state.waiting if state is not None else None

        def matches(pod: api.Pod) -> bool:
            found = waiting(pod)
            return found is not None and found.reason == reason

        found = waiting(self.until(matches, f"waiting with {reason}"))
        return (found.message if found is not None else None) or ""

    def log(self, container: str = "main", attempt: int = 0) -> str:
        """What the container wrote, without the prefixes of the log file."""
        folder = self.cluster.root / "nodes" / "node-1" / "logs" / f"{NAMESPACE}_{self.name}_{self.uid}"
        lines = (folder / container / f"{attempt}.log").read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def says(self, text: str, container: str = "main", attempt: int = 0) -> None:
        """Wait until the container's log has `text`."""

        def said() -> bool:
            with suppress(FileNotFoundError):
                return text in self.log(container, attempt)
            return False

        self.cluster.until(said, f"{self.name} says {text!r}")

    def exec(self, script: str, container: str = "main") -> str:
        """What a shell command prints inside the container."""
        arguments = ("exec", "-n", NAMESPACE, self.name, "-c", container, "--", "sh", "-c", script)
        return self.cluster.kubectl(*arguments).strip()

    def delete(self, grace_s: int | None = None) -> None:
        with suppress(ApiError):
            self.cluster.run(self.cluster.client.delete(api.Pod, self.name, NAMESPACE, grace_s=grace_s))

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of each Event about the pod so far."""
        fields = f"involvedObject.uid={self.uid}"
        found = self.cluster.run(self.cluster.client.list(api.Event, NAMESPACE, fields=fields))
        return [(e.reason or "", e.message or "") for e in found.items]

    def told(self, reason: str, part: str = "") -> str:
        """Wait for an Event with that reason, and `part` in its message; the message."""
        found: list[str] = []

        def seen() -> bool:
            found.extend(m for r, m in self.events() if r == reason and part in m)
            return bool(found)

        self.cluster.until(seen, f"an Event {reason} with {part!r} is there")
        return found[0]


def status_of(pod: api.Pod, container: str = "main") -> api.ContainerStatus:
    """The container's status; an empty one where there is none yet."""
    status = pod.status
    for one in (*status.containerStatuses, *status.initContainerStatuses, *status.ephemeralContainerStatuses):
        if one.name == container:
            return one
    return api.ContainerStatus(name=container)


def ended(pod: api.Pod, container: str = "main") -> api.ContainerStateTerminated:
    """How the container ended."""
    state = status_of(pod, container).state
    assert state is not None and state.terminated is not None, state
    return state.terminated


def last_ended(pod: api.Pod, container: str = "main") -> api.ContainerStateTerminated:
    """How the instance before the present one ended."""
    state = status_of(pod, container).lastState
    assert state is not None and state.terminated is not None, state
    return state.terminated


def condition_of(pod: api.Pod, kind: str) -> api.PodCondition:
    """The pod's condition of that type; one of unknown status where there is none."""
    return next((c for c in pod.status.conditions if c.type == kind), api.PodCondition(type=kind))


def mounts(**paths: str) -> list[dict[str, Any]]:
    """volumeMounts from volume names and paths."""
    return [{"name": name, "mountPath": path} for name, path in paths.items()]


def lines_of(text: str) -> dict[str, str]:
    """`name=value` lines as a dict."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
