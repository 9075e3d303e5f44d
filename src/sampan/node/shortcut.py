"""The short way of plain pods in a runtime that never waits: to Running and to gone in one step each. Pure.

Most simulated pods do nothing but run: no probes, hooks, init containers, nothing to read. Step by step the
machine takes four turns to start one and eight to end it, each with orders that are answered at once. What
it comes to is known beforehand, and is put here directly. Whatever is out of the ordinary about a pod is
left to the machine, and so is all that happens to a plain pod between its start and its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol, runtime_checkable

from msgspec.structs import replace

from sampan.node.messages import FinishDeletion, Note
from sampan.node.model import (
    ContainerRecord,
    Ending,
    EndKind,
    Instance,
    NodeFacts,
    PodState,
    Role,
    SandboxPhase,
    SandboxRecord,
    Volumes,
)
from sampan.node.names import container_hash, key_of
from sampan.node.rundown import LEAST_GRACE_S, pod_grace_s
from sampan.node.runtimes.runtime import Container, ContainerSpec, Sandbox, SandboxSpec, State
from sampan.node.runup import pull_policy
from sampan.node.specs import (
    container_annotations,
    container_labels,
    sandbox_annotations,
    sandbox_labels,
)
from sampan.schema import api

_LETTING_GO: Final = frozenset({FinishDeletion().key})


@runtime_checkable
class RunsPods(Protocol):
    """What a runtime offers that need not wait for anything."""

    def run_pod(
        self, spec: SandboxSpec, containers: Sequence[ContainerSpec]
    ) -> tuple[Sandbox, Sequence[Container]] | None:
        """A sandbox with all these containers running. None, and nothing done, where that takes time."""
        ...

    def end_pod(self, sandbox_id: str) -> Sequence[Container]:
        """Stop and remove a sandbox and all in it; gives how its containers ended."""
        ...


def starts_plainly(pod: api.Pod) -> bool:
    """Whether nothing has happened to the pod yet, and to start it is to start its containers."""
    spec, meta, status = pod.spec, pod.metadata, pod.status
    return (
        meta.deletionTimestamp is None
        and status.startTime is None
        and not status.containerStatuses
        and status.phase in (None, "Pending")
        and bool(spec.containers)
        and not spec.initContainers
        and not spec.ephemeralContainers
        and not spec.readinessGates
        and not spec.imagePullSecrets
        and not spec.runtimeClassName
        and spec.activeDeadlineSeconds is None
        and (spec.securityContext is None or not spec.securityContext.runAsNonRoot)
        and all(_is_plain(container) for container in spec.containers)
    )


def _is_plain(container: api.Container) -> bool:
    security = container.securityContext
    return (
        container.lifecycle is None
        and container.startupProbe is None
        and container.readinessProbe is None
        and container.livenessProbe is None
        and not container.envFrom
        and all(variable.valueFrom is None for variable in container.env)
        and (security is None or not security.runAsNonRoot)
        and pull_policy(container) != "Always"
    )


def specs(pod: api.Pod) -> tuple[SandboxSpec, list[ContainerSpec]]:
    """What a runtime without processes has to know of a pod that starts plainly."""
    key = key_of(pod)
    sandbox = SandboxSpec(
        namespace=key.namespace,
        name=key.name,
        uid=key.uid,
        labels=sandbox_labels(pod, key),
        annotations=sandbox_annotations(pod),
        host_network=bool(pod.spec.hostNetwork),
    )
    containers = [
        ContainerSpec(
            name=container.name,
            attempt=0,
            image=container.image or "",
            labels=container_labels(key, container.name),
            annotations=container_annotations(pod, container, 0),
        )
        for container in pod.spec.containers
    ]
    return sandbox, containers


def started(
    pod: api.Pod, node: NodeFacts, sandbox: Sandbox, containers: Sequence[Container], now: datetime
) -> tuple[PodState, list[Note]]:
    """A pod that starts plainly, once its containers run; they are in the order of the spec."""
    records = {}
    pulled, notes = [], []
    for spec, made in zip(pod.spec.containers, containers, strict=True):
        image = spec.image or ""
        records[spec.name] = ContainerRecord(
            name=spec.name,
            role=Role.MAIN,
            current=Instance(
                id=made.id,
                attempt=0,
                state=State.RUNNING,
                image=image,
                image_ref=made.image_ref,
                hash=container_hash(spec.name, image),
                started_at=made.started_at,
                known_at=now,
                resources=spec.resources,
                sandbox_id=sandbox.id,
            ),
            hook_done=True,
            ready=True,
            started=True,
        )
        found = f'Container image "{image}" already present on machine and can be accessed by the pod'
        pulled.append(Note("Normal", "Pulled", found, spec.name))
        notes += [
            Note("Normal", "Created", "Container created", spec.name),
            Note("Normal", "Started", "Container started", spec.name),
        ]
    ips = node.ips if pod.spec.hostNetwork else sandbox.ips
    state = PodState(
        pod=pod,
        key=key_of(pod),
        node=node,
        observed=True,
        sandbox=SandboxRecord(id=sandbox.id, attempt=0, phase=SandboxPhase.READY, ips=ips, known_at=now),
        containers=records,
        volumes=Volumes.READY,
        start_time=now,
    )
    return state, [*pulled, *notes]


def ends_plainly(state: PodState, pod: api.Pod) -> bool:
    """Whether the pod just runs, and `pod` is the same one, deleted: all there is to do is to stop it."""
    before, sandbox = state.pod, state.sandbox
    return (
        pod.metadata.deletionTimestamp is not None
        and state.ending is None
        and state.rejected is None
        and not state.api_gone
        and not state.look_again
        and state.timer_at is None
        and not state.doing
        and not state.retries
        and not state.old_containers
        and not state.old_sandboxes
        and state.volumes is Volumes.READY
        and sandbox is not None
        and sandbox.phase is SandboxPhase.READY
        and not pod.spec.initContainers
        and not pod.spec.ephemeralContainers
        and (pod.spec is before.spec or pod.spec == before.spec)
        and all(_just_runs(record) for record in state.containers.values())
        and all(c.lifecycle is None for c in pod.spec.containers)
    )


def _just_runs(record: ContainerRecord) -> bool:
    current = record.current
    return (
        current is not None
        and current.state is State.RUNNING
        and record.previous is None
        and record.hook_done
        and record.doom is None
        and record.stop_by is None
        and not record.probing
    )


def ended(
    state: PodState, pod: api.Pod, exited: Sequence[Container], now: datetime
) -> tuple[PodState, list[Note]]:
    """The pod once its containers have exited like that, and nothing of it is left in the runtime."""
    by_name = {container.name: container for container in exited}
    grace_s = pod.metadata.deletionGracePeriodSeconds
    grace_s = max(pod_grace_s(pod) if grace_s is None else grace_s, LEAST_GRACE_S)
    ending = Ending(kind=EndKind.DELETED, deadline=now + timedelta(seconds=grace_s), grace_s=grace_s)
    records = dict(state.containers)
    notes = []
    for record in state.containers.values():
        made = by_name[record.name]
        assert record.current is not None
        notes.append(Note("Normal", "Killing", f"Stopping container {record.name}", record.name))
        instance = replace(
            record.current,
            state=State.EXITED,
            finished_at=made.finished_at,
            exit_code=made.exit_code,
            reason=made.reason,
            message=made.message,
            removed=True,
        )
        records[record.name] = replace(record, current=instance, ready=False, started=False)
    state = replace(
        state,
        pod=pod,
        containers=records,
        sandbox=None,
        volumes=Volumes.REMOVED,
        ending=ending,
        retries={},
        unseen=not pod.metadata.finalizers,
    )
    return state, notes


def is_left(state: PodState) -> bool:
    """Whether there is nothing more to do for a pod that ended plainly than to let its object go."""
    return (
        state.unseen
        and not state.pod.metadata.finalizers
        and state.doing <= _LETTING_GO
        and not state.retries
        and not state.old_containers
        and not state.old_sandboxes
        and not state.look_again
        and state.timer_at is None
    )


def let_go(state: PodState) -> PodState:
    """One that `is_left`, once its object was deleted."""
    return replace(state, doing=frozenset(), deletion_done=True)


def gone(state: PodState) -> PodState:
    """One that `is_left`, once the API has it no more: nothing is to be known of it."""
    return replace(state, doing=frozenset(), api_gone=True, forgotten=True)
