"""What happens to a pod on its way in: service account, tolerations, priority."""

from __future__ import annotations

from typing import Final

from sampan.apiserver.core import status
from sampan.apiserver.core.context import Attributes
from sampan.apiserver.core.resource import Resources
from sampan.base.ids import Ids
from sampan.schema import api

TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_LIFETIME_S: Final = 3607
_TOLERATED_S: Final = 300
_NOT_READY: Final = "node.kubernetes.io/not-ready"
_UNREACHABLE: Final = "node.kubernetes.io/unreachable"
_POD: Final = frozenset({"Pod"})


class ServiceAccounts:
    """Gives each pod its service account, the account's pull secrets and the API token volume."""

    kinds = _POD

    def __init__(self, resources: Resources, ids: Ids) -> None:
        self._accounts = resources.of(api.ServiceAccount)
        self._ids = ids

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        pod: api.Pod = attributes.obj
        if "kubernetes.io/config.mirror" in pod.metadata.annotations:
            return
        spec = pod.spec
        name = spec.serviceAccountName or spec.serviceAccount or "default"
        spec.serviceAccountName = spec.serviceAccount = name
        item = self._accounts.cache.get(attributes.namespace, name)
        if item is None:
            kind = attributes.context.resource.kind
            where = f"{attributes.namespace}/{name}"
            why = f'error looking up service account {where}: serviceaccount "{name}" not found'
            raise status.forbidden(kind, pod.metadata.name or "", why)
        account: api.ServiceAccount = self._accounts.decode_stored(item.data)
        if not spec.imagePullSecrets:
            spec.imagePullSecrets = list(account.imagePullSecrets)
        wanted = spec.automountServiceAccountToken
        if wanted is None:
            wanted = account.automountServiceAccountToken
        if wanted is not False:
            self._mount_token(spec)

    def validate(self, attributes: Attributes) -> None:
        return None

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

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        tolerations = attributes.obj.spec.tolerations
        for taint in (_NOT_READY, _UNREACHABLE):
            if not any(_tolerates(t, taint) for t in tolerations):
                tolerations.append(
                    api.Toleration(
                        key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=_TOLERATED_S
                    )
                )

    def validate(self, attributes: Attributes) -> None:
        return None


def _tolerates(toleration: api.Toleration, taint: str) -> bool:
    return (toleration.key == taint or not toleration.key) and toleration.effect in (None, "", "NoExecute")


class Priority:
    """Turns priorityClassName into a number."""

    kinds = _POD

    def __init__(self, resources: Resources) -> None:
        self._classes = resources.of(api.PriorityClass)

    def mutate(self, attributes: Attributes) -> None:
        if attributes.verb != "create" or attributes.subresource:
            return
        pod: api.Pod = attributes.obj
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
        pod.spec.priority = found.value if found is not None else 0
        pod.spec.preemptionPolicy = (
            found.preemptionPolicy if found is not None else None
        ) or "PreemptLowerPriority"

    def validate(self, attributes: Attributes) -> None:
        return None

    def _default(self) -> api.PriorityClass | None:
        for item in self._classes.cache:
            if b'"globalDefault":true' in item.data:
                found: api.PriorityClass = self._classes.decode_stored(item.data)
                return found
        return None
