"""What a claim counts for, by the classes that there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.kinds.quota.devices import MADE, Served, claim_amounts, covers_served, is_made_for, is_of_claims
from sampan.machinery.quantity import Quantity
from sampan.schema import api, codec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BIG = "requests.deviceclass.resource.kubernetes.io/big"


def claim(name: str = "c", *requests: dict[str, Any], age_s: int | None = 0, uid: str = "u") -> Any:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid, "controller": True}
    made = codec.from_builtins(
        {
            "metadata": {"name": name, "annotations": {MADE: "true"}, "ownerReferences": [owner]},
            "spec": {"devices": {"requests": [{"name": f"r{n}", **r} for n, r in enumerate(requests)]}},
        },
        api.ResourceClaim,
    )
    made.metadata.creationTimestamp = None if age_s is None else NOW - timedelta(seconds=age_s)
    return made


def pod(**status: Any) -> Any:
    fields = {"metadata": {"name": "web", "uid": "u"}, "spec": {"containers": []}, "status": status}
    return codec.from_builtins(fields, api.Pod)


def exactly(name: str, count: int = 1) -> dict[str, Any]:
    return {"exactly": {"deviceClassName": name, "count": count}}


@pytest.mark.parametrize(
    ("classes", "charged", "counted"),
    [
        ({}, {}, {}),
        ({"big": ""}, {}, {BIG: "2"}),
        ({"big": "e.com/gpu"}, {}, {BIG: "2", "requests.e.com/gpu": "2"}),
        ({"big": "e.com/gpu"}, {"requests.e.com/gpu": "1"}, {BIG: "2", "requests.e.com/gpu": "1"}),
        ({"big": "e.com/gpu"}, {"requests.e.com/gpu": "2", BIG: "3"}, {}),
        # Two classes with one name are one resource.
        (
            {"big": "e.com/gpu", "small": "e.com/gpu"},
            {},
            {
                BIG: "2",
                "requests.deviceclass.resource.kubernetes.io/small": "3",
                "requests.e.com/gpu": "5",
            },
        ),
    ],
)
def test_what_a_claim_counts_for(
    classes: dict[str, str], charged: dict[str, str], counted: dict[str, str]
) -> None:
    served = Served(classes, lambda _: {name: Quantity(text) for name, text in charged.items()})
    found = claim_amounts(claim("c", exactly("big", 2), exactly("small", 3)), served)
    by_class = {
        "big.deviceclass.resource.k8s.io/devices": "2",
        "small.deviceclass.resource.k8s.io/devices": "3",
    }
    assert {name: str(amount) for name, amount in found.items()} == by_class | counted


@pytest.mark.parametrize(
    ("mine", "status", "others", "expected"),
    [
        (claim(), {}, [], True),
        (claim(uid="other"), {}, [], False),
        (claim(), {"resourceClaimName": "c", "requestMappings": []}, [claim("a", age_s=9)], True),
        (claim(), {"resourceClaimName": "d", "requestMappings": []}, [], False),
        (claim(), {}, [claim("a", age_s=-1), claim("d")], True),
        (claim(), {}, [claim("a")], False),
        (claim(), {}, [claim("z", age_s=1)], False),
        (claim(), {}, [claim("z", age_s=1, uid="other")], True),
        (claim(age_s=None), {}, [claim("a")], False),
        (claim(age_s=None), {}, [claim("c", age_s=None)], True),
    ],
)
def test_which_claim_was_made_for_a_pod(
    mine: Any, status: dict[str, Any], others: list[Any], expected: bool
) -> None:
    told = {"extendedResourceClaimStatus": status} if status else {}
    assert is_made_for(mine, pod(**told), lambda: others) is expected


def test_a_claim_that_nobody_made_for_a_pod() -> None:
    plain = claim()
    plain.metadata.annotations = {}
    assert not is_made_for(plain, pod(), list)
    orphan = claim()
    orphan.metadata.ownerReferences = []
    assert not is_made_for(orphan, pod(), list)


@pytest.mark.parametrize(
    ("name", "of_claims", "is_served"),
    [
        ("big.deviceclass.resource.k8s.io/devices", True, False),
        (BIG, True, True),
        ("requests.example.com/gpu", True, True),
        ("requests.cpu", False, False),
        ("requests.hugepages-2Mi", False, False),
        ("requests.storage", False, False),
        ("gold.storageclass.storage.k8s.io/requests.storage", False, False),
        ("pods", False, False),
        ("limits.memory", False, False),
    ],
)
def test_which_names_claims_count_for(name: str, of_claims: bool, is_served: bool) -> None:
    assert is_of_claims(name) is of_claims
    assert covers_served([name]) is is_served
