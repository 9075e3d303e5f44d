"""Which files a configMap, secret, downwardAPI or projected volume holds. Pure."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sampan.machinery.selectors import from_label_selector
from sampan.node.errors import ConfigError, VolumeError
from sampan.node.fields import field_value, resource_value
from sampan.node.model import NodeFacts
from sampan.schema import api

DEFAULT_MODE: Final = 0o644
TOKEN_SECONDS: Final = 3600
_PEM: Final = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class FileEntry(msgspec.Struct, frozen=True):
    """A file of a volume: its path within it, its bytes, its permission bits, its owner if not root."""

    path: str
    data: bytes
    mode: int
    owner: int | None = None


class Credentials(msgspec.Struct, frozen=True):
    """A private key and the chain of certificates for it, as PEM."""

    key: bytes
    chain: bytes


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """What volumes are made from: objects of the pod's namespace by name (those that exist), and tokens."""

    config_maps: Mapping[str, api.ConfigMap] = msgspec.field(default_factory=dict)
    secrets: Mapping[str, api.Secret] = msgspec.field(default_factory=dict)
    # By `token_key`.
    tokens: Mapping[str, str] = msgspec.field(default_factory=dict)
    trust_bundles: tuple[api.ClusterTrustBundle, ...] = ()
    # By the place of their source in the projected volume.
    credentials: Mapping[int, Credentials] = msgspec.field(default_factory=dict)


def config_map_data(config_map: api.ConfigMap) -> dict[str, bytes]:
    """Everything in a ConfigMap, as bytes."""
    return {key: text.encode() for key, text in config_map.data.items()} | config_map.binaryData


def token_key(projection: api.ServiceAccountTokenProjection) -> str:
    """What tells the tokens of one pod apart."""
    return f"{projection.audience or ''}/{projection.expirationSeconds or TOKEN_SECONDS}"


def volume_files(
    pod: api.Pod, volume: api.Volume, objects: Objects, node: NodeFacts, pod_ips: tuple[str, ...] = ()
) -> list[FileEntry]:
    """The files of a volume that is written by the node.

    Raises VolumeError with kubelet's words for an object or a key that is missing and not optional.
    """
    maker = _Maker(pod, objects, node, pod_ips)
    if volume.configMap is not None:
        source = volume.configMap
        mode = _mode(source.defaultMode)
        return maker.config_map(source.name or "", source.items, mode, bool(source.optional))
    if volume.secret is not None:
        secret = volume.secret
        return maker.secret(
            secret.secretName or "", secret.items, _mode(secret.defaultMode), bool(secret.optional)
        )
    if volume.downwardAPI is not None:
        return maker.downward(volume.downwardAPI.items, _mode(volume.downwardAPI.defaultMode))
    if volume.projected is not None:
        return maker.projected(volume.projected)
    return []


def _mode(given: int | None) -> int:
    return DEFAULT_MODE if given is None else given


class _Maker:
    def __init__(self, pod: api.Pod, objects: Objects, node: NodeFacts, pod_ips: tuple[str, ...]) -> None:
        self._pod = pod
        self._objects = objects
        self._node = node
        self._ips = pod_ips

    def config_map(self, name: str, items: list[api.KeyToPath], mode: int, optional: bool) -> list[FileEntry]:
        found = self._objects.config_maps.get(name)
        if found is None:
            return _absent(f'configmap "{name}" not found', optional)
        return _pick(config_map_data(found), items, mode, optional, "config")

    def secret(self, name: str, items: list[api.KeyToPath], mode: int, optional: bool) -> list[FileEntry]:
        found = self._objects.secrets.get(name)
        if found is None:
            return _absent(f'secret "{name}" not found', optional)
        return _pick(found.data, items, mode, optional, "secret")

    def downward(self, items: Iterable[api.DownwardAPIVolumeFile], mode: int) -> list[FileEntry]:
        entries = []
        for item in items:
            try:
                if item.fieldRef is not None:
                    text = field_value(self._pod, item.fieldRef.fieldPath, self._node, self._ips)
                elif item.resourceFieldRef is not None:
                    text = resource_value(self._pod, item.resourceFieldRef, "", self._node)
                else:
                    continue
            except ConfigError as error:
                raise VolumeError(str(error)) from error
            own_mode = mode if item.mode is None else item.mode
            entries.append(FileEntry(item.path, text.encode(), own_mode))
        return entries

    def projected(self, source: api.ProjectedVolumeSource) -> list[FileEntry]:
        mode = _mode(source.defaultMode)
        entries: dict[str, FileEntry] = {}
        for index, part in enumerate(source.sources):
            for entry in self._part(part, index, mode):
                entries[entry.path] = entry
        return list(entries.values())

    def _part(self, part: api.VolumeProjection, index: int, mode: int) -> list[FileEntry]:
        if part.configMap is not None:
            held = part.configMap
            return self.config_map(held.name or "", held.items, mode, bool(held.optional))
        if part.secret is not None:
            secret = part.secret
            return self.secret(secret.name or "", secret.items, mode, bool(secret.optional))
        if part.downwardAPI is not None:
            return self.downward(part.downwardAPI.items, mode)
        if part.serviceAccountToken is not None:
            return [self._token(part.serviceAccountToken, mode)]
        if part.clusterTrustBundle is not None:
            bundle = part.clusterTrustBundle
            return [self._own(bundle.path, trust_anchors(bundle, self._objects.trust_bundles), mode)]
        if part.podCertificate is not None:
            return self._certificate(part.podCertificate, index, mode)
        raise VolumeError("a projected source is of a kind that this node does not support")

    def _token(self, projection: api.ServiceAccountTokenProjection, mode: int) -> FileEntry:
        token = self._objects.tokens.get(token_key(projection))
        if token is None:
            account = self._pod.spec.serviceAccountName or "default"
            raise VolumeError(f"failed to fetch token for service account {account!r}")
        return self._own(projection.path, token.encode(), mode)

    def _certificate(
        self, projection: api.PodCertificateProjection, index: int, mode: int
    ) -> list[FileEntry]:
        found = self._objects.credentials.get(index)
        if found is None:
            raise VolumeError("credential bundle is not issued yet")
        files = {
            projection.credentialBundlePath: found.key + found.chain,
            projection.keyPath: found.key,
            projection.certificateChainPath: found.chain,
        }
        return [self._own(path, data, mode) for path, data in files.items() if path]

    def _own(self, path: str, data: bytes, mode: int) -> FileEntry:
        """A file that only the pod's one user, or its fsGroup, reads where it has one."""
        owner = common_user(self._pod)
        security = self._pod.spec.securityContext
        if owner is not None or (security is not None and security.fsGroup is not None):
            mode = 0o600
        return FileEntry(path, data, mode, owner)


def trust_anchors(
    projection: api.ClusterTrustBundleProjection, bundles: Iterable[api.ClusterTrustBundle]
) -> bytes:
    """The certificates of the named bundle, or of all of a signer that the selector chooses, each once.

    Raises VolumeError with kubelet's words where there is none and the projection is not optional.
    """
    if projection.name:
        chosen = [b for b in bundles if b.metadata.name == projection.name]
        missing = f'clustertrustbundles.certificates.k8s.io "{projection.name}" not found'
    else:
        # No selector chooses nothing, an empty one everything.
        wanted = projection.labelSelector
        selector = from_label_selector(wanted) if wanted is not None else None
        of_signer = [b for b in bundles if b.spec.signerName == projection.signerName]
        chosen = [b for b in of_signer if selector is not None and selector.matches(b.metadata.labels)]
        missing = "combination of signerName and labelSelector matched zero ClusterTrustBundles"
    if not chosen and not projection.optional:
        raise VolumeError(missing)
    found = {ssl.PEM_cert_to_DER_cert(pem) for b in chosen for pem in certificates_in(b.spec.trustBundle)}
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in sorted(found)).encode()


def certificates_in(text: str) -> list[str]:
    """The certificates of a PEM text, without what stands between them."""
    return _PEM.findall(text)


def common_user(pod: api.Pod) -> int | None:
    """The user that every container of the pod runs as, if it is one and the same."""
    ours = pod.spec.securityContext.runAsUser if pod.spec.securityContext is not None else None
    users = set()
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        own = container.securityContext.runAsUser if container.securityContext is not None else None
        users.add(ours if own is None else own)
    return users.pop() if len(users) == 1 else None


def _absent(message: str, optional: bool) -> list[FileEntry]:
    if optional:
        return []
    raise VolumeError(message)


def _pick(
    data: Mapping[str, bytes], items: list[api.KeyToPath], mode: int, optional: bool, what: str
) -> list[FileEntry]:
    if not items:
        return [FileEntry(key, value, mode) for key, value in sorted(data.items())]
    entries = []
    for item in items:
        if item.key not in data:
            if optional:
                continue
            raise VolumeError(f"references non-existent {what} key: {item.key}")
        own_mode = mode if item.mode is None else item.mode
        entries.append(FileEntry(item.path, data[item.key], own_mode, item.user))
    return entries


class Needs(msgspec.Struct, frozen=True):
    """The objects that a volume refers to, by name, and the tokens it wants."""

    config_maps: frozenset[str]
    secrets: frozenset[str]
    tokens: tuple[api.ServiceAccountTokenProjection, ...]
    trust_bundles: bool = False


def volume_needs(volume: api.Volume) -> Needs:
    """What has to be read before `volume_files`."""
    maps, secrets, tokens = set(), set(), []
    if volume.configMap is not None:
        maps.add(volume.configMap.name or "")
    if volume.secret is not None:
        secrets.add(volume.secret.secretName or "")
    for part in volume.projected.sources if volume.projected is not None else ():
        if part.configMap is not None:
            maps.add(part.configMap.name or "")
        if part.secret is not None:
            secrets.add(part.secret.name or "")
        if part.serviceAccountToken is not None:
            tokens.append(part.serviceAccountToken)
    bundles = volume.projected is not None and any(
        part.clusterTrustBundle is not None for part in volume.projected.sources
    )
    return Needs(frozenset(maps), frozenset(secrets), tuple(tokens), bundles)
