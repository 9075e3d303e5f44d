# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
"""Groups of one or two kinds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sampan.kinds.groups import events
from sampan.schema import api

from .objects import NOW, ago, cells, data, errors, kind_of, made, update_errors


def request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM)


def authority() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def policy(**given: Any) -> dict[str, Any]:
    """A capacity of 4 with a requestPolicy, whose default is 1 unless told otherwise."""
    return {
        "value": "4",
        "requestPolicy": {k: v for k, v in {"default": "1", **given}.items() if v is not None},
    }


def csr(**spec: Any) -> Any:
    obj = made("CertificateSigningRequest", {})
    obj.spec.request = request()
    obj.spec.signerName = "example.com/web"
    obj.spec.usages = ["client auth"]
    for name, value in spec.items():
        setattr(obj.spec, name, value)
    return obj


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        (
            {"signerName": "kubernetes.io/legacy-unknown", "usages": []},
            [
                "spec.usages: Required value",
                'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not '
                "allowed via this API version",
            ],
        ),
        (
            {"signerName": "web"},
            [
                'spec.signerName: Invalid value: "web": must be a fully qualified domain and path of the form '
                "'example.com/signer-name'"
            ],
        ),
        (
            {"expirationSeconds": 599, "usages": ["client auth", "client auth"]},
            [
                'spec.usages[1]: Duplicate value: "client auth"',
                "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds "
                "(10 minutes)",
            ],
        ),
        (
            {"request": b"hello"},
            ['spec.request: Invalid value: "hello": PEM block type must be CERTIFICATE REQUEST'],
        ),
    ],
)
def test_signing_requests(spec: dict[str, Any], expected: list[str]) -> None:
    assert [str(e) for e in kind_of("CertificateSigningRequest").validate(csr(**spec))] == expected


def test_a_signing_request_is_for_life() -> None:
    kind = kind_of("CertificateSigningRequest")
    new, old = csr(username="eve"), csr(username="ann")
    kind.prepare_update(new, old)
    assert new.spec == old.spec
    assert kind.field_selectors["spec.signerName"](old) == "example.com/web"
    assert kind.subresources[0][0] == "certificatesigningrequests/approval"


def test_approvals_stay_and_do_not_contradict() -> None:
    kind = kind_of("CertificateSigningRequest")
    old, new = csr(), csr()
    approved = api.CertificateSigningRequestCondition(type="Approved", status="True")
    old.status.conditions = [approved]
    assert [str(e) for e in kind.validate_status_update(new, old)] == [
        "status.conditions: Forbidden: updates may not remove a condition of type 'Approved'"
    ]
    denied = api.CertificateSigningRequestCondition(type="Denied", status="False")
    new.status.conditions = [approved, denied]
    assert [str(e) for e in kind.validate_status_update(new, old)] == [
        'status.conditions[1].status: Unsupported value: "False": supported values: "True"',
        'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive',
    ]


def test_cells_of_signing_requests() -> None:
    conditions = [{"type": "Approved", "status": "True"}]
    status = {"conditions": conditions, "certificate": "eA=="}
    spec = {"signerName": "a.b/c", "username": "ann", "expirationSeconds": 3600}
    shown = cells("CertificateSigningRequest", {"spec": spec, "status": status})
    assert shown == {
        "Name": "web",
        "Age": "60m",
        "SignerName": "a.b/c",
        "Requestor": "ann",
        "RequestedDuration": "60m",
        "Condition": "Approved,Issued",
    }
    assert cells("CertificateSigningRequest", {})["Condition"] == "Pending"


def test_trust_bundles_are_named_after_their_signer() -> None:
    bundle = authority()

    def value(name: str, **spec: Any) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"trustBundle": bundle, **spec}}

    assert errors("ClusterTrustBundle", value("ours")) == []
    assert errors("ClusterTrustBundle", value("a.io:web:ours", signerName="a.io/web")) == []
    assert errors("ClusterTrustBundle", value("ours", signerName="a.io/web")) == [
        'metadata.name: Invalid value: "ours": ClusterTrustBundle for signerName a.io/web must be named with '
        "prefix a.io:web:"
    ]
    assert errors("ClusterTrustBundle", value("ours", trustBundle="")) == [
        'spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided'
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (
            "PodDisruptionBudget",
            {"spec": {"minAvailable": 1, "maxUnavailable": "101%"}},
            [
                'spec: Invalid value: {"maxUnavailable":"101%","minAvailable":1}: minAvailable and '
                "maxUnavailable cannot be both set",
                'spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%',
            ],
        ),
        (
            "PodDisruptionBudget",
            {"spec": {"minAvailable": -1, "unhealthyPodEvictionPolicy": "No"}},
            [
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
                'spec.unhealthyPodEvictionPolicy: Unsupported value: "No": supported values: "AlwaysAllow", '
                '"IfHealthyBudget"',
            ],
        ),
        (
            "Lease",
            {"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}},
            [
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        ("EndpointSlice", {}, ["addressType: Required value"]),
        (
            "EndpointSlice",
            {
                "addressType": "IPv4",
                "endpoints": [{"addresses": []}, {"addresses": ["127.0.0.1", "::1", "x"]}],
                "ports": [{}, {"protocol": "ICMP", "port": 0}],
            },
            [
                "endpoints[0].addresses: Required value",
                'endpoints[1].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
                "(127.0.0.0/8, ::1/128)",
                'endpoints[1].addresses[1]: Invalid value: "::1": must be an IPv4 address',
                'endpoints[1].addresses[2]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or '
                "2001:db8::ffff)",
                'ports[1].name: Duplicate value: ""',
                'ports[1].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
            ],
        ),
        (
            "PriorityClass",
            {"value": 1_000_000_001, "preemptionPolicy": "Always"},
            [
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
                'preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", '
                '"Never"',
            ],
        ),
        (
            "PriorityClass",
            {"metadata": {"name": "system-mine"}, "value": 1},
            [
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system "
                "use only. error: system-mine is not a known system priority class"
            ],
        ),
        ("PriorityClass", {"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}, []),
        (
            "RuntimeClass",
            {"handler": "run.c", "scheduling": {"tolerations": [{"operator": "Equal"}]}},
            [
                'handler: Invalid value: "run.c": must not contain dots',
                'scheduling.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` '
                'is empty, which means "match all values and all keys"',
            ],
        ),
        (
            "APIService",
            {"spec": {"group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 0}},
            [
                'metadata.name: Invalid value: "web": must be `spec.version+"."+spec.group`: "v1.a.io"',
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            ],
        ),
        (
            "FlowSchema",
            {"spec": {"matchingPrecedence": 10_001, "rules": [{"subjects": [{"kind": "User"}]}]}},
            [
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
                "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be "
                "non-empty",
            ],
        ),
        (
            "PriorityLevelConfiguration",
            {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}}},
            ["spec.limited.limitResponse.queuing: Required value"],
        ),
        (
            "StorageVersionMigration",
            {},
            ["spec.resource.resource: Required value: resource is required to be set"],
        ),
        (
            "SubjectAccessReview",
            {"spec": {}},
            [
                "spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be "
                "specified",
                'spec.user: Invalid value: "": at least one of user or group must be specified',
                'metadata: Invalid value: {"name":"web"}: must be empty',
            ],
        ),
        (
            "SubjectAccessReview",
            {
                "metadata": {"name": "", "uid": "u"},
                "spec": {
                    "user": "jane",
                    "resourceAttributes": {
                        "fieldSelector": {},
                        "labelSelector": {
                            "rawSelector": "a",
                            "requirements": [
                                {"key": "a b", "operator": "In"},
                                {"key": "a", "operator": "New"},
                            ],
                        },
                    },
                },
            },
            [
                "spec.resourceAttributes.fieldSelector.requirements: Required value: when "
                "spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
                'spec.resourceAttributes.labelSelector.rawSelector: Invalid value: "a": may not specified at the '
                "same time as requirements",
                "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified "
                "when `operator` is 'In' or 'NotIn'",
                'spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: "a b": name part must '
                "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation "
                "is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ],
        ),
        (
            "ResourceClaim",
            {"spec": {"devices": {"requests": [{"name": "gpu"}, {"name": "gpu", "exactly": {"count": -1}}]}}},
            [
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is "
                "required",
                "spec.devices.requests[1].exactly.deviceClassName: Required value",
                "spec.devices.requests[1].exactly.count: Invalid value: -1: must be greater than zero",
                'spec.devices.requests[1]: Duplicate value: {"name":"gpu","exactly":{"allocationMode":'
                '"ExactCount","count":-1,"deviceClassName":""}}',
            ],
        ),
        (
            "ResourceSlice",
            {"spec": {"driver": "d.io", "pool": {"name": "p"}, "nodeName": "n", "allNodes": True}},
            [
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, '
                "`allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            "ResourceSlice",
            {
                "spec": {
                    "driver": "d.io",
                    "pool": {"name": "p", "resourceSliceCount": 1},
                    "nodeName": "n",
                    "devices": [
                        {
                            "name": "whole",
                            "capacity": {"m": {"value": "4", "requestPolicy": {"default": "1"}}},
                        },
                        {
                            "name": "shared",
                            "allowMultipleAllocations": True,
                            "capacity": {
                                "both": policy(validValues=["1"], validRange={"min": "1"}),
                                "bare": policy(default=None, validRange={"min": "1"}),
                                "range": policy(
                                    default="2", validRange={"min": "3", "max": "9", "step": "4"}
                                ),
                                "values": policy(default="3", validValues=["2", "1", "8"]),
                            },
                        },
                    ],
                }
            },
            [
                "spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true",
                "spec.devices[1].capacity[both].requestPolicy: Forbidden: exactly one policy can be specified, "
                'cannot specify "validValues" and "validRange" at the same time',
                "spec.devices[1].capacity[bare].requestPolicy.default: Required value: required when "
                "validRange is defined",
                'spec.devices[1].capacity[range].requestPolicy.validRange.default: Invalid value: "2": default '
                "is less than min: 3",
                'spec.devices[1].capacity[range].requestPolicy.validRange.max: Invalid value: "9": max is '
                "larger than capacity value: 4",
                'spec.devices[1].capacity[range].requestPolicy.validRange.step: Invalid value: "4": one step 7 '
                "is larger than capacity value: 4",
                'spec.devices[1].capacity[range].requestPolicy.validRange.step: Invalid value: "2": value is '
                "not a multiple of a given step (4) from (3)",
                'spec.devices[1].capacity[range].requestPolicy.validRange.step: Invalid value: "9": value is '
                "not a multiple of a given step (4) from (3)",
                'spec.devices[1].capacity[values].requestPolicy.validValues[1]: Invalid value: "1": values '
                "must be sorted in ascending order",
                'spec.devices[1].capacity[values].requestPolicy.validValues[2]: Invalid value: "8": option is '
                "larger than capacity value: 4",
                'spec.devices[1].capacity[values].requestPolicy.validValues: Invalid value: "3": default value '
                "is not valid according to the requestPolicy",
            ],
        ),
        (
            "DeviceClass",
            {"spec": {"extendedResourceName": "cpu"}},
            ['spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name'],
        ),
        (
            "DeviceTaintRule",
            {"spec": {"taint": {"key": "broken", "effect": "Explode"}}},
            [
                'spec.taint.effect: Unsupported value: "Explode": supported values: "NoExecute", "NoSchedule", '
                '"None"'
            ],
        ),
    ],
)
def test_validation(kind: str, value: dict[str, Any], expected: list[str]) -> None:
    assert errors(kind, value) == expected


@pytest.mark.parametrize(
    ("kind", "new", "old", "expected"),
    [
        (
            "PriorityClass",
            {"value": 2, "preemptionPolicy": "Never"},
            {"value": 1},
            [
                "value: Forbidden: may not be changed in an update.",
                'preemptionPolicy: Invalid value: "Never": field is immutable',
            ],
        ),
        (
            "RuntimeClass",
            {"handler": "b"},
            {"handler": "a"},
            ["handler: Invalid value: null: field is immutable"],
        ),
        (
            "EndpointSlice",
            {"addressType": "IPv6"},
            {"addressType": "IPv4"},
            ["addressType: Invalid value: null: field is immutable"],
        ),
        (
            "StorageVersionMigration",
            {"spec": {"resource": {"resource": "b"}}},
            {"spec": {"resource": {"resource": "a"}}},
            ['spec: Invalid value: {"Resource":{"group":"","resource":"b"}}: field is immutable'],
        ),
    ],
)
def test_updates(kind: str, new: dict[str, Any], old: dict[str, Any], expected: list[str]) -> None:
    assert update_errors(kind, new, old) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (
            "EndpointSlice",
            {"ports": [{"port": 80}, {"name": "any"}]},
            {"ports": [{"name": "", "port": 80, "protocol": "TCP"}, {"name": "any", "protocol": "TCP"}]},
        ),
        ("FlowSchema", {"spec": {}}, {"spec": {"matchingPrecedence": 1000}}),
        (
            "PriorityLevelConfiguration",
            {"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}},
            {
                "spec": {
                    "type": "Limited",
                    "limited": {
                        "nominalConcurrencyShares": 30,
                        "lendablePercent": 0,
                        "limitResponse": {
                            "type": "Queue",
                            "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50},
                        },
                    },
                }
            },
        ),
        (
            "APIService",
            {"spec": {"service": {"name": "a", "namespace": "b"}}},
            {
                "spec": {
                    "service": {"name": "a", "namespace": "b", "port": 443},
                    "groupPriorityMinimum": 0,
                    "versionPriority": 0,
                }
            },
        ),
        (
            "ResourceClaim",
            {"spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}}},
            {
                "spec": {
                    "devices": {
                        "requests": [
                            {
                                "name": "a",
                                "exactly": {
                                    "deviceClassName": "gpu",
                                    "allocationMode": "ExactCount",
                                    "count": 1,
                                },
                            }
                        ]
                    }
                }
            },
        ),
    ],
)
def test_defaults(kind: str, value: dict[str, Any], expected: dict[str, Any]) -> None:
    found = data(made(kind, value))
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (
            "PodDisruptionBudget",
            {"spec": {"maxUnavailable": "25%"}, "status": {"disruptionsAllowed": 2}},
            ["web", "N/A", "25%", 2, "60m"],
        ),
        ("Lease", {"spec": {"holderIdentity": "node-1"}}, ["web", "node-1", "60m"]),
        (
            "EndpointSlice",
            {
                "addressType": "IPv4",
                "ports": [{"port": 80}, {"name": "all"}],
                "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(1, 6)],
            },
            ["web", "IPv4", "80,all", "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...", "60m"],
        ),
        ("EndpointSlice", {"addressType": "IPv6"}, ["web", "IPv6", "<unset>", "<unset>", "60m"]),
        ("PriorityClass", {"value": 5}, ["web", 5, False, "60m", "PreemptLowerPriority"]),
        ("RuntimeClass", {"handler": "runsc"}, ["web", "runsc", "60m"]),
        (
            "APIService",
            {
                "spec": {"service": {"name": "a", "namespace": "b"}},
                "status": {
                    "conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]
                },
            },
            ["web", "b/a", "False (MissingEndpoints)", "60m"],
        ),
        ("APIService", {}, ["web", "Local", "Unknown", "60m"]),
        (
            "FlowSchema",
            {
                "spec": {
                    "priorityLevelConfiguration": {"name": "high"},
                    "distinguisherMethod": {"type": "ByUser"},
                },
                "status": {"conditions": [{"type": "Dangling", "status": "False"}]},
            },
            ["web", "high", 1000, "ByUser", "60m", "False"],
        ),
        (
            "PriorityLevelConfiguration",
            {"spec": {"type": "Exempt"}},
            ["web", "Exempt", "<none>", "<none>", "<none>", "<none>", "60m"],
        ),
        (
            "ResourceClaim",
            {"status": {"allocation": {}, "reservedFor": [{"name": "a", "resource": "pods", "uid": "1"}]}},
            ["web", "allocated,reserved", "60m"],
        ),
        ("ResourceClaim", {}, ["web", "pending", "60m"]),
        (
            "DeviceTaintRule",
            {
                "spec": {
                    "taint": {"key": "a", "value": "b", "effect": "NoExecute", "timeAdded": ago(minutes=1)}
                }
            },
            ["web", "a", "b", "NoExecute", "60s", "60m"],
        ),
        (
            "StorageVersionMigration",
            {"spec": {"resource": {"group": "apps", "resource": "deployments"}}},
            ["web", "deployments.apps", "Unknown"],
        ),
        (
            "PodCertificateRequest",
            {
                "spec": {"podName": "p", "serviceAccountName": "s", "nodeName": "n", "signerName": "a.io/b"},
                "status": {"conditions": [{"type": "Issued", "status": "True", "reason": "", "message": ""}]},
            },
            ["web", "p", "s", "n", "a.io/b", "Issued", "<none>"],
        ),
    ],
)
def test_cells(kind: str, value: dict[str, Any], expected: list[Any]) -> None:
    assert list(cells(kind, value).values()) == expected


def event(**fields: Any) -> dict[str, Any]:
    whole = {
        "eventTime": "2030-01-02T11:59:00.000000Z",
        "reportingController": "example.com/web",
        "reportingInstance": "web-0",
        "action": "Start",
        "reason": "Started",
        "type": "Normal",
        "note": "it runs",
        "regarding": {"kind": "Pod", "name": "web-0", "namespace": "default"},
    }
    return {**whole, **fields}


def test_events_are_those_of_core() -> None:
    kind = kind_of("Event", "v1")
    obj = made(kind, event(series={"count": 3, "lastObservedTime": "2030-01-02T11:59:30.000000Z"}))
    core = events.to_hub(obj)
    assert (core.message, core.involvedObject.name, core.reportingComponent) == (
        "it runs",
        "web-0",
        "example.com/web",
    )
    assert core.series.count == 3
    assert data(events.from_hub(core)) == {**data(obj), "kind": "Event", "apiVersion": "events.k8s.io/v1"}
    assert kind.field_selectors["regarding.name"](obj) == "web-0"
    shown = {c.name: c.value(obj, NOW) for c in kind.columns}
    assert (shown["Last Seen"], shown["Object"], shown["Count"]) == ("30s", "pod/web-0", 3)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (event(), []),
        (event(type="Odd"), ['type: Invalid value: "": has invalid value: Odd']),
        (
            event(eventTime=None, action=""),
            ["eventTime: Required value"],
        ),
        (event(action=""), ["action: Required value"]),
        (event(deprecatedCount=1), ['count: Invalid value: "": needs to be unset']),
        (
            event(series={"count": 1}),
            [
                'series.count: Invalid value: "": should be at least 2',
                "series.lastObservedTime: Required value",
            ],
        ),
    ],
)
def test_new_events_say_all(value: dict[str, Any], expected: list[str]) -> None:
    rules, stored = kind_of("Event").rules, events.to_hub(made(kind_of("Event"), value))
    assert rules is not None
    assert [str(error) for error in (*rules.validate(stored), *rules.validate_create(stored))] == expected


def test_what_an_event_says_stays() -> None:
    rules = kind_of("Event").rules
    assert rules is not None
    old, new = (events.to_hub(made(kind_of("Event"), value)) for value in (event(), event(reason="Other")))
    new.involvedObject.name = "other"
    assert [str(error) for error in rules.validate_update(new, old)] == [
        'involvedObject: Invalid value: {"Kind":"Pod","Namespace":"default","Name":"other","UID":"",'
        '"APIVersion":"","ResourceVersion":"","FieldPath":""}: field is immutable',
        'reason: Invalid value: "Other": field is immutable',
        'reason: Invalid value: "Other": field is immutable',
    ]
