"""Invalid pods and exactly what Kubernetes says of each."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core.pod_validation import validate_pod_create, validate_pod_template
from sampan.machinery.field import Path
from sampan.schema import api
from tests.unit.kinds.core.objects import container, errors, made, pod

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def one(**fields: Any) -> dict[str, Any]:
    """The spec of a pod whose only container has these fields."""
    return {"containers": [container(**fields)]}


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


def certificate(**fields: Any) -> dict[str, Any]:
    whole = {"signerName": "example.com/pods", "keyType": "ED25519", "credentialBundlePath": "all.pem"}
    return {"podCertificate": {**whole, **fields}}


CERTIFICATE = "spec.volumes[0].projected.sources[0].podCertificate"


def probe(**fields: Any) -> dict[str, Any]:
    return one(livenessProbe=fields)


def required_node_term(**term: Any) -> dict[str, Any]:
    selector = {"nodeSelectorTerms": [term] if term else []}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": selector}}}


NODE_TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"

SPECS: list[tuple[dict[str, Any], list[str]]] = [
    ({"containers": []}, ["spec.containers: Required value"]),
    (one(name=""), ["spec.containers[0].name: Required value"]),
    (one(name="Main"), [f'spec.containers[0].name: Invalid value: "Main": {LABEL}']),
    (one(name="a.b"), ['spec.containers[0].name: Invalid value: "a.b": must not contain dots']),
    (one(image=""), ["spec.containers[0].image: Required value"]),
    (
        one(image=" nginx"),
        ['spec.containers[0].image: Invalid value: " nginx": must not have leading or trailing whitespace'],
    ),
    (
        {"containers": [container(), container()]},
        ['spec.containers[1].name: Duplicate value: "main"'],
    ),
    (
        {"initContainers": [container()]},
        ['spec.initContainers[0].name: Duplicate value: "main"'],
    ),
    (
        {"restartPolicy": "Sometimes"},
        [
            'spec.restartPolicy: Unsupported value: "Sometimes": '
            'supported values: "Always", "OnFailure", "Never"'
        ],
    ),
    (
        {"dnsPolicy": "Mine"},
        [
            'spec.dnsPolicy: Unsupported value: "Mine": '
            'supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'
        ],
    ),
    (
        one(imagePullPolicy="Often"),
        [
            'spec.containers[0].imagePullPolicy: Unsupported value: "Often": '
            'supported values: "Always", "IfNotPresent", "Never"'
        ],
    ),
    (
        one(terminationMessagePolicy="Shout"),
        [
            'spec.containers[0].terminationMessagePolicy: Unsupported value: "Shout": '
            'supported values: "File", "FallbackToLogsOnError"'
        ],
    ),
    # Ports
    (one(ports=[{}]), ["spec.containers[0].ports[0].containerPort: Required value"]),
    (
        one(ports=[{"containerPort": 70000}]),
        [
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: "
            "must be between 1 and 65535, inclusive"
        ],
    ),
    (
        one(ports=[{"containerPort": 1, "hostPort": -1}]),
        ["spec.containers[0].ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive"],
    ),
    (
        one(ports=[{"containerPort": 1, "name": "http"}, {"containerPort": 2, "name": "http"}]),
        ['spec.containers[0].ports[1].name: Duplicate value: "http"'],
    ),
    (
        one(ports=[{"containerPort": 1, "name": "a-name-that-is-long"}]),
        [
            'spec.containers[0].ports[0].name: Invalid value: "a-name-that-is-long": '
            "must be no more than 15 characters"
        ],
    ),
    (
        one(ports=[{"containerPort": 1, "protocol": "QUIC"}]),
        [
            'spec.containers[0].ports[0].protocol: Unsupported value: "QUIC": '
            'supported values: "SCTP", "TCP", "UDP"'
        ],
    ),
    (
        one(ports=[{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]),
        ['spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"'],
    ),
    (
        {"hostNetwork": True, **one(ports=[{"containerPort": 80, "hostPort": 81}])},
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: "
            "must match `containerPort` when `hostNetwork` is true"
        ],
    ),
    # Environment
    (one(env=[{"name": ""}]), ["spec.containers[0].env[0].name: Required value"]),
    (
        one(env=[{"name": "a=b"}]),
        [
            'spec.containers[0].env[0].name: Invalid value: "a=b": a valid environment variable name must '
            "consist only of printable ASCII characters other than '='"
        ],
    ),
    (
        one(env=[{"name": "A", "valueFrom": {}}]),
        [
            'spec.containers[0].env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, '
            "`resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        ],
    ),
    (
        one(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        [
            'spec.containers[0].env[0].valueFrom: Invalid value: "": '
            "may not be specified when `value` is not empty"
        ],
    ),
    (
        one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]),
        [
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "
            '"metadata.labels": supported values: "metadata.name", "metadata.namespace", "metadata.uid", '
            '"spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", '
            '"status.podIP", "status.podIPs"'
        ],
    ),
    (
        one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.colour"}}}]),
        [
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.colour": '
            "error converting fieldPath: field label not supported: spec.colour"
        ],
    ),
    (
        one(
            env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3"}}}]
        ),
        [
            'spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": '
            "only divisor's values 1m and 1 are supported with the cpu resource"
        ],
    ),
    (
        one(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}]),
        ["spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value"],
    ),
    (
        one(envFrom=[{}]),
        ['spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`'],
    ),
    (
        one(envFrom=[{"configMapRef": {}}]),
        ["spec.containers[0].envFrom[0].configMapRef.name: Required value"],
    ),
    # Mounts
    (
        one(volumeMounts=[{"name": "absent", "mountPath": "/x"}]),
        ['spec.containers[0].volumeMounts[0].name: Not found: "absent"'],
    ),
    (
        {
            **volume(emptyDir={}),
            **one(volumeMounts=[{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}]),
        },
        ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/x": must be unique'],
    ),
    (
        {**volume(emptyDir={}), **one(volumeMounts=[{"name": "v", "mountPath": ""}])},
        ["spec.containers[0].volumeMounts[0].mountPath: Required value"],
    ),
    (
        {**volume(emptyDir={}), **one(volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": "../y"}])},
        ["spec.containers[0].volumeMounts.subPath: Invalid value: \"../y\": must not contain '..'"],
    ),
    (
        {
            **volume(emptyDir={}),
            **one(volumeMounts=[{"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"}]),
        },
        [
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: "
            "Bidirectional mount propagation is available only to privileged containers"
        ],
    ),
    (
        {**volume(emptyDir={}), **one(volumeDevices=[{"name": "v", "devicePath": "/dev/x"}])},
        [
            'spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type '
            "of PersistentVolumeClaim or Ephemeral for block mode"
        ],
    ),
    # Resources
    (
        one(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        [
            'spec.containers[0].resources.requests: Invalid value: "2": '
            "must be less than or equal to cpu limit of 1"
        ],
    ),
    (
        one(resources={"requests": {"memory": "-1"}}),
        [
            'spec.containers[0].resources.requests[memory]: Invalid value: "-1": '
            "must be greater than or equal to 0"
        ],
    ),
    (
        one(resources={"requests": {"pods": "1"}}),
        [
            'spec.containers[0].resources.requests[pods]: Invalid value: "pods": '
            "must be a standard resource for containers"
        ],
    ),
    (
        one(resources={"requests": {"example.com/gpu": "1"}}),
        [
            "spec.containers[0].resources.limits: Required value: "
            "Limit must be set for non overcommitable resources"
        ],
    ),
    (
        one(resources={"limits": {"example.com/gpu": "1500m"}}),
        [
            'spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "1500m": '
            "must be an integer",
            'spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "1500m": '
            "must be an integer",
        ],
    ),
    (
        one(resources={"limits": {"hugepages-2Mi": "4Mi"}}),
        ["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
    ),
    (
        one(resources={"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"}}),
        [
            'spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": '
            "3Mi is not positive integer multiple of hugepages-2Mi",
            'spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": '
            "3Mi is not positive integer multiple of hugepages-2Mi",
        ],
    ),
    (
        one(resources={"claims": [{"name": "gpu"}]}),
        [
            'spec.containers[0].resources.claims[0]: Not found: "gpu": '
            "must be one of the names in pod.spec.resourceClaims which is empty"
        ],
    ),
    (
        {"resources": {"limits": {"cpu": "1"}}, **one(resources={"limits": {"cpu": "2"}})},
        [
            'spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
            'spec.resources.containers[0][cpu].limits: Invalid value: "2": '
            "must be less than or equal to pod limits of 1",
        ],
    ),
    # Probes and hooks
    (probe(), ["spec.containers[0].livenessProbe: Required value: must specify a handler type"]),
    (
        probe(exec={"command": ["x"]}, tcpSocket={"port": 1}),
        ["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    ),
    (probe(exec={}), ["spec.containers[0].livenessProbe.exec.command: Required value"]),
    (
        probe(httpGet={"port": 0}),
        [
            "spec.containers[0].livenessProbe.httpGet.port: Invalid value: 0: "
            "must be between 1 and 65535, inclusive"
        ],
    ),
    (
        probe(httpGet={"port": "-"}),
        [
            'spec.containers[0].livenessProbe.httpGet.port: Invalid value: "-": '
            "must contain at least one letter (a-z)",
            'spec.containers[0].livenessProbe.httpGet.port: Invalid value: "-": '
            "must not begin or end with a hyphen",
        ],
    ),
    (
        probe(httpGet={"port": 1, "scheme": "FTP"}),
        [
            'spec.containers[0].livenessProbe.httpGet.scheme: Unsupported value: "FTP": '
            'supported values: "HTTP", "HTTPS"'
        ],
    ),
    (
        probe(exec={"command": ["x"]}, successThreshold=2),
        ["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    ),
    (
        probe(exec={"command": ["x"]}, initialDelaySeconds=-1),
        [
            "spec.containers[0].livenessProbe.initialDelaySeconds: Invalid value: -1: "
            "must be greater than or equal to 0"
        ],
    ),
    (
        one(readinessProbe={"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 1}),
        [
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: "
            "must not be set for readinessProbes"
        ],
    ),
    (
        one(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
        [
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: "
            "must be non-negative and less than terminationGracePeriodSeconds (30)"
        ],
    ),
    (
        one(lifecycle={"postStart": {}}),
        ["spec.containers[0].lifecycle.postStart: Required value: must specify a handler type"],
    ),
    # Init containers
    (
        {"initContainers": [container(name="init", livenessProbe={"exec": {"command": ["x"]}})]},
        [
            "spec.initContainers[0].livenessProbe: Forbidden: "
            "may not be set for init containers without restartPolicy=Always"
        ],
    ),
    (
        one(restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]),
        [
            "spec.containers[0].restartPolicy: Required value: "
            "must specify restartPolicy when restart rules are used"
        ],
    ),
    (
        one(restartPolicy="Never", restartPolicyRules=[{"action": "Stop", "exitCodes": {"operator": "Is"}}]),
        [
            'spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Stop": '
            'supported values: "Restart", "RestartAllContainers"',
            'spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": '
            'supported values: "In", "NotIn"',
        ],
    ),
    (
        {
            "restartPolicy": "Never",
            **one(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
        },
        [
            'spec.containers[0].resizePolicy: Invalid value: "RestartContainer": '
            "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
        ],
    ),
    # Volumes
    (
        volume(emptyDir={}, hostPath={"path": "/x"}),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    (
        {"volumes": [{"name": "v"}, {"name": "v"}]},
        ['spec.volumes[1].name: Duplicate value: "v"'],
    ),
    ({"volumes": [{"name": ""}]}, ["spec.volumes[0].name: Required value"]),
    (volume(hostPath={"path": ""}), ["spec.volumes[0].hostPath.path: Required value"]),
    (
        volume(hostPath={"path": "/a/../b"}),
        ["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    ),
    (
        volume(hostPath={"path": "/x", "type": "Door"}),
        [
            'spec.volumes[0].hostPath.type: Unsupported value: "Door": supported values: "", "BlockDevice", '
            '"CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"'
        ],
    ),
    (volume(secret={}), ["spec.volumes[0].secret.secretName: Required value"]),
    (
        volume(configMap={"name": "c", "defaultMode": 512}),
        [
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: "
            "must be a number between 0 and 0777 (octal), both inclusive"
        ],
    ),
    (
        volume(configMap={"name": "c", "items": [{"key": "k", "path": "/abs"}]}),
        ['spec.volumes[0].configMap.items[0].path: Invalid value: "/abs": must be a relative path'],
    ),
    (
        volume(configMap={"name": "c", "items": [{"key": "k", "path": "..data"}]}),
        ["spec.volumes[0].configMap.items[0].path: Invalid value: \"..data\": must not start with '..'"],
    ),
    (
        volume(persistentVolumeClaim={"claimName": ""}),
        ["spec.volumes[0].persistentVolumeClaim.claimName: Required value"],
    ),
    (
        volume(emptyDir={"sizeLimit": "-1"}),
        ["spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
    ),
    (
        volume(nfs={"server": "s", "path": "x"}),
        ['spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path'],
    ),
    (
        volume(projected={"sources": [{"secret": {"name": "s"}, "configMap": {"name": "c"}}]}),
        [
            "spec.volumes[0].projected.sources[0]: Forbidden: "
            "may not specify more than 1 volume type per source"
        ],
    ),
    (
        {
            "serviceAccountName": "a",
            **volume(
                projected={"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]}
            ),
        },
        [
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: "
            "Invalid value: 60: may not specify a duration less than 10 minutes"
        ],
    ),
    (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]}),
        [
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: "
            "must not be specified when serviceAccountName is not set"
        ],
    ),
    (
        volume(projected={"sources": [certificate(maxExpirationSeconds=3599)]}),
        [
            f"{CERTIFICATE}.maxExpirationSeconds: Invalid value: 3599: "
            "if provided, maxExpirationSeconds must be >= 3600"
        ],
    ),
    (
        volume(projected={"sources": [certificate(maxExpirationSeconds=7_862_401)]}),
        [
            f"{CERTIFICATE}.maxExpirationSeconds: Invalid value: 7862401: "
            "if provided, maxExpirationSeconds must be <= 7862400"
        ],
    ),
    (
        volume(
            projected={
                "sources": [
                    certificate(maxExpirationSeconds=86_401, signerName="kubernetes.io/kubelet-serving")
                ]
            }
        ),
        [
            f"{CERTIFICATE}.maxExpirationSeconds: Invalid value: 86401: "
            "if provided, maxExpirationSeconds must be <= 86400"
        ],
    ),
    (
        volume(projected={"sources": [certificate(userAnnotations={"plain": "x"}, keyPath="all.pem")]}),
        [
            f'{CERTIFICATE}.userAnnotations: Invalid value: "plain": '
            'must be a domain-prefixed key (such as "acme.io/foo")',
            'spec.volumes[0].projected: Invalid value: "all.pem": conflicting duplicate paths',
        ],
    ),
    (
        volume(ephemeral={}),
        ["spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"],
    ),
    # Where it may run
    (
        {"tolerations": [{"key": "k", "operator": "Exists", "value": "x"}]},
        [
            'spec.tolerations[0].operator: Invalid value: "x": '
            "value must be empty when `operator` is 'Exists'"
        ],
    ),
    (
        {"tolerations": [{"operator": "Equal"}]},
        [
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is '
            'empty, which means "match all values and all keys"'
        ],
    ),
    (
        {"tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 1}]},
        [
            'spec.tolerations[0].effect: Invalid value: "": '
            "effect must be 'NoExecute' when `tolerationSeconds` is set"
        ],
    ),
    (
        {"tolerations": [{"key": "k", "effect": "Never"}]},
        [
            'spec.tolerations[0].effect: Unsupported value: "Never": '
            'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"'
        ],
    ),
    (required_node_term(), [f"{NODE_TERMS}: Required value: must have at least one node selector term"]),
    (
        required_node_term(matchExpressions=[{"key": "k", "operator": "In"}]),
        [
            f"{NODE_TERMS}[0].matchExpressions[0].values: Required value: "
            "must be specified when `operator` is 'In' or 'NotIn'"
        ],
    ),
    (
        required_node_term(matchFields=[{"key": "spec.x", "operator": "In", "values": ["a"]}]),
        [f'{NODE_TERMS}[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key'],
    ),
    (
        {
            "topologySpreadConstraints": [
                {"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Cry", "labelSelector": {}}
            ]
        },
        [
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Cry": '
            'supported values: "DoNotSchedule", "ScheduleAnyway"',
        ],
    ),
    (
        {"schedulingGates": [{"name": "a"}, {"name": "a"}]},
        ['spec.schedulingGates[1]: Duplicate value: "a"'],
    ),
    (
        {"schedulingGates": [{"name": "a"}], "nodeName": "n"},
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    ),
    # Security
    (
        {"securityContext": {"runAsUser": -1}},
        ["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
    ),
    (
        one(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        [
            "spec.containers[0].securityContext: Invalid value: "
            '{"allowPrivilegeEscalation":false,"privileged":true}: '
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        ],
    ),
    (
        {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
        [
            "spec.securityContext.seccompProfile.localhostProfile: Required value: "
            "must be set when seccomp type is Localhost"
        ],
    ),
    (
        {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}, "hostNetwork": True},
        [
            'spec.securityContext.sysctls[0].name: Invalid value: "net.core.somaxconn": '
            "may not be specified when 'hostNetwork' is true"
        ],
    ),
    (
        {"hostPID": True, "shareProcessNamespace": True},
        [
            "spec.shareProcessNamespace: Invalid value: true: "
            "ShareProcessNamespace and HostPID cannot both be enabled"
        ],
    ),
    (
        {"os": {"name": "windows"}, **one(securityContext={"runAsUser": 1})},
        ["spec.containers[0].securityContext.runAsUser: Forbidden: cannot be set for a windows pod"],
    ),
    # The rest
    (
        {"activeDeadlineSeconds": 0},
        ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    ),
    (
        {"dnsPolicy": "None"},
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    ),
    (
        {"dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "x"]}},
        [
            'spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","2.2.2.2","3.3.3.3","x"]: '
            "must not have more than 3 nameservers",
            'spec.dnsConfig.nameservers[3]: Invalid value: "x": '
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ],
    ),
    (
        {"hostAliases": [{"ip": "host", "hostnames": ["a"]}]},
        [
            'spec.hostAliases[0].ip: Invalid value: "host": '
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    (
        {"resourceClaims": [{"name": "c"}]},
        [
            'spec.resourceClaims[0]: Invalid value: {"Name":"c","ResourceClaimName":null,'
            '"ResourceClaimTemplateName":null}: '
            "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        ],
    ),
]


@pytest.mark.parametrize(("spec", "expected"), SPECS)
def test_what_is_wrong_with_a_pod(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("Pod", pod(spec)) == expected


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {
            "initContainers": [
                container(name="sidecar", restartPolicy="Always", livenessProbe={"tcpSocket": {"port": 1}})
            ]
        },
        {**volume(emptyDir={}), **one(volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": "a/b"}])},
        one(resources={"requests": {"cpu": "1"}, "limits": {"cpu": "1", "example.com/gpu": "2"}}),
        one(
            env=[
                {"name": "a.b", "value": ""},
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            ]
        ),
        one(ports=[{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]),
        {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["_x.local.", "."]}},
        {"tolerations": [{"operator": "Exists"}, {"key": "k", "operator": "Equal", "value": "v"}]},
        required_node_term(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["n"]}]),
        {"securityContext": {"sysctls": [{"name": "net/core/somaxconn", "value": "1"}]}},
        one(lifecycle={"preStop": {"sleep": {"seconds": 0}}}),
        one(restartPolicy="OnFailure"),
    ],
)
def test_valid_pods(spec: dict[str, Any]) -> None:
    assert errors("Pod", pod(spec)) == []


def test_all_errors_come_at_once() -> None:
    found = errors("Pod", pod({"restartPolicy": "x", **one(image="", ports=[{}])}))
    assert [line.partition(":")[0] for line in found] == [
        "spec.containers[0].image",
        "spec.containers[0].ports[0].containerPort",
        "spec.restartPolicy",
    ]


def test_a_template_may_hold_what_a_pod_may_not() -> None:
    template = {
        "metadata": {},
        "spec": {"hostNetwork": True, **one(image=" x ", ports=[{"containerPort": 80}])},
    }
    kept = made("PodTemplate", {"metadata": {"name": "t"}, "template": template})
    assert errors("PodTemplate", kept) == []


def test_paths_of_a_template() -> None:
    template = api.PodTemplateSpec()
    template.metadata.labels = {"bad key": "v"}
    found = [str(error) for error in validate_pod_template(template, Path("spec.template"))]
    assert found[0].startswith('spec.template.labels: Invalid value: "bad key": name part must consist of')
    assert "spec.template.spec.containers: Required value" in found


def test_ephemeral_containers_are_not_there_from_the_start() -> None:
    debugged = pod({"ephemeralContainers": [container(name="debug")]})
    assert errors("Pod", debugged) == []
    assert [str(error) for error in validate_pod_create(debugged)] == [
        "spec.ephemeralContainers: Forbidden: cannot be set on create"
    ]


def test_what_an_ephemeral_container_may_not_have() -> None:
    debugger = container(
        ports=[{"containerPort": 1}], targetContainerName="absent", resources={"limits": {"cpu": "1"}}
    )
    assert errors("Pod", pod({"ephemeralContainers": [debugger]})) == [
        'spec.ephemeralContainers[0].name: Duplicate value: "main"',
        'spec.ephemeralContainers[0].targetContainerName: Not found: "absent"',
        "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
    ]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"controller.kubernetes.io/pod-deletion-cost": "-10"}, []),
        (
            {"controller.kubernetes.io/pod-deletion-cost": "+1"},
            [
                'metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": '
                "must be a 32bit integer"
            ],
        ),
        (
            {"kubernetes.io/config.mirror": "x"},
            [
                'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": '
                "must set spec.nodeName if mirror pod annotation is set"
            ],
        ),
    ],
)
def test_annotations_that_mean_something(annotations: dict[str, str], expected: list[str]) -> None:
    assert errors("Pod", pod(metadata={"name": "x", "annotations": annotations})) == expected
