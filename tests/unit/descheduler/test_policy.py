"""The policy file: what is read, and what is refused with a word that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sampan.base.errors import SampanError
from sampan.cluster import userfiles
from sampan.descheduler import policy

WHOLE = """
apiVersion: descheduler/v1alpha2
kind: DeschedulerPolicy
deschedulingInterval: 1m30s
nodeSelector: pool=workers
maxNoOfPodsToEvictPerNode: 2
maxNoOfPodsToEvictTotal: 10
profiles:
- name: all
  pluginConfig:
  - name: DefaultEvictor
    args: {priorityThreshold: {value: 1000}, minPodAge: 5m, nodeFit: true}
  - name: LowNodeUtilization
    args: {thresholds: {cpu: 20}, targetThresholds: {cpu: 50}}
  - name: RemovePodsViolatingNodeTaints
    args: {excludedTaints: [dedicated=db]}
  plugins:
    balance: {enabled: [LowNodeUtilization, RemoveDuplicates]}
    deschedule: {enabled: [RemovePodsViolatingNodeTaints]}
"""


def test_a_whole_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(WHOLE)
    found = userfiles.load(path, "descheduler policy", policy.parse)
    assert [each.name for each in found.strategies] == [policy.TAINTS, policy.DUPLICATES, policy.UTILIZATION]
    assert found.interval_s == 90 and found.caps == policy.Caps(per_node=2, total=10)
    assert found.strategies[0].args.excluded_taints == ("dedicated=db",)
    assert found.strategies[0].evictor.min_age_s == 300
    assert found.nodes is not None and found.nodes.matches({"pool": "workers"})


def document(profile: dict[str, Any], **rest: Any) -> dict[str, Any]:
    head = {"apiVersion": policy.API_VERSION, "kind": policy.KIND}
    return {**head, "profiles": [{"name": "p", **profile}], **rest}


def enabling(point: str, *names: str, **config: Any) -> dict[str, Any]:
    configs = [{"name": name, "args": args} for name, args in config.items()]
    return {"plugins": {point: {"enabled": list(names)}}, "pluginConfig": configs}


SOME = enabling("balance", "RemoveDuplicates")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "apiVersion and kind have to be descheduler/v1alpha2 and DeschedulerPolicy"),
        (document({}), "profiles enable no strategy"),
        (document(enabling("balance", "Nonsense")), "there is no strategy 'Nonsense'"),
        (document(enabling("deschedule", "RemoveDuplicates")), "belongs under plugins.balance"),
        (document(enabling("balance", "LowNodeUtilization")), "needs thresholds and targetThresholds"),
        (document(enabling("balance", "RemoveDuplicates", Nonsense={})), "there is no plugin 'Nonsense'"),
        (
            document(enabling("balance", "RemoveDuplicates", RemoveDuplicates={"nonsense": 1})),
            "RemoveDuplicates: Object contains unknown field `nonsense`",
        ),
        (
            document(
                enabling(
                    "balance",
                    "LowNodeUtilization",
                    LowNodeUtilization={"thresholds": {"cpu": 60}, "targetThresholds": {"cpu": 50}},
                )
            ),
            "the threshold of cpu has to be 0 or more",
        ),
        (
            document(
                enabling(
                    "balance",
                    "LowNodeUtilization",
                    LowNodeUtilization={"thresholds": {"cpu": 60}, "targetThresholds": {"memory": 70}},
                )
            ),
            "have to name the same resources",
        ),
        (
            document(
                enabling(
                    "deschedule",
                    policy.NODE_AFFINITY,
                    **{policy.NODE_AFFINITY: {"nodeAffinityType": ["preferred"]}},
                )
            ),
            "nodeAffinityType can only be required",
        ),
        (document(SOME, deschedulingInterval="often"), "deschedulingInterval 'often' is no duration"),
        (document(SOME, deschedulingInterval="1s"), "has to be 10s or more"),
        (document(SOME, maxNoOfPodsToEvictTotal=-1), "has to be 0 or more"),
        (document(SOME, nodeSelector="a in"), "nodeSelector 'a in': unable to parse"),
        (
            document(enabling("balance", "RemoveDuplicates", DefaultEvictor={"priorityThreshold": {}})),
            "priorityThreshold has either a value or a name",
        ),
    ],
)
def test_what_makes_no_sense(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("[", r"\[")):
        policy.parse(given)


def test_a_file_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("apiVersion: nonsense\n")
    with pytest.raises(SampanError, match=r"The descheduler policy .*policy.yaml cannot be used"):
        userfiles.load(path, "descheduler policy", policy.parse)
