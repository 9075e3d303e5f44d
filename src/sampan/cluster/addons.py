"""What is in every cluster from its start: the default StorageClass, and DNS as an ordinary pod."""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import sampan
from sampan.client.client import Client
from sampan.client.errors import ApiError, is_already_exists
from sampan.cluster.config import DOMAIN, Settings
from sampan.kinds import localpath
from sampan.kinds.groups.storage.classes import DEFAULT_ANNOTATION
from sampan.schema import api

NAMESPACE: Final = "kube-system"
NAME: Final = "kube-dns"
MANAGER: Final = "sampan"
# An image of empty directories: the host's Python and libraries are mounted into it, read-only.
SYSTEM_IMAGE: Final = "sampan.local/python-host:1"
_LABELS: Final = {"k8s-app": NAME}
_RETRY_S: Final = 0.05
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_PORTS: Final = (("dns", 53, "UDP"), ("dns-tcp", 53, "TCP"))


def host_directories() -> dict[str, str]:
    """Mount path to host path of what holds this Python, its packages and the libraries they load."""
    package = Path(sampan.__file__).resolve().parent.parent
    python = [Path(sys.base_prefix), Path(sys.prefix), Path(sysconfig.get_paths()["stdlib"]), package]
    libraries = [Path(p) for p in _LIBRARIES if Path(p).is_dir()]
    found: dict[str, str] = {}
    for path in sorted({*python, *libraries, *(p.resolve() for p in python)}):
        # A directory within another one comes with it.
        if not any(path.is_relative_to(other) for other in found):
            found[str(path)] = str(path.resolve())
    return found


def _mounts() -> Iterator[tuple[api.Volume, api.VolumeMount]]:
    for number, (inside, outside) in enumerate(host_directories().items()):
        name = f"host-{number}"
        source = api.HostPathVolumeSource(path=outside, type="Directory")
        yield (
            api.Volume(name=name, hostPath=source),
            api.VolumeMount(name=name, mountPath=inside, readOnly=True),
        )


def dns_deployment() -> api.Deployment:
    """The DNS server, run by the installed Sampan."""
    volumes, mounts = zip(*_mounts(), strict=True)
    container = api.Container(
        name="dns",
        image=SYSTEM_IMAGE,
        imagePullPolicy="Never",
        command=[sys.executable, "-m", "sampan.network.dns", "--domain", DOMAIN],
        env=[
            api.EnvVar(name="PYTHONPATH", value=str(Path(sampan.__file__).resolve().parent.parent)),
            api.EnvVar(name="PYTHONDONTWRITEBYTECODE", value="1"),
        ],
        ports=[
            *(api.ContainerPort(name=n, containerPort=port, protocol=p) for n, port, p in _PORTS),
            api.ContainerPort(name="metrics", containerPort=9153, protocol="TCP"),
        ],
        livenessProbe=api.Probe(
            httpGet=api.HTTPGetAction(path="/health", port=8080), periodSeconds=10, failureThreshold=5
        ),
        readinessProbe=api.Probe(httpGet=api.HTTPGetAction(path="/ready", port=8181), periodSeconds=1),
        resources=api.ResourceRequirements(),
        volumeMounts=list(mounts),
    )
    spec = api.PodSpec(
        containers=[container],
        dnsPolicy="Default",
        priorityClassName="system-cluster-critical",
        serviceAccountName=NAME,
        terminationGracePeriodSeconds=5,
        tolerations=[api.Toleration(key="CriticalAddonsOnly", operator="Exists")],
        volumes=list(volumes),
    )
    template = api.PodTemplateSpec(metadata=api.ObjectMeta(labels=dict(_LABELS)), spec=spec)
    return api.Deployment(
        metadata=_meta(),
        spec=api.DeploymentSpec(
            replicas=1, selector=api.LabelSelector(matchLabels=dict(_LABELS)), template=template
        ),
    )


def dns_service(settings: Settings) -> api.Service:
    """The address that every pod's resolv.conf names."""
    spec = api.ServiceSpec(
        selector=dict(_LABELS),
        clusterIP=settings.dns_ip,
        clusterIPs=[settings.dns_ip],
        ports=[
            api.ServicePort(name=name, port=port, protocol=protocol, targetPort=port)
            for name, port, protocol in _PORTS
        ],
    )
    return api.Service(metadata=_meta(), spec=spec)


def storage_class() -> api.StorageClass:
    """The default class: directories of the node on which the first pod runs."""
    labels = {"app.kubernetes.io/managed-by": "sampan"}
    return api.StorageClass(
        metadata=api.ObjectMeta(
            name=localpath.CLASS_NAME, labels=labels, annotations={DEFAULT_ANNOTATION: "true"}
        ),
        provisioner=localpath.PROVISIONER,
        reclaimPolicy="Delete",
        volumeBindingMode="WaitForFirstConsumer",
        allowVolumeExpansion=True,
    )


def objects(settings: Settings) -> list[Any]:
    """Everything of the add-ons, in the order to create it."""
    account = api.ServiceAccount(metadata=_meta())
    return [account, dns_service(settings), dns_deployment()]


async def ensure(client: Client, settings: Settings) -> None:
    """Make the add-ons, trying again until the API server takes them; then return.

    A StorageClass that is there stays as people made it; DNS is put right.
    """
    applied = objects(settings) if settings.runtime == "containerd" else []
    for obj in (storage_class(), *applied):
        while True:
            try:
                if isinstance(obj, api.StorageClass):
                    await ensure_class(client, obj)
                else:
                    await client.apply(obj, MANAGER)
                break
            except (ApiError, ConnectionError, TimeoutError) as problem:
                logging.getLogger(__name__).info("add-on %s waits: %s", obj.metadata.name, problem)
                await asyncio.sleep(_RETRY_S)


async def ensure_class(client: Client, obj: api.StorageClass) -> None:
    """Create the class where there is none of its name."""
    try:
        await client.create(obj)
    except ApiError as error:
        if not is_already_exists(error):
            raise


def _meta() -> api.ObjectMeta:
    labels = {**_LABELS, "kubernetes.io/name": "KubeDNS", "app.kubernetes.io/managed-by": "sampan"}
    return api.ObjectMeta(name=NAME, namespace=NAMESPACE, labels=labels)
