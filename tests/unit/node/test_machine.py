"""The pod machine rule by rule, as kubelet has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.machinery.quantity import quantity
from sampan.node.messages import (
    ContainerUp,
    Done,
    EnsureImage,
    Evicted,
    FinishDeletion,
    Observed,
    PostStart,
    PrepareVolumes,
    Probed,
    Rejected,
    ResizeContainer,
    RunSandbox,
    StartContainer,
    StopContainer,
    Tick,
)
from sampan.node.model import ProbeKind
from sampan.schema import api
from tests.unit.node.bench import START, Bench, started
from tests.unit.node.fakes import container, make_pod

EXEC = {"exec": {"command": ["true"]}}


def probe(bench: Bench, kind: ProbeKind, ok: bool, name: str = "app") -> None:
    bench.send(Probed(name, bench.running(name)[0].id, kind, ok, "said so"))


# --- starting ---------------------------------------------------------------------------------------------


def test_volumes_sandbox_and_image_are_ordered_at_once() -> None:
    bench = Bench(make_pod())
    bench.look()
    assert bench.pending == [PrepareVolumes(), RunSandbox(0), EnsureImage("app", "app:1", "IfNotPresent")]
    assert bench.status.phase == "Pending"
    assert bench.describe() == "ContainerCreating"


@pytest.mark.parametrize("last", ["volumes", "sandbox", "image/app"])
def test_a_container_starts_when_the_last_of_them_is_there(last: str) -> None:
    bench = Bench(make_pod())
    bench.look()
    for order in [p for p in bench.pending if p.key != last]:
        bench.carry_out(order)
    assert bench.keys() == [last]
    bench.carry_out(bench.pending[0])
    assert [type(p) for p in bench.pending] == [StartContainer]


def test_a_running_pod_says_so() -> None:
    bench = started(make_pod(meta={"generation": 7}))
    status = bench.status
    assert (status.phase, status.podIP, status.hostIP) == ("Running", "10.0.0.1", "192.0.2.1")
    assert status.startTime == START and status.observedGeneration == 7 and status.qosClass == "BestEffort"
    assert all(c.status == "True" and c.observedGeneration == 7 for c in status.conditions)
    one = bench.one()
    assert (one.ready, one.started, one.restartCount) == (True, True, 0)
    assert one.containerID == "test://c2" and one.imageID == "id-of-app:1"


def test_nothing_happens_before_the_runtime_was_seen() -> None:
    bench = Bench(make_pod())
    bench.see(bench.pod)
    assert bench.orders == []


def test_main_containers_start_together_but_a_post_start_hook_holds_up_the_rest() -> None:
    hooked = container("first", lifecycle={"postStart": EXEC})
    bench = Bench(make_pod(containers=[hooked, container("second")]))
    bench.look()
    bench.drain(but=PostStart)
    assert [c.name for c in bench.running()] == ["first"]
    assert bench.status.phase == "Running" or bench.describe("first") == "ContainerCreating"
    bench.drain()
    assert [c.name for c in bench.running()] == ["first", "second"]
    assert bench.describe("first") == "running"


def test_a_failed_post_start_hook_stops_the_container() -> None:
    bench = Bench(make_pod(containers=[container(lifecycle={"postStart": EXEC})]))
    bench.look()
    bench.drain(but=PostStart)
    bench.fail(next(p for p in bench.pending if isinstance(p, PostStart)), "FailedHook", "exit status 1")
    assert any(isinstance(p, StopContainer) for p in bench.pending)
    assert "FailedPostStartHook" in bench.reasons()


@pytest.mark.parametrize("target", ["app", ""])
def test_an_ephemeral_container_is_started_with_its_target(target: str) -> None:
    pod = make_pod()
    bench = started(pod)
    debugger = {"name": "debugger", "image": "busybox", "targetContainerName": target}
    ephemeral = api.EphemeralContainer(**debugger)
    bench.see(replace(pod, spec=replace(pod.spec, ephemeralContainers=[ephemeral])))
    bench.drain(but=StartContainer)
    [order] = [p for p in bench.pending if isinstance(p, StartContainer)]
    [main] = bench.running()
    assert (order.container, order.target_id) == ("debugger", main.id if target else "")


def test_host_network_pods_have_the_nodes_address() -> None:
    bench = started(make_pod(hostNetwork=True))
    assert bench.status.podIP == "192.0.2.1"


def test_init_containers_run_one_after_the_other() -> None:
    bench = started(make_pod(initContainers=[container("one"), container("two")]))
    assert [c.name for c in bench.running()] == ["one"]
    assert bench.describe() == "PodInitializing"
    assert bench.condition("Initialized").message == "containers with incomplete status: [one two]"
    bench.exit_named("one")
    bench.drain()
    assert [c.name for c in bench.running()] == ["two"]
    assert bench.describe("one") == "Completed/0"
    assert bench.condition("Initialized").message == "containers with incomplete status: [two]"
    bench.exit_named("two")
    bench.drain()
    assert [c.name for c in bench.running()] == ["app"]
    assert bench.condition("Initialized").status == "True"
    assert bench.status.phase == "Running"


def test_a_failed_init_container_is_tried_again() -> None:
    bench = started(make_pod(initContainers=[container("one")]))
    bench.exit_named("one", 1)
    bench.drain()
    assert bench.one("one").restartCount == 1
    bench.exit_named("one", 1)
    assert bench.describe("one") == "CrashLoopBackOff"
    assert bench.status.phase == "Pending"


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    bench = started(make_pod(initContainers=[container("one")], restartPolicy="Never"))
    bench.exit_named("one", 1)
    bench.drain()
    assert bench.status.phase == "Failed"
    assert bench.running() == []
    assert bench.describe("one") == "Error/1"
    assert bench.describe() == "PodInitializing"  # it never ran, and nobody shall think it did
    assert not any(s.ready for s in bench.sandboxes.values())


def test_what_waited_for_an_init_container_is_never_said_to_have_ended() -> None:
    inits = [container("one"), container("two"), container("three")]
    bench = started(make_pod(initContainers=inits, restartPolicy="Never"))
    bench.exit_named("one", 0)
    bench.drain()
    bench.exit_named("two", 1)
    bench.drain()
    assert bench.status.phase == "Failed"
    shown = [bench.describe(name) for name in ("one", "two", "three", "app")]
    assert shown == ["Completed/0", "Error/1", "PodInitializing", "PodInitializing"]


def test_sidecars_start_in_order_and_do_not_hold_up_the_rest_once_started() -> None:
    side = container("side", restartPolicy="Always", startupProbe=EXEC)
    bench = started(make_pod(initContainers=[side, container("setup")]))
    assert [c.name for c in bench.running()] == ["side"]
    probe(bench, ProbeKind.STARTUP, True, "side")
    bench.drain()
    assert [c.name for c in bench.running()] == ["side", "setup"]
    bench.exit_named("setup")
    bench.drain()
    assert [c.name for c in bench.running()] == ["side", "app"]
    assert bench.condition("Ready").status == "True"


def test_a_crashed_sidecar_restarts_even_in_a_pod_that_never_does() -> None:
    side = container("side", restartPolicy="Always")
    bench = started(make_pod(initContainers=[side], restartPolicy="Never"))
    bench.exit_named("side", 1)
    bench.drain()
    assert {c.name for c in bench.running()} == {"side", "app"}
    assert bench.one("side").restartCount == 1


def test_sidecars_stop_when_the_main_containers_are_done() -> None:
    sides = [container("one", restartPolicy="Always"), container("two", restartPolicy="Always")]
    bench = started(make_pod(initContainers=sides, restartPolicy="Never"))
    bench.exit_named("app")
    assert bench.status.phase == "Running"
    assert [p.container for p in bench.pending if isinstance(p, StopContainer)] == ["two"]
    bench.drain()
    assert bench.status.phase == "Succeeded"
    assert bench.condition("Ready").reason == "PodCompleted"


def test_ephemeral_containers_start_in_a_running_pod_and_never_again() -> None:
    bench = started(make_pod())
    debug = api.EphemeralContainer(name="debug", image="sh:1", imagePullPolicy="IfNotPresent")
    bench.see(replace(bench.pod, spec=replace(bench.pod.spec, ephemeralContainers=[debug])))
    bench.drain()
    assert bench.describe("debug") == "running"
    bench.exit_named("debug", 1)
    bench.drain()
    assert bench.describe("debug") == "Error/1"
    assert bench.condition("Ready").status == "True"


# --- restarting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "code", "phase", "restarts"),
    [
        ("Always", 0, "Running", 1),
        ("Always", 1, "Running", 1),
        ("OnFailure", 0, "Succeeded", 0),
        ("OnFailure", 1, "Running", 1),
        ("Never", 0, "Succeeded", 0),
        ("Never", 1, "Failed", 0),
    ],
)
def test_restart_policy(policy: str, code: int, phase: str, restarts: int) -> None:
    bench = started(make_pod(restartPolicy=policy))
    bench.exit_named("app", code)
    bench.drain()
    assert (bench.status.phase, bench.one().restartCount) == (phase, restarts)


@pytest.mark.parametrize(("code", "restarts"), [(42, 1), (1, 0)])
def test_restart_rules_come_before_the_policy(code: int, restarts: int) -> None:
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    main = container(restartPolicy="Never", restartPolicyRules=[rule])
    bench = started(make_pod(containers=[main], restartPolicy="Never"))
    bench.exit_named("app", code)
    bench.drain()
    assert bench.one().restartCount == restarts


def test_crash_loop_back_off_doubles_up_to_five_minutes() -> None:
    bench = started(make_pod())
    waits = []
    for _ in range(8):
        bench.exit_named("app", 1)
        bench.drain()
        begun = bench.now
        while not bench.running():
            bench.pass_time(1)
        waits.append(round((bench.now - begun).total_seconds()))
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_back_off_says_so_once_and_keeps_the_last_state() -> None:
    bench = started(make_pod())
    bench.exit_named("app", 1)
    bench.drain()
    bench.exit_named("app", 2)
    bench.look()
    waiting = bench.one().state
    assert waiting is not None and waiting.waiting is not None
    assert waiting.waiting.message == "back-off 10s restarting failed container=app pod=web_default(web-uid)"
    last = bench.one().lastState
    assert last is not None and last.terminated is not None and last.terminated.exitCode == 2
    assert [n.message for n in bench.notes if n.reason == "BackOff"] == [
        "Back-off restarting failed container app in pod web_default(web-uid)"
    ]


def test_a_container_that_ran_for_ten_minutes_is_trusted_again() -> None:
    bench = started(make_pod())
    for _ in range(3):
        bench.exit_named("app", 1)
        bench.drain()
        bench.pass_time(60)
    bench.pass_time(601)
    bench.exit_named("app", 1)
    bench.drain()
    assert bench.running()


def test_only_the_last_dead_instance_is_kept() -> None:
    bench = started(make_pod())
    for _ in range(4):
        bench.exit_named("app", 1)
        bench.drain()
        bench.pass_time(300)
    assert sorted(c.attempt for c in bench.containers.values()) == [3, 4]


def test_a_changed_image_restarts_the_container_whatever_the_policy() -> None:
    bench = started(make_pod(restartPolicy="Never"))
    main = replace(bench.pod.spec.containers[0], image="app:2")
    bench.see(replace(bench.pod, spec=replace(bench.pod.spec, containers=[main])))
    assert "Container app definition changed, will be restarted" in [n.message for n in bench.notes]
    bench.drain()
    assert bench.running()[0].image == "app:2"
    assert bench.one().restartCount == 1


# --- images -----------------------------------------------------------------------------------------------


def test_a_failed_pull_is_shown_and_backed_off() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.fail(next(p for p in bench.pending if isinstance(p, EnsureImage)), "ErrImagePull", "not found")
    assert bench.describe() == "ErrImagePull"
    bench.drain()
    bench.pass_time(2)
    assert bench.describe() == "ImagePullBackOff"
    assert ("BackOff", 'Back-off pulling image "app:1"') in [(n.reason, n.message) for n in bench.notes]
    bench.pass_time(7)
    assert not bench.running()
    bench.pass_time(2)
    assert bench.running()


def test_pull_back_off_doubles() -> None:
    bench = Bench(make_pod())
    bench.look()
    waits = []
    for _ in range(7):
        order = next(p for p in bench.pending if isinstance(p, EnsureImage))
        bench.fail(order, "ErrImagePull", "no")
        begun = bench.now
        while not any(isinstance(p, EnsureImage) for p in bench.pending):
            assert bench.timer_at is not None
            bench.now = bench.timer_at
            bench.timer_at = None
            bench.send(Tick())
        waits.append((bench.now - begun).total_seconds())
    assert waits == [10, 20, 40, 80, 160, 300, 300]


def test_pull_never_is_said_in_kubelets_words() -> None:
    bench = Bench(make_pod())
    bench.look()
    order = next(p for p in bench.pending if isinstance(p, EnsureImage))
    bench.fail(order, "ErrImageNeverPull", 'Container image "app:1" is not present with pull policy of Never')
    assert bench.describe() == "ErrImageNeverPull"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("r:5000/app", "Always"),
        ("app@sha256:0", "IfNotPresent"),
    ],
)
def test_default_pull_policy(image: str, policy: str) -> None:
    bench = Bench(make_pod(containers=[{"name": "app", "image": image}]))
    bench.look()
    assert [p.pull_policy for p in bench.pending if isinstance(p, EnsureImage)] == [policy]


# --- failures on the way ----------------------------------------------------------------------------------


def test_a_missing_config_map_is_shown_and_tried_again() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=StartContainer)
    order = bench.pending[0]
    bench.fail(order, "CreateContainerConfigError", 'configmap "settings" not found')
    assert bench.describe() == "CreateContainerConfigError"
    assert bench.status.phase == "Pending"
    assert 'Error: configmap "settings" not found' in [n.message for n in bench.notes]
    bench.pass_time(2)
    assert bench.describe() == "running"


def test_an_annotation_that_changes_makes_a_failed_start_be_tried_at_once() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=StartContainer)
    bench.fail(bench.pending[0], "CreateContainerConfigError", "missing value")
    assert bench.pending == []
    bench.see(replace(bench.pod, metadata=replace(bench.pod.metadata, annotations={"a": "b"})))
    assert [type(p) for p in bench.pending] == [StartContainer]


def test_a_start_error_counts_as_a_run() -> None:
    bench = Bench(make_pod(restartPolicy="Never"))
    bench.look()
    bench.drain(but=StartContainer)
    order = bench.pending.pop()
    bench.send(Done(order.key, ContainerUp("c9", bench.now, "", None, "exec: no such file")))
    bench.drain()
    assert (bench.status.phase, bench.describe()) == ("Failed", "StartError/128")


def test_sandbox_and_volume_failures_are_told_and_tried_again() -> None:
    bench = Bench(make_pod())
    bench.look()
    for order in [p for p in bench.pending if isinstance(p, (RunSandbox, PrepareVolumes))]:
        bench.fail(order, "", "trouble")
    assert ("FailedCreatePodSandBox", "Failed to create pod sandbox: trouble") in [
        (n.reason, n.message) for n in bench.notes
    ]
    assert ("FailedMount", "trouble") in [(n.reason, n.message) for n in bench.notes]
    bench.drain()
    bench.pass_time(3)
    assert bench.status.phase == "Running"


def test_a_dead_sandbox_restarts_everything_from_the_first_init_container() -> None:
    bench = started(make_pod(initContainers=[container("setup")]))
    bench.exit_named("setup")
    bench.drain()
    bench.kill_sandbox()
    bench.look()
    bench.drain()
    assert [c.name for c in bench.running()] == ["setup"]
    bench.exit_named("setup")
    bench.drain()
    assert [c.name for c in bench.running()] == ["app"]
    assert bench.one().restartCount == 1 and bench.one("setup").restartCount == 1
    assert len(bench.sandboxes) == 1


def test_a_dead_sandbox_ends_a_pod_that_never_restarts() -> None:
    bench = started(make_pod(restartPolicy="Never"))
    bench.kill_sandbox()
    bench.look()
    bench.drain()
    assert bench.status.phase == "Failed"
    assert not bench.running()


# --- probes -----------------------------------------------------------------------------------------------


def test_a_readiness_probe_decides_readiness() -> None:
    bench = started(make_pod(containers=[container(readinessProbe={**EXEC, "failureThreshold": 2})]))
    assert not bench.one().ready
    assert bench.condition("Ready").message == "containers with unready status: [app]"
    probe(bench, ProbeKind.READINESS, True)
    assert bench.one().ready and bench.condition("Ready").status == "True"
    probe(bench, ProbeKind.READINESS, False)
    assert bench.one().ready
    probe(bench, ProbeKind.READINESS, False)
    assert not bench.one().ready
    assert ("Unhealthy", "Readiness probe failed: said so") in [(n.reason, n.message) for n in bench.notes]
    assert bench.running()


def test_success_threshold() -> None:
    bench = started(make_pod(containers=[container(readinessProbe={**EXEC, "successThreshold": 2})]))
    probe(bench, ProbeKind.READINESS, True)
    assert not bench.one().ready
    probe(bench, ProbeKind.READINESS, True)
    assert bench.one().ready


def test_a_liveness_probe_restarts() -> None:
    spec = {**EXEC, "failureThreshold": 2, "terminationGracePeriodSeconds": 5}
    bench = started(make_pod(containers=[container(livenessProbe=spec)]))
    probe(bench, ProbeKind.LIVENESS, False)
    assert bench.pending == []
    probe(bench, ProbeKind.LIVENESS, False)
    (stop,) = bench.pending
    assert isinstance(stop, StopContainer) and stop.grace_s == 5
    assert "Container app failed liveness probe, will be restarted" in [n.message for n in bench.notes]
    bench.drain()
    assert bench.one().restartCount == 1 and bench.running()


def test_the_startup_probe_comes_before_the_others() -> None:
    main = container(startupProbe=EXEC, livenessProbe=EXEC, readinessProbe=EXEC)
    bench = started(make_pod(containers=[main]))
    assert bench.probes == {("app", "startup")}
    assert not bench.one().started
    probe(bench, ProbeKind.STARTUP, True)
    assert bench.probes == {("app", "liveness"), ("app", "readiness")}
    assert bench.one().started and not bench.one().ready


def test_results_for_an_instance_that_is_gone_are_void() -> None:
    bench = started(make_pod(containers=[container(livenessProbe={**EXEC, "failureThreshold": 1})]))
    bench.send(Probed("app", "c999", ProbeKind.LIVENESS, False))
    assert bench.pending == []


def test_readiness_gates() -> None:
    bench = started(make_pod(readinessGates=[{"conditionType": "example.com/up"}]))
    assert bench.condition("ContainersReady").status == "True"
    assert bench.condition("Ready").reason == "ReadinessGatesNotReady"
    up = api.PodCondition(type="example.com/up", status="True")
    bench.see(replace(bench.pod, status=replace(bench.pod.status, conditions=[up])))
    assert bench.condition("Ready").status == "True"


def test_transition_times_are_kept_while_the_status_is_the_same() -> None:
    bench = started(make_pod(containers=[container(), container("b", readinessProbe=EXEC)]))
    first = bench.condition("Ready").lastTransitionTime
    scheduled = bench.condition("PodScheduled").lastTransitionTime
    bench.pass_time(10)
    probe(bench, ProbeKind.READINESS, True, "b")
    assert bench.condition("PodScheduled").lastTransitionTime == scheduled
    assert first is not None and bench.condition("Ready").lastTransitionTime != first


# --- ending -----------------------------------------------------------------------------------------------


def test_deletion_stops_then_cleans_then_deletes() -> None:
    bench = started(make_pod(containers=[container(lifecycle={"preStop": EXEC})]))
    bench.mark_deleted(12)
    (stop,) = bench.pending
    assert isinstance(stop, StopContainer) and stop.pre_stop and stop.grace_s == 12
    assert ("Killing", "Stopping container app") in [(n.reason, n.message) for n in bench.notes]
    order = []
    while bench.pending:
        order.append(bench.keys()[0].partition("/")[0])
        bench.carry_out(bench.pending[0])
    assert order.index("stop") < order.index("stop-sandbox") < order.index("volumes-remove")
    assert order.index("volumes-remove") < order.index("finish-deletion")
    assert bench.forgotten and not bench.containers and not bench.sandboxes


def test_the_last_status_before_the_object_goes_says_how_it_ended() -> None:
    bench = started(make_pod())
    bench.mark_deleted()
    bench.drain(but=FinishDeletion)
    assert (bench.status.phase, bench.describe()) == ("Failed", "Error/143")


def test_a_shorter_grace_speeds_up_a_stop_that_is_under_way() -> None:
    bench = started(make_pod())
    bench.mark_deleted(300)
    bench.mark_deleted(5)
    stops = [p for p in bench.pending if isinstance(p, StopContainer)]
    assert [s.grace_s for s in stops] == [300, 5]
    assert not stops[1].pre_stop
    bench.mark_deleted(5)
    assert len(bench.pending) == 2


def test_a_pod_that_is_gone_from_the_api_is_wound_down_without_deleting_it() -> None:
    bench = started(make_pod())
    bench.delete_from_api()
    bench.drain()
    assert bench.forgotten and not bench.containers
    assert not any(isinstance(o, FinishDeletion) for o in bench.orders)


def test_a_pod_deleted_while_pulling_does_not_wait_for_the_pull() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=EnsureImage)
    bench.mark_deleted()
    bench.drain(but=EnsureImage)
    assert bench.forgotten
    assert (bench.status.phase, bench.describe()) == ("Failed", "ContainerStatusUnknown/137")


@pytest.mark.parametrize("kind", [RunSandbox, StartContainer])
def test_a_pod_deleted_while_something_starts_waits_for_it_and_cleans_it_up(kind: type) -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=kind)
    order = next(p for p in bench.pending if isinstance(p, kind))
    bench.begin(order)
    bench.mark_deleted()
    while bench.pending:
        bench.carry_out(bench.pending[0])
    assert not bench.forgotten and bench.in_api
    bench.land(order)
    bench.drain()
    assert bench.forgotten and not bench.containers and not bench.sandboxes


def test_a_sandbox_that_dies_while_a_container_starts_is_replaced_after_the_start() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=StartContainer)
    order = bench.pending[0]
    bench.begin(order)
    bench.kill_sandbox()
    bench.look()
    assert bench.pending == []
    bench.land(order)
    bench.drain()
    assert len(bench.running()) == 1 and bench.one().restartCount == 1


def test_a_listing_during_a_start_does_not_count_the_container_twice() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=StartContainer)
    order = bench.pending[0]
    bench.begin(order)
    bench.look()
    assert bench.wants_look
    bench.land(order)
    bench.drain()
    assert bench.one().restartCount == 0 and len(bench.running()) == 1


def test_active_deadline() -> None:
    bench = started(make_pod(activeDeadlineSeconds=60))
    bench.pass_time(59)
    assert bench.status.phase == "Running"
    bench.pass_time(2)
    assert (bench.status.phase, bench.status.reason) == ("Failed", "DeadlineExceeded")
    assert bench.status.message == "Pod was active on the node longer than the specified deadline"
    assert not bench.running()


def test_eviction_fails_the_pod() -> None:
    bench = started(make_pod())
    bench.send(Evicted("Evicted", "The node was low on resource: memory.", 1))
    bench.drain()
    assert (bench.status.phase, bench.status.reason) == ("Failed", "Evicted")
    assert not bench.running()


def test_a_rejected_pod_fails_and_makes_nothing() -> None:
    bench = Bench(make_pod())
    bench.send(Rejected("OutOfcpu", "Pod was rejected: no"))
    bench.look()
    assert bench.pending == []
    assert (bench.status.phase, bench.status.reason) == ("Failed", "OutOfcpu")


def test_a_finished_pod_stays_finished() -> None:
    bench = started(make_pod(restartPolicy="Never"))
    bench.exit_named("app", 0)
    bench.drain()
    assert bench.status.phase == "Succeeded"
    bench.restart_agent()
    bench.drain()
    assert not bench.running()
    assert all(s.phase == "Succeeded" for s in bench.statuses[-2:])


# --- recovery ---------------------------------------------------------------------------------------------


def test_after_a_restart_of_the_agent_running_containers_are_found() -> None:
    bench = started(make_pod(containers=[container(readinessProbe=EXEC), container("b")]))
    probe(bench, ProbeKind.READINESS, True)
    before = {c.id for c in bench.running()}
    status = bench.status
    bench.restart_agent()
    bench.drain()
    assert {c.id for c in bench.running()} == before
    assert not any(isinstance(o, StartContainer) for o in bench.orders[-20:] if o not in bench.orders[:20])
    assert bench.one().ready
    assert bench.status == status


def test_after_a_restart_counts_and_last_states_go_on() -> None:
    bench = started(make_pod())
    bench.exit_named("app", 7)
    bench.drain()
    bench.restart_agent()
    bench.drain()
    assert bench.one().restartCount == 1
    last = bench.one().lastState
    assert last is not None and last.terminated is not None and last.terminated.exitCode == 7


def test_after_a_reboot_everything_starts_again_and_counts_on() -> None:
    bench = started(make_pod())
    bench.sandboxes.clear()
    bench.containers.clear()
    bench.restart_agent()
    bench.drain()
    assert bench.one().restartCount == 1 and bench.running()


def test_init_containers_that_were_cleaned_up_do_not_run_again() -> None:
    bench = started(make_pod(initContainers=[container("setup")]))
    bench.exit_named("setup")
    bench.drain()
    for one in [c.id for c in bench.containers.values() if c.name == "setup"]:
        del bench.containers[one]
    bench.restart_agent()
    bench.drain()
    assert [c.name for c in bench.running()] == ["app"]
    assert bench.describe("setup") == "Completed/0"


def test_a_listing_from_before_a_start_does_not_make_the_container_lost() -> None:
    bench = Bench(make_pod())
    bench.look()
    bench.drain(but=StartContainer)
    as_of = bench.now
    bench.drain()
    bench.send(Observed(tuple(bench.sandboxes.values()), (), as_of))
    assert bench.describe() == "running" and bench.pending == []
    bench.send(Observed(tuple(bench.sandboxes.values()), (), bench.now + timedelta(seconds=1)))
    assert any(isinstance(p, EnsureImage) for p in bench.pending)


# --- resizing ---------------------------------------------------------------------------------------------


def resized(bench: Bench, cpu: str) -> None:
    main = bench.pod.spec.containers[0]
    wanted = api.ResourceRequirements(requests={"cpu": quantity(cpu)})
    bench.see(replace(bench.pod, spec=replace(bench.pod.spec, containers=[replace(main, resources=wanted)])))


def test_resources_change_in_place() -> None:
    bench = started(make_pod(containers=[container(resources={"requests": {"cpu": "1"}})]))
    assert bench.one().allocatedResources["cpu"] == quantity("1")
    resized(bench, "2")
    (order,) = bench.pending
    assert isinstance(order, ResizeContainer)
    bench.drain()
    assert bench.one().allocatedResources["cpu"] == quantity("2")
    assert bench.one().restartCount == 0


def test_a_resize_policy_may_ask_for_a_restart() -> None:
    policy: list[dict[str, Any]] = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
    main = container(resources={"requests": {"cpu": "1"}}, resizePolicy=policy)
    bench = started(make_pod(containers=[main], restartPolicy="Never"))
    resized(bench, "2")
    bench.drain()
    assert bench.one().restartCount == 1
    assert bench.one().allocatedResources["cpu"] == quantity("2")
