from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Plan, Remove, UpdateStatus
from sampan.controllers.job import indexes, orphans, ttl
from sampan.controllers.job import plan as jobs
from sampan.controllers.job.facts import COMPLETION_INDEX, INDEX_FAILURES, TRACKING, View
from sampan.controllers.job.failures import Verdict, judge
from sampan.controllers.job.plan import CONTROLLER
from sampan.controllers.runtime.owners import owner_reference
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench, key, template
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(completions: int | None = 3, parallelism: int = 2, **spec: Any) -> api.Job:
    """A Job with the API server's defaults."""
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    restart = spec.pop("restart", "Never")
    made = api.Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=api.ObjectMeta(name="work", namespace=NAMESPACE, uid="job", generation=1),
        spec=api.JobSpec(
            completions=completions,
            parallelism=parallelism,
            selector=api.LabelSelector(matchLabels={"app": "web"}),
            template=template(),
            **spec,
        ),
    )
    made.spec.template.spec.restartPolicy = restart
    return made


def indexed(completions: int = 3, parallelism: int = 2, **spec: Any) -> api.Job:
    return job(completions, parallelism, completionMode="Indexed", **spec)


def per_index(**spec: Any) -> api.Job:
    return indexed(parallelism=3, backoffLimitPerIndex=1, backoffLimit=2**31 - 1, **spec)


# -- planned over a table of pods ---------------------------------------------------------------------------
# One letter a pod: r runs, R is ready, s succeeded, f failed, t is ending; S and F have ended and are counted
# already (have no finalizer). In indexed Jobs a digit before the letter is the index.


def pods_of(owner: api.Job, text: str, exit_code: int = 1) -> list[api.Pod]:
    made = []
    for position, word in enumerate(text.split()):
        letter = word[-1]
        meta = api.ObjectMeta(
            name=f"p{position}",
            uid=f"p{position}",
            namespace=NAMESPACE,
            labels={"app": "web"},
            ownerReferences=[owner_reference(owner)],
            finalizers=[] if letter in "SF" else [TRACKING],
            creationTimestamp=NOW - timedelta(hours=1),
        )
        if word[:-1]:
            meta.annotations = {COMPLETION_INDEX: word[:-1]}
        phase = {"s": "Succeeded", "f": "Failed"}.get(letter.lower(), "Running")
        pod = api.Pod(apiVersion="v1", kind="Pod", metadata=meta, status=api.PodStatus(phase=phase))
        if letter.lower() == "r":
            pod.status.phase = "Running"
            ready = "True" if letter == "R" else "False"
            pod.status.conditions = [api.PodCondition(type="Ready", status=ready)]
        if letter == "t":
            meta.deletionTimestamp = NOW - timedelta(minutes=30)
        if phase == "Failed":
            ended = api.ContainerStateTerminated(exitCode=exit_code, finishedAt=NOW - timedelta(minutes=30))
            state = api.ContainerState(terminated=ended)
            pod.status.containerStatuses = [api.ContainerStatus(name="web", state=state)]
        made.append(pod)
    return made


def step(owner: api.Job, text: str, **given: Any) -> Plan:
    return jobs.plan(View(owner, tuple(pods_of(owner, text, **given))), NOW)


def status_after(plan: Plan, owner: api.Job) -> api.JobStatus:
    found = [effect.obj.status for effect in plan.effects if isinstance(effect, UpdateStatus)]
    return found[0] if found else owner.status


def created(plan: Plan) -> list[str]:
    """The index of each pod that is created; "" without one."""
    pods = [effect.obj for effect in plan.effects if isinstance(effect, Create)]
    return [pod.metadata.annotations.get(COMPLETION_INDEX, "") for pod in pods]


def removed(plan: Plan) -> list[str]:
    return sorted(effect.ref.name for effect in plan.effects if isinstance(effect, Remove))


def conditions(plan: Plan, owner: api.Job) -> list[str]:
    return [f"{c.type}:{c.reason}" for c in status_after(plan, owner).conditions if c.status == "True"]


@pytest.mark.parametrize(
    ("owner", "pods", "creates", "removes"),
    [
        (job(3, 2), "", 2, 0),
        (job(3, 2), "r", 1, 0),
        (job(3, 2), "r r", 0, 0),
        (job(3, 2), "r r r", 0, 1),
        (job(3, 2), "s s", 1, 0),
        (job(3, 2), "s s s", 0, 0),
        (job(3, 2), "s s r r", 0, 1),
        (job(3, 2), "r t", 1, 0),
        (job(3, 2, podReplacementPolicy="Failed"), "r t", 0, 0),
        (job(3, 0), "r", 0, 1),
        (job(3, 2, suspend=True), "r r", 0, 2),
        (job(3, 2, suspend=True), "", 0, 0),
        (job(None, 2), "", 2, 0),
        (job(None, 2), "s", 0, 0),
        (job(None, 2), "s r", 0, 0),
        (job(2000, 2000), "", 500, 0),
    ],
)
def test_pods_are_made_and_removed(owner: api.Job, pods: str, creates: int, removes: int) -> None:
    plan = step(owner, pods)
    assert (len(created(plan)), len(removed(plan))) == (creates, removes)


@pytest.mark.parametrize(
    ("pods", "creates", "removes"),
    [
        ("", ["0", "1"], []),
        ("0r", ["1"], []),
        ("0s 1r", ["2"], []),
        ("1s", ["0", "2"], []),
        ("0r 0r", [], ["p0"]),
        ("0r 7r", [], ["p1"]),
        ("0t 1r", ["0"], []),
    ],
)
def test_indexes_are_filled_from_the_lowest(pods: str, creates: list[str], removes: list[str]) -> None:
    plan = step(indexed(), pods)
    assert (created(plan), removed(plan)) == (creates, removes)


def test_a_pod_of_an_index_knows_it() -> None:
    pod = next(effect.obj for effect in step(indexed(), "0r").effects if isinstance(effect, Create))
    assert pod.metadata.generateName == "work-1-"
    assert pod.metadata.labels[COMPLETION_INDEX] == "1"
    assert pod.metadata.finalizers == [TRACKING]
    assert pod.spec.hostname == "work-1"
    (env,) = pod.spec.containers[0].env
    assert env.name == "JOB_COMPLETION_INDEX"
    assert env.valueFrom.fieldRef.fieldPath == "metadata.labels['batch.kubernetes.io/job-completion-index']"


def rule(action: str, *codes: int, operator: str = "In", condition: str = "") -> api.PodFailurePolicyRule:
    if condition:
        pattern = api.PodFailurePolicyOnPodConditionsPattern(type=condition, status="True")
        return api.PodFailurePolicyRule(action=action, onPodConditions=[pattern])
    wanted = api.PodFailurePolicyOnExitCodesRequirement(operator=operator, values=list(codes))
    return api.PodFailurePolicyRule(action=action, onExitCodes=wanted)


def policy(*rules: api.PodFailurePolicyRule) -> api.PodFailurePolicy:
    return api.PodFailurePolicy(rules=list(rules))


def success(count: int | None = None, listed: str | None = None) -> api.SuccessPolicy:
    return api.SuccessPolicy(rules=[api.SuccessPolicyRule(succeededCount=count, succeededIndexes=listed)])


MET = "SuccessCriteriaMet:"
TARGET = "FailureTarget:"


@pytest.mark.parametrize(
    ("owner", "pods", "wanted"),
    [
        (job(2, 2), "s r", []),
        (job(2, 2), "s s", [f"{MET}CompletionsReached"]),
        (job(None, 2), "s r", []),
        (job(None, 2), "s", [f"{MET}CompletionsReached"]),
        (job(3, 2, backoffLimit=1), "f", []),
        (job(3, 2, backoffLimit=1), "f f r", [f"{TARGET}BackoffLimitExceeded"]),
        (job(3, 2, backoffLimit=0), "f", [f"{TARGET}BackoffLimitExceeded"]),
        (job(3, 2, backoffLimit=0), "t", [f"{TARGET}BackoffLimitExceeded"]),
        (job(3, 2, backoffLimit=0, podReplacementPolicy="Failed"), "t", []),
        (job(3, 2, podFailurePolicy=policy(rule("FailJob", 1))), "f", [f"{TARGET}PodFailurePolicy"]),
        (job(3, 2, backoffLimit=0, podFailurePolicy=policy(rule("Ignore", 1))), "f", []),
        (job(3, 2, podFailurePolicy=policy(rule("FailJob", 2))), "f", []),
        (indexed(3, 3), "0s 1s 2s", [f"{MET}CompletionsReached"]),
        (indexed(3, 3), "0s 0s 1s", []),
        (indexed(3, 3, successPolicy=success(1)), "1s 0r", [f"{MET}SuccessPolicy"]),
        (indexed(3, 3, successPolicy=success(None, "0,2")), "0s 1s", []),
        (indexed(3, 3, successPolicy=success(None, "0,2")), "0s 2s", [f"{MET}SuccessPolicy"]),
        (indexed(3, 3, successPolicy=success(1, "1-2")), "0s", []),
        (indexed(3, 3, successPolicy=success(1, "1-2")), "2s", [f"{MET}SuccessPolicy"]),
        (per_index(podFailurePolicy=policy(rule("FailIndex", 1))), "0f 1s 2s", [f"{TARGET}FailedIndexes"]),
        (per_index(podFailurePolicy=policy(rule("FailIndex", 1))), "0f 1s 2r", []),
        (
            per_index(podFailurePolicy=policy(rule("FailIndex", 1)), maxFailedIndexes=0),
            "0f 1r",
            [f"{TARGET}MaxFailedIndexesExceeded"],
        ),
    ],
)
def test_outcomes(owner: api.Job, pods: str, wanted: list[str]) -> None:
    plan = step(owner, pods)
    assert conditions(plan, owner) == wanted
    if wanted:
        assert removed(plan) == [f"p{at}" for at, word in enumerate(pods.split()) if word[-1] in "rR"]
        assert created(plan) == []


def test_restarts_in_place_count_against_the_limit() -> None:
    owner = job(1, 1, backoffLimit=2, restart="OnFailure")
    for restarts, wanted in ((1, []), (2, [f"{TARGET}BackoffLimitExceeded"])):
        (pod,) = pods_of(owner, "r")
        pod.status.containerStatuses = [api.ContainerStatus(name="web", restartCount=restarts)]
        assert conditions(jobs.plan(View(owner, (pod,)), NOW), owner) == wanted


def test_the_deadline_counts_from_the_start() -> None:
    owner = job(3, 1, activeDeadlineSeconds=60)
    owner.status.startTime = NOW - timedelta(seconds=20)
    plan = step(owner, "r")
    assert (conditions(plan, owner), plan.requeue_after_s) == ([], 40)
    owner.status.startTime = NOW - timedelta(seconds=60)
    plan = step(owner, "r")
    # What happens next is its pods' end: to look again at once would be to look all the time.
    assert (conditions(plan, owner), plan.requeue_after_s) == ([f"{TARGET}DeadlineExceeded"], None)


@pytest.mark.parametrize(
    ("rules", "exit_code", "wanted"),
    [
        ([rule("Ignore", condition="DisruptionTarget"), rule("FailJob", 1)], 1, "FailJob"),
        ([rule("FailJob", 3), rule("Count", 1)], 1, "Count"),
        ([rule("FailJob", 1, operator="NotIn")], 1, ""),
        ([rule("FailJob", 2, operator="NotIn")], 1, "FailJob"),
        ([rule("FailJob", 2, operator="NotIn")], 0, ""),
    ],
)
def test_the_first_rule_that_fits_decides(
    rules: list[api.PodFailurePolicyRule], exit_code: int, wanted: str
) -> None:
    owner = job(podFailurePolicy=policy(*rules))
    (pod,) = pods_of(owner, "f", exit_code)
    assert judge(owner, pod).action == wanted
    if wanted == "FailJob" and len(rules) == 2:
        message = "Container web for pod default/p0 failed with exit code 1 matching FailJob rule at index 1"
        assert judge(owner, pod).message == message
        pod.status.conditions = [api.PodCondition(type="DisruptionTarget", status="True")]
        assert judge(owner, pod) == Verdict(
            "Ignore", "Pod default/p0 has condition DisruptionTarget matching Ignore rule at index 0"
        )


def test_failures_in_a_row_wait_longer_each_time() -> None:
    owner = job(5, 1, backoffLimit=100)
    for failures, wait_s in ((1, 10), (2, 20), (3, 40), (8, 600)):
        pods = pods_of(owner, " ".join("F" * failures))
        for pod in pods:
            ended = pod.status.containerStatuses[0].state
            assert ended is not None
            assert ended.terminated is not None
            ended.terminated.finishedAt = NOW
        plan = jobs.plan(View(owner, tuple(pods)), NOW)
        assert (created(plan), plan.requeue_after_s) == ([], wait_s)
        later = jobs.plan(View(owner, tuple(pods)), NOW + timedelta(seconds=wait_s))
        assert len(created(later)) == 1


def test_an_index_remembers_its_failures_in_its_next_pod() -> None:
    owner = per_index()
    plan = step(owner, "0f 1r 2r")
    (pod,) = [effect.obj for effect in plan.effects if isinstance(effect, Create)]
    assert (pod.metadata.annotations[COMPLETION_INDEX], pod.metadata.annotations[INDEX_FAILURES]) == (
        "0",
        "1",
    )
    # the failed pod is held until its successor is there, and counted then
    uncounted = status_after(plan, owner).uncountedTerminatedPods
    assert uncounted is not None
    assert uncounted.failed == []
    uncounted = status_after(step(owner, "0f 0r 1r 2r"), owner).uncountedTerminatedPods
    assert uncounted is not None
    assert uncounted.failed == ["p0"]
    pods = pods_of(owner, "0f 1r 2r")
    pods[0].metadata.annotations[INDEX_FAILURES] = "1"
    plan = jobs.plan(View(owner, tuple(pods)), NOW)
    assert status_after(plan, owner).failedIndexes == "0"
    assert created(plan) == []


def test_a_job_of_another_manager_is_left_alone() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(job(managedBy="example.com/other"))
        assert await bench.settle(CONTROLLER, key("work")) == 0

    run(main())


@pytest.mark.parametrize(
    ("listed", "text"),
    [(set(), ""), ({3}, "3"), ({1, 2}, "1,2"), ({0, 1, 2, 5, 7, 8}, "0-2,5,7,8"), ({4, 2, 3}, "2-4")],
)
def test_index_lists(listed: set[int], text: str) -> None:
    assert indexes.write(listed) == text
    assert indexes.parse(text, 100) == listed


def test_indexes_that_there_are_no_more_are_forgotten() -> None:
    assert indexes.parse("1,3-5", 4) == {1, 3}
    assert indexes.parse("0-100000000", 3) == {0, 1, 2}


# -- against a server ---------------------------------------------------------------------------------------


async def finish(bench: Bench, name: str, phase: str) -> None:
    pod = await bench.get(api.Pod, name)
    pod.status.phase = phase
    ended = api.ContainerStateTerminated(exitCode=int(phase == "Failed"), finishedAt=bench.now)
    state = api.ContainerState(terminated=ended)
    pod.status.containerStatuses = [api.ContainerStatus(name="web", state=state)]
    bench.server.put(pod)


async def running(bench: Bench) -> list[str]:
    return [
        pod.metadata.name or ""
        for pod in await bench.all(api.Pod)
        if pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletionTimestamp is None
    ]


def fresh(owner: api.Job) -> api.Job:
    owner.metadata.uid = None
    return owner


def test_a_job_runs_to_its_end_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(job(3, 2)))
        for expected in (2, 1):
            await bench.settle(CONTROLLER, key("work"))
            assert (await bench.step(CONTROLLER, key("work"))).effects == ()
            assert (await bench.get(api.Job, "work")).status.active == expected
            for name in await running(bench):
                await finish(bench, name, "Succeeded")
        await bench.settle(CONTROLLER, key("work"))
        status = (await bench.get(api.Job, "work")).status
        assert (status.succeeded, status.active, status.failed) == (3, None, None)
        assert status.completionTime == bench.now
        assert [c.type for c in status.conditions] == ["SuccessCriteriaMet", "Complete"]
        assert status.uncountedTerminatedPods == api.UncountedTerminatedPods()
        assert all(pod.metadata.finalizers == [] for pod in await bench.all(api.Pod))

    run(main())


@pytest.mark.parametrize("seed", range(12))
def test_no_pod_is_counted_twice_or_lost_whatever_breaks_off(seed: int) -> None:
    """Plans are cut off anywhere, pods end at any time and are collected as soon as they may be."""

    async def main() -> None:
        chance = random.Random(seed)
        bench = Bench()
        owner = indexed(6, 3, backoffLimit=50) if seed % 2 else job(6, 3, backoffLimit=50)
        await bench.client.create(fresh(owner))
        failed = 0
        for _ in range(400):
            caches = bench.caches(CONTROLLER)
            view = CONTROLLER.gather(caches, key("work"))
            assert view is not None
            if any(c.type == "Complete" for c in view.job.status.conditions):
                break
            effects = CONTROLLER.plan(view, bench.now).effects
            cut = chance.randint(0, len(effects)) if chance.random() < 0.5 else len(effects)
            await bench.executor.carry_out(Plan(effects[:cut]))
            for name in await running(bench):
                if chance.random() < 0.3:
                    phase = chance.choice(["Succeeded", "Succeeded", "Failed"])
                    failed += phase == "Failed"
                    await finish(bench, name, phase)
            for pod in await bench.all(api.Pod):
                if pod.status.phase in ("Succeeded", "Failed") and chance.random() < 0.3:
                    await bench.client.delete(api.Pod, pod.metadata.name or "", NAMESPACE)
            await bench.clock.advance(30)
        status = (await bench.get(api.Job, "work")).status
        assert [c.type for c in status.conditions] == ["SuccessCriteriaMet", "Complete"]
        assert (status.succeeded, status.failed or 0) == (6, failed)

    run(main())


def test_suspending_removes_pods_uncounted_and_resuming_starts_the_time_anew() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(job(3, 2)))
        await bench.settle(CONTROLLER, key("work"))
        await bench.client.patch(api.Job, "work", NAMESPACE, {"spec": {"suspend": True}})
        await bench.settle(CONTROLLER, key("work"))
        found = await bench.get(api.Job, "work")
        assert (await bench.all(api.Pod), found.status.failed, found.status.active) == ([], None, None)
        assert [(c.type, c.status) for c in found.status.conditions] == [("Suspended", "True")]
        await bench.clock.advance(100)
        await bench.client.patch(api.Job, "work", NAMESPACE, {"spec": {"suspend": False}})
        await bench.settle(CONTROLLER, key("work"))
        found = await bench.get(api.Job, "work")
        assert [(c.type, c.status) for c in found.status.conditions] == [("Suspended", "False")]
        assert found.status.startTime == bench.now
        assert len(await running(bench)) == 2

    run(main())


def test_orphans_are_adopted_with_the_finalizer_and_strangers_lose_it() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(job(3, 2)))
        await bench.settle(CONTROLLER, key("work"))
        one = (await bench.all(api.Pod))[0].metadata.name or ""
        await bench.client.patch(api.Pod, one, NAMESPACE, {"metadata": {"labels": {"app": "other"}}})
        await bench.settle(CONTROLLER, key("work"))
        released = await bench.get(api.Pod, one)
        assert (released.metadata.ownerReferences, released.metadata.finalizers) == ([], [])
        assert len(await bench.all(api.Pod)) == 3
        await bench.client.patch(api.Pod, one, NAMESPACE, {"metadata": {"labels": {"app": "web"}}})
        await bench.step(CONTROLLER, key("work"))
        adopted = await bench.get(api.Pod, one)
        assert (adopted.metadata.ownerReferences[0].name, adopted.metadata.finalizers) == ("work", [TRACKING])

    run(main())


def test_a_quota_does_not_make_the_status_claim_pods() -> None:
    async def main() -> None:
        bench = Bench()
        await bench.client.create(fresh(job(3, 2)))

        def quota(method: str, path: str, body: Any) -> None:
            if method == "POST" and path.endswith("/pods"):
                raise Refuse(403, "Forbidden", "exceeded quota")

        bench.server.intercept = quota
        for _ in range(3):
            await bench.step(CONTROLLER, key("work"))
        assert (await bench.get(api.Job, "work")).status.active is None
        posts = [
            path for method, path in bench.server.requests if method == "POST" and path.endswith("/pods")
        ]
        assert len(posts) == 3
        before = bench.server.revision
        await bench.step(CONTROLLER, key("work"))
        assert bench.server.revision == before

    run(main())


def test_finished_jobs_go_when_their_time_has_come() -> None:
    owner = job(ttlSecondsAfterFinished=30)
    owner.status.conditions = [api.JobCondition(type="Complete", status="True", lastTransitionTime=NOW)]
    plan = ttl.plan(ttl.View(owner), NOW + timedelta(seconds=10))
    assert (plan.effects, plan.requeue_after_s) == ((), 20)
    (effect,) = ttl.plan(ttl.View(owner), NOW + timedelta(seconds=30)).effects
    assert isinstance(effect, Remove)
    assert effect.propagation == "Foreground"


def test_pods_without_their_job_are_let_go() -> None:
    async def main() -> None:
        bench = Bench()
        made = await bench.client.create(fresh(job(3, 2)))
        await bench.settle(CONTROLLER, key("work"))
        name = (await running(bench))[0]
        assert await bench.settle(orphans.CONTROLLER, key(name)) == 0
        bench.server.drop(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/work")
        assert await bench.settle(orphans.CONTROLLER, key(name)) == 1
        assert (await bench.get(api.Pod, name)).metadata.finalizers == []
        assert made.metadata.uid

    run(main())
