"""Controllers under load, in an in-process cluster with simulated nodes.

Usage: controllers.py [SCENARIO ...]; without any, all of them. Each prints wall time and the process
time that it took (on a machine that does other work, the second is the truer one) beside what was asked.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sampan.client.client import Client
from sampan.schema import api
from sampan.testing import Cluster

IDLE_S: Final = 20.0
# What follows a change a little later, such as the nodes' TTLs, has been done by then.
SETTLING_S: Final = 15.0
WRITERS: Final = 32
NAMESPACE: Final = "default"
Scenario = Callable[[], None]


class Timer:
    """Wall and process time from `with` to its end."""

    def __enter__(self) -> Timer:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_error: object) -> None:
        self.wall_s = time.perf_counter() - self._wall_s
        self.cpu_s = time.process_time() - self._cpu_s

    def say(self, what: str, asked_s: float) -> None:
        print(f"{what}: {self.wall_s:.2f} s, {self.cpu_s:.2f} s of CPU (asked {asked_s:g} s)", flush=True)


def template(image: str = "web:1", **spec: object) -> api.PodTemplateSpec:
    return api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels={"app": "web"}),
        spec=api.PodSpec(containers=[api.Container(name="web", image=image)], **spec),  # type: ignore[arg-type]
    )


def deployment(name: str, replicas: int) -> api.Deployment:
    labels = {"app": name}
    pods = template()
    pods.metadata.labels = labels
    return api.Deployment(
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE),
        spec=api.DeploymentSpec(
            replicas=replicas, selector=api.LabelSelector(matchLabels=labels), template=pods
        ),
    )


def running(nodes: int) -> Cluster:
    return Cluster(nodes=nodes, simulated_clock=False)


async def until(done: Callable[[], bool], limit_s: float = 180.0) -> None:
    """Look every few milliseconds; the informers' caches are asked, so that looking costs next to nothing."""
    deadline_s = time.perf_counter() + limit_s
    while not done():
        if time.perf_counter() > deadline_s:
            raise TimeoutError(f"not done within {limit_s:g} s")
        await asyncio.sleep(0.01)


async def at_once(client: Client, work: list[Callable[[Client], Awaitable[object]]]) -> None:
    """Carry out all of `work`, so many at a time."""
    waiting = iter(work)

    async def one() -> None:
        for each in waiting:
            await each(client)

    await asyncio.gather(*(one() for _ in range(WRITERS)))


def rolled_out(cluster: Cluster, name: str, replicas: int) -> bool:
    assert cluster.manager is not None
    held = cluster.manager.informers.of(api.Deployment).cache.get(NAMESPACE, name)
    if held is None or held.status.observedGeneration != held.metadata.generation:
        return False
    status = held.status
    return status.replicas == status.updatedReplicas == status.availableReplicas == replicas


def one_deployment() -> None:
    """1,000 replicas, and a rolling update of them."""
    with running(100) as cluster:

        async def ready() -> None:
            await cluster.async_client.create(deployment("big", 1000))
            await until(lambda: rolled_out(cluster, "big", 1000))

        async def rolling() -> None:
            held = await cluster.async_client.get(api.Deployment, "big", NAMESPACE)
            held.spec.template.spec.containers[0].image = "web:2"
            held = await cluster.async_client.update(held)
            generation = held.metadata.generation or 0
            cache = cluster.manager.informers.of(api.Deployment).cache  # type: ignore[union-attr]
            await until(
                lambda: (
                    (cache.get(NAMESPACE, "big").status.observedGeneration or 0) >= generation  # type: ignore[union-attr]
                    and rolled_out(cluster, "big", 1000)
                )
            )

        with Timer() as timer:
            cluster.call(ready())
        timer.say("Deployment of 1,000 replicas ready", 4)
        with Timer() as timer:
            cluster.call(rolling())
        timer.say("rolling update of 1,000 replicas", 10)


def many_deployments() -> None:
    """100 Deployments with 50 replicas each."""
    with running(100) as cluster:

        async def ready() -> None:
            work = [
                lambda client, n=n: client.create(deployment(f"d-{n}", 50))  # type: ignore[misc]
                for n in range(100)
            ]
            await at_once(cluster.async_client, work)
            await until(lambda: all(rolled_out(cluster, f"d-{n}", 50) for n in range(100)))

        with Timer() as timer:
            cluster.call(ready())
        timer.say("100 Deployments of 50 replicas ready", 15)


def big_job() -> None:
    """5,000 completions, 500 at once; the pods end by themselves."""
    with running(100) as cluster:
        pods = template(restartPolicy="Never")
        pods.metadata.annotations = {"sampan.dev/simulate": '{"run_s": 0}'}
        spec = api.JobSpec(completions=5000, parallelism=500, template=pods)
        job = api.Job(metadata=api.ObjectMeta(name="big", namespace=NAMESPACE), spec=spec)

        async def ready() -> None:
            await cluster.async_client.create(job)
            cache = cluster.manager.informers.of(api.Job).cache  # type: ignore[union-attr]
            await until(lambda: _is_complete(cache.get(NAMESPACE, "big")))

        with Timer() as timer:
            cluster.call(ready())
        timer.say("Job of 5,000 completions", 30)


def _is_complete(job: api.Job | None) -> bool:
    return job is not None and any(c.type == "Complete" and c.status == "True" for c in job.status.conditions)


def pods_on_nodes() -> None:
    """10,000 pods on 1,000 nodes: created, Running, deleted."""
    with running(1000) as cluster:

        def pod(number: int) -> api.Pod:
            made = template()
            meta = api.ObjectMeta(name=f"p-{number}", namespace=NAMESPACE, labels=made.metadata.labels)
            return api.Pod(metadata=meta, spec=made.spec)

        async def all_of_it() -> None:
            cache = cluster.manager.informers.of(api.Pod).cache  # type: ignore[union-attr]
            work = [lambda client, n=n: client.create(pod(n)) for n in range(10_000)]  # type: ignore[misc]
            waiting = [f"p-{n}" for n in range(10_000)]

            def all_run() -> bool:
                while waiting:
                    held = cache.get(NAMESPACE, waiting[-1])
                    if held is None or held.status.phase != "Running":
                        return False
                    waiting.pop()
                return True

            with Timer() as timer:
                await at_once(cluster.async_client, work)
                await until(all_run)
            timer.say("  10,000 pods created and Running", 30)
            await cluster.async_client.transport.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}/pods")
            await until(lambda: not len(cache))

        with Timer() as timer:
            cluster.call(all_of_it())
        timer.say("10,000 pods created, Running and deleted on 1,000 nodes", 30)


def nodes() -> None:
    """5,000 nodes: registered, and then idle."""
    with Timer() as timer:
        cluster = running(5000)
        cluster.start()
    try:
        timer.say("5,000 nodes registered", 10)
        idle(cluster, "5,000 idle nodes", 10)
    finally:
        cluster.close()


def namespace_deletion() -> None:
    """A namespace with 10,000 objects of several kinds."""
    with running(10) as cluster:
        made: list[Callable[[int], object]] = [
            lambda n: api.ConfigMap(metadata=_meta(f"c-{n}"), data={"key": "value"}),
            lambda n: api.Secret(metadata=_meta(f"s-{n}")),
            lambda n: api.ServiceAccount(metadata=_meta(f"a-{n}")),
            lambda n: api.Service(
                metadata=_meta(f"v-{n}"),
                spec=api.ServiceSpec(
                    clusterIP="None", selector={"app": f"v-{n}"}, ports=[api.ServicePort(port=80)]
                ),
            ),
            lambda n: api.Pod(metadata=_meta(f"p-{n}"), spec=template().spec),
        ]

        async def fill() -> None:
            client = cluster.async_client
            await client.create(api.Namespace(metadata=api.ObjectMeta(name="full")))
            accounts = cluster.manager.informers.of(api.ServiceAccount).cache  # type: ignore[union-attr]
            await until(lambda: accounts.get("full", "default") is not None)
            work = [
                lambda client, n=n: client.create(made[n % len(made)](n))  # type: ignore[misc]
                for n in range(10_000)
            ]
            await at_once(client, work)

        async def empty() -> None:
            await cluster.async_client.delete(api.Namespace, "full")
            cache = cluster.manager.informers.of(api.Namespace).cache  # type: ignore[union-attr]
            await until(lambda: cache.get("", "full") is None)

        cluster.call(fill())
        time.sleep(5)
        with Timer() as timer:
            cluster.call(empty())
        timer.say("a namespace with 10,000 mixed objects deleted", 10)


def _meta(name: str) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace="full")


def idle_deployments() -> None:
    """1,000 Deployments of one replica each, all ready, nothing to do."""
    with running(10) as cluster:

        async def ready() -> None:
            work = [
                lambda client, n=n: client.create(deployment(f"d-{n}", 1))  # type: ignore[misc]
                for n in range(1000)
            ]
            await at_once(cluster.async_client, work)
            await until(lambda: all(rolled_out(cluster, f"d-{n}", 1) for n in range(1000)))

        cluster.call(ready())
        idle(cluster, "an idle cluster with 1,000 Deployments", 2)


def idle(cluster: Cluster, what: str, asked: float) -> None:
    time.sleep(SETTLING_S)
    cluster.call(until(lambda: cluster.manager is not None and cluster.manager.idle))
    with Timer() as timer:
        time.sleep(IDLE_S)
    print(f"{what}: {timer.cpu_s / timer.wall_s * 100:.2f} % of a core (asked {asked:g} %)", flush=True)


SCENARIOS: Final[dict[str, Scenario]] = {
    "deployment": one_deployment,
    "deployments": many_deployments,
    "job": big_job,
    "pods": pods_on_nodes,
    "nodes": nodes,
    "namespace": namespace_deletion,
    "idle": idle_deployments,
}


def main() -> None:
    for name in sys.argv[1:] or SCENARIOS:
        if name not in SCENARIOS:
            sys.exit(f"There is no scenario {name!r}; choose from: {', '.join(SCENARIOS)}.")
        SCENARIOS[name]()


if __name__ == "__main__":
    main()
