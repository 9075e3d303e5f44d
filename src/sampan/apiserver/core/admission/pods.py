"""What happens to a pod on its way in: service account, tolerations, priority."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.base.ids import Ids
from sampan.machinery.tolerations import NO_EXECUTE, mentions
from sampan.schema import api

TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_LIFETIME_S: Final = 3607
_MOUNTABLE: Final = "kubernetes.io/enforce-mountable-secrets"
_TOLERATED_S: Final = 300
_NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_POD: Final = frozenset({"Pod"})


class ServiceAccounts:
    """Gives each pod its service account, the account's pull secrets and the API token volume."""

    kinds = _POD
    reads: tuple[type[Any], ...] = (api.ServiceAccount,)

    def __init__(self, resources: Resources, ids: Ids) -> None:
        self._accounts = resources.of(api.ServiceAccount)
        self._ids = ids

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        pod: api.Pod = attributes.obj
        spec = pod.spec
        if "kubernetes.io/config.mirror" in pod.metadata.annotations:
            self._check_mirror(attributes)
            return
        name = spec.serviceAccountName or spec.serviceAccount or "default"
        spec.serviceAccountName = spec.serviceAccount = name
        item = self._accounts.cache.get(attributes.namespace, name)
        if item is None:
            kind = attributes.context.resource.kind
            where = f"{attributes.namespace}/{name}"
            why = f'error looking up service account {where}: serviceaccount "{name}" not found'
            raise status.forbidden(kind, pod.metadata.name or "", why)
        account: api.ServiceAccount = self._accounts.decode_stored(item.data)
        self._limit_secrets(attributes, account)
        if not spec.imagePullSecrets:
            spec.imagePullSecrets = list(account.imagePullSecrets)
        wanted = spec.automountServiceAccountToken
        if wanted is None:
            wanted = account.automountServiceAccountToken
        if wanted is not False:
            self._mount_token(spec)

    def validate(self, attributes: Attributes) -> None:
        return None

    def _check_mirror(self, attributes: Attributes) -> None:
        """What stands for a node's own pod has nothing from the API."""
        spec = attributes.obj.spec
        why = ""
        if spec.serviceAccountName:
            why = "a mirror pod may not reference service accounts"
        elif any(volume.secret is not None for volume in spec.volumes):
            why = "a mirror pod may not reference secrets"
        elif any(
            source.serviceAccountToken is not None
            for volume in spec.volumes
            if volume.projected is not None
            for source in volume.projected.sources
        ):
            why = "a mirror pod may not use ServiceAccountToken volume projections"
        if why:
            kind = attributes.context.resource.kind
            raise status.forbidden(kind, attributes.obj.metadata.name or "", why)

    def _limit_secrets(self, attributes: Attributes, account: api.ServiceAccount) -> None:
        """Only the account's own secrets, where its annotation says so."""
        if account.metadata.annotations.get(_MOUNTABLE) != "true":
            return
        pod = attributes.obj
        mountable = {ref.name for ref in account.secrets}
        pulled = {ref.name for ref in account.imagePullSecrets}
        name = account.metadata.name
        why = next(_foreign_secrets(pod.spec, mountable, pulled, f"service account {name}"), "")
        if why:
            raise status.forbidden(attributes.context.resource.kind, pod.metadata.name or "", why)

    def _mount_token(self, spec: api.PodSpec) -> None:
        containers = [*spec.initContainers, *spec.containers]
        bare = [c for c in containers if all(m.mountPath != TOKEN_PATH for m in c.volumeMounts)]
        if not bare:
            return
        volume = next((v.name for v in spec.volumes if v.name.startswith("kube-api-access-")), "")
        if not volume:
            volume = f"kube-api-access-{self._ids.suffix()}"
            spec.volumes.append(token_volume(volume))
        for container in bare:
            mount = api.VolumeMount(name=volume, mountPath=TOKEN_PATH, readOnly=True)
            container.volumeMounts.append(mount)


def _foreign_secrets(
    spec: api.PodSpec, mountable: set[str | None], pulled: set[str | None], account: str
) -> Iterator[str]:
    """What the pod takes of secrets that are not the account's."""
    for volume in spec.volumes:
        if volume.secret is not None and volume.secret.secretName not in mountable:
            secret = volume.secret.secretName
            yield (
                f'volume with secret.secretName="{secret}" is not allowed because {account} does '
                "not reference that secret"
            )
    for what, containers in (("init container", spec.initContainers), ("container", spec.containers)):
        for container in containers:
            for variable in container.env:
                ref = variable.valueFrom.secretKeyRef if variable.valueFrom is not None else None
                if ref is not None and ref.name not in mountable:
                    yield (
                        f"{what} {container.name} with envVar {variable.name} referencing secret.secretName="
                        f'"{ref.name}" is not allowed because {account} does not reference that secret'
                    )
            for source in container.envFrom:
                if source.secretRef is not None and source.secretRef.name not in mountable:
                    yield (
                        f"{what} {container.name} with envFrom referencing secret.secretName="
                        f'"{source.secretRef.name}" is not allowed because {account} does not '
                        "reference that secret"
                    )
    for position, pull in enumerate(spec.imagePullSecrets):
        if pull.name not in pulled:
            yield (
                f'imagePullSecrets[{position}].name="{pull.name}" is not allowed because {account} does not '
                "reference that imagePullSecret"
            )


def token_volume(name: str) -> api.Volume:
    """The projected volume with token, CA and namespace that every pod gets."""
    token = api.ServiceAccountTokenProjection(path="token", expirationSeconds=TOKEN_LIFETIME_S)
    authority = api.ConfigMapProjection(
        name="kube-root-ca.crt", items=[api.KeyToPath(key="ca.crt", path="ca.crt")]
    )
    field = api.ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    namespace = api.DownwardAPIProjection(items=[api.DownwardAPIVolumeFile(path="namespace", fieldRef=field)])
    sources = [
        api.VolumeProjection(serviceAccountToken=token),
        api.VolumeProjection(configMap=authority),
        api.VolumeProjection(downwardAPI=namespace),
    ]
    return api.Volume(name=name, projected=api.ProjectedVolumeSource(sources=sources, defaultMode=0o644))


class DefaultTolerations:
    """Lets each pod stay five minutes on a node that stopped answering, unless it says otherwise."""

    kinds = _POD
    reads: tuple[type[Any], ...] = ()

    def mutate(self, attributes: Attributes) -> None:
        # On updates too: a client that replaces the tolerations may leave these out.
        if attributes.verb not in ("create", "update") or attributes.subresource:
            return
        tolerations = attributes.obj.spec.tolerations
        for taint in (_NOT_READY, _UNREACHABLE):
            if not any(mentions(t, taint, NO_EXECUTE) for t in tolerations):
                tolerations.append(
                    api.Toleration(
                        key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=_TOLERATED_S
                    )
                )

    def validate(self, attributes: Attributes) -> None:
        return None


class Priority:
    """Turns priorityClassName into a number, for pods and PodGroups."""

    kinds = frozenset({"Pod", "PodGroup"})
    reads: tuple[type[Any], ...] = (api.PriorityClass,)

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.PriorityClass)

    def mutate(self, attributes: Attributes) -> None:
        served = attributes.context.resource.kind
        if attributes.verb == "update" and served.resource == "pods" and not attributes.subresource:
            _keep_priority(attributes.obj.spec, attributes.old.spec)
        if attributes.verb != "create" or attributes.subresource:
            return
        pod: api.Pod = attributes.obj
        if served.kind != "Pod" and served.group != "scheduling.k8s.io":
            return  # a custom kind of the same name
        noun = "pod" if served.kind == "Pod" else "pod group"
        name = pod.spec.priorityClassName
        found: api.PriorityClass | None = None
        if name:
            item = self._classes.cache.get("", name)
            if item is None:
                kind = attributes.context.resource.kind
                why = f"no PriorityClass with name {name} was found"
                raise status.forbidden(kind, pod.metadata.name or "", why)
            found = self._classes.decode_stored(item.data)
        else:
            found = self._default()
            if found is not None:
                pod.spec.priorityClassName = found.metadata.name
        value = found.value if found is not None else 0
        policy = (found.preemptionPolicy if found is not None else None) or "PreemptLowerPriority"
        asked = pod.spec.priority
        if asked is not None and asked != value:
            why = (
                f"the integer value of priority ({asked}) must not be provided in {noun} spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise status.forbidden(attributes.context.resource.kind, pod.metadata.name or "", why)
        if pod.spec.preemptionPolicy is not None and pod.spec.preemptionPolicy != policy:
            why = (
                f"the string value of PreemptionPolicy ({pod.spec.preemptionPolicy}) must not be "
                f"provided in {noun} "
                f"spec; priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise status.forbidden(attributes.context.resource.kind, pod.metadata.name or "", why)
        pod.spec.priority, pod.spec.preemptionPolicy = value, policy

    def validate(self, attributes: Attributes) -> None:
        return None

    def _default(self) -> api.PriorityClass | None:
        """The global default; the least where there are several."""
        marked: list[api.PriorityClass] = [
            self._classes.decode_stored(item.data)
            for item in self._classes.cache
            if b'"globalDefault":true' in item.data
        ]
        return min(marked, key=lambda each: each.value or 0) if marked else None


def _keep_priority(new: api.PodSpec, old: api.PodSpec) -> None:
    # Clients that send what they made of a pod leave out what was put into it here.
    if new.priority is None:
        new.priority = old.priority
    if new.preemptionPolicy is None:
        new.preemptionPolicy = old.preemptionPolicy
