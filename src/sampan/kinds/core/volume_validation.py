"""What makes the volumes of a pod valid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from sampan.kinds.core.claim_validation import validate_claim_template
from sampan.kinds.core.fields_of_pods import validate_field_ref, validate_resource_ref
from sampan.kinds.core.pod_certificates import (
    MIN_EXPIRATION_S,
    max_expiration_s,
    signer_name_errors,
    user_annotation_errors,
)
from sampan.kinds.core.volume_sources import (
    MORE_THAN_ONE,
    NO_SOURCE,
    SPELT,
    validate_driver_name,
    validate_key_to_path,
    validate_mode,
    validate_not_reserved,
    validate_source,
)
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_label_selector
from sampan.schema import api

# In the order in which Kubernetes looks at them.
_SOURCES: Final = (
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
)
PULL_POLICIES: Final = frozenset({"Always", "IfNotPresent", "Never"})
_VOLUME_FIELDS: Final = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"}
)
_KEY_TYPES: Final = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_TOKEN_MIN_S: Final = 600
_TOKEN_MAX_S: Final = 1 << 32
_SAME_PATH: Final = "conflicting duplicate paths"


def validate_volumes(
    volumes: list[api.Volume], pod: api.Pod | None, path: Path
) -> tuple[dict[str, api.Volume], list[FieldError]]:
    """The valid volumes by name, and every error. `pod` is None for the template of a workload."""
    valid: dict[str, api.Volume] = {}
    errors: list[FieldError] = []
    pod_name = pod.metadata.name if pod is not None else None
    made = {f"{pod_name}-{volume.name}" for volume in volumes if volume.ephemeral is not None and pod_name}
    for position, volume in enumerate(volumes):
        here = path.index(position)
        found = _validate_source_of(volume, pod, here)
        if not volume.name:
            found.append(field.required(here["name"]))
        else:
            messages = names.dns1123_label(volume.name)
            found += [field.invalid(here["name"], volume.name, message) for message in messages]
        if volume.name in valid:
            found.append(field.duplicate(here["name"], volume.name))
        if found:
            errors += found
        else:
            valid[volume.name] = volume
        claim = volume.persistentVolumeClaim
        if claim is not None and claim.claimName in made:
            detail = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(field.invalid(here["persistentVolumeClaim"]["claimName"], claim.claimName, detail))
    return valid, errors


def _validate_source_of(volume: api.Volume, pod: api.Pod | None, path: Path) -> list[FieldError]:
    given = [name for name in _SOURCES if getattr(volume, name) is not None]
    if not given:
        return [field.required(path, NO_SOURCE)]
    errors = _validate_one(given[0], volume, pod, path)
    return errors + [field.forbidden(path[SPELT.get(name, name)], MORE_THAN_ONE) for name in given[1:]]


def _validate_one(name: str, volume: api.Volume, pod: api.Pod | None, path: Path) -> list[FieldError]:
    here = path[name]
    if volume.emptyDir is not None:
        return _validate_empty_dir(volume.emptyDir, here)
    if name == "secret" and volume.secret is not None:
        secret = volume.secret
        return _validate_keyed("secretName", secret.secretName, secret.defaultMode, secret.items, here)
    if name == "configMap" and volume.configMap is not None:
        config = volume.configMap
        return _validate_keyed("name", config.name, config.defaultMode, config.items, here)
    if name == "downwardAPI" and volume.downwardAPI is not None:
        errors = validate_mode(volume.downwardAPI.defaultMode, here["defaultMode"])
        return errors + [e for file in volume.downwardAPI.items for e in _validate_downward_file(file, here)]
    if name == "projected" and volume.projected is not None:
        return _validate_projected(volume.projected, here)
    if name == "csi" and volume.csi is not None:
        return _validate_csi(volume.csi, here)
    if name == "ephemeral" and volume.ephemeral is not None:
        return _validate_ephemeral(volume.ephemeral, volume.name, pod, path)
    if name == "image" and volume.image is not None:
        return _validate_image(volume.image, pod is not None, here)
    return validate_source(name, getattr(volume, name), path)


def _validate_empty_dir(source: api.EmptyDirVolumeSource, path: Path) -> list[FieldError]:
    if source.sizeLimit is None or source.sizeLimit.value >= 0:
        return []
    return [field.forbidden(path["sizeLimit"], "SizeLimit field must be a valid resource quantity")]


def _validate_keyed(
    name_field: str, name: str | None, mode: int | None, items: Iterable[api.KeyToPath], path: Path
) -> list[FieldError]:
    errors = [] if name else [field.required(path[name_field])]
    errors += validate_mode(mode, path["defaultMode"])
    for position, item in enumerate(items):
        errors += validate_key_to_path(item, path["items"].index(position))
    return errors


def _validate_downward_file(file: api.DownwardAPIVolumeFile, path: Path) -> list[FieldError]:
    errors = [] if file.path else [field.required(path["path"])]
    errors += validate_not_reserved(file.path, path["path"])
    if file.fieldRef is not None:
        errors += validate_field_ref(file.fieldRef, _VOLUME_FIELDS, path["fieldRef"])
        if file.resourceFieldRef is not None:
            detail = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(field.invalid(path, "resource", detail))
    elif file.resourceFieldRef is not None:
        here = path["resourceFieldRef"]
        errors += validate_resource_ref(file.resourceFieldRef, here, container_required=True)
    else:
        errors.append(field.required(path, "one of fieldRef and resourceFieldRef is required"))
    return errors + validate_mode(file.mode, path["mode"])


def _validate_projected(source: api.ProjectedVolumeSource, path: Path) -> list[FieldError]:
    errors = validate_mode(source.defaultMode, path["defaultMode"])
    taken: set[str] = set()
    for position, projection in enumerate(source.sources):
        errors += _validate_projection(projection, taken, path, path["sources"].index(position))
    return errors


def _validate_projection(
    projection: api.VolumeProjection, taken: set[str], path: Path, here: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, keyed in (("secret", projection.secret), ("configMap", projection.configMap)):
        if keyed is not None:
            errors += _validate_keyed("name", keyed.name, None, keyed.items, here[name])
            files = [item.path for item in keyed.items if item.path]
            errors += _take(files, taken, path, keyed.name)
    if projection.downwardAPI is not None:
        for file in projection.downwardAPI.items:
            errors += _validate_downward_file(file, here["downwardAPI"])
            errors += _take([file.path] if file.path else [], taken, path, None)
    if projection.serviceAccountToken is not None:
        errors += _validate_token(projection.serviceAccountToken, path, here["serviceAccountToken"])
    if projection.clusterTrustBundle is not None:
        bundle = projection.clusterTrustBundle
        errors += _validate_trust_bundle(bundle, here["clusterTrustBundle"])
        errors += _take([bundle.path], taken, path, None)
    if projection.podCertificate is not None:
        errors += _validate_certificate(projection.podCertificate, taken, path, here["podCertificate"])
    given = msgspec.structs.astuple(projection)
    if len(given) - given.count(None) > 1:
        errors.append(field.forbidden(here, "may not specify more than 1 volume type per source"))
    return errors


def _take(files: Iterable[str], taken: set[str], path: Path, shown: str | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for file in files:
        if file in taken:
            errors.append(field.invalid(path, shown or file, _SAME_PATH))
        taken.add(file)
    return errors


def _validate_token(token: api.ServiceAccountTokenProjection, path: Path, here: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seconds = token.expirationSeconds or 0
    if seconds < _TOKEN_MIN_S:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(field.invalid(here["expirationSeconds"], seconds, detail))
    if seconds > _TOKEN_MAX_S:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(field.invalid(here["expirationSeconds"], seconds, detail))
    if not token.path:
        return [*errors, field.required(path["path"])]
    return errors + validate_not_reserved(token.path, path["path"])


def _validate_trust_bundle(bundle: api.ClusterTrustBundleProjection, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if bundle.name is not None and bundle.signerName is not None:
        errors.append(field.invalid(path, bundle, "only one of name and signerName may be used"))
    elif bundle.name is not None:
        if not bundle.name:
            errors.append(field.required(path["name"], "must be a valid object name"))
        errors += [
            field.invalid(path["name"], bundle.name, f"not a valid clustertrustbundlename: {message}")
            for message in names.dns1123_subdomain(bundle.name)
        ]
        if bundle.labelSelector is not None:
            detail = "labelSelector must be unset if name is specified"
            errors.append(field.invalid(path["labelSelector"], bundle.labelSelector, detail))
    elif bundle.signerName is not None:
        if not bundle.signerName:
            errors.append(field.required(path["signerName"], "must be a valid signer name"))
        errors += validate_label_selector(bundle.labelSelector, path["labelSelector"])
    else:
        errors.append(field.required(path, "either name or signerName must be specified"))
    if not bundle.path:
        errors.append(field.required(path["path"]))
    return errors + validate_not_reserved(bundle.path, path["path"])


def _validate_certificate(
    certificate: api.PodCertificateProjection, taken: set[str], volume: Path, path: Path
) -> list[FieldError]:
    errors = signer_name_errors(certificate.signerName, path["signerName"])
    errors += user_annotation_errors(certificate.userAnnotations, path["userAnnotations"])
    if certificate.keyType not in _KEY_TYPES:
        errors.append(field.not_supported(path["keyType"], certificate.keyType, _KEY_TYPES))
    seconds, longest_s = certificate.maxExpirationSeconds, max_expiration_s(certificate.signerName)
    if seconds is not None and not MIN_EXPIRATION_S <= seconds <= longest_s:
        bound = f">= {MIN_EXPIRATION_S}" if seconds < MIN_EXPIRATION_S else f"<= {longest_s}"
        detail = f"if provided, maxExpirationSeconds must be {bound}"
        errors.append(field.invalid(path["maxExpirationSeconds"], seconds, detail))
    files = ("credentialBundlePath", "keyPath", "certificateChainPath")
    given = {name: getattr(certificate, name) for name in files if getattr(certificate, name)}
    for name, file in given.items():
        errors += validate_not_reserved(file, path[name])
        errors += _take([file], taken, volume, None)
    if not given:
        detail = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        errors.append(field.required(path, detail))
    return errors


def _validate_csi(source: api.CSIVolumeSource, path: Path) -> list[FieldError]:
    errors = validate_driver_name(source.driver, path["driver"])
    if source.nodePublishSecretRef is None:
        return errors
    name = source.nodePublishSecretRef.name
    if not name:
        return [*errors, field.required(path["nodePublishSecretRef"]["name"])]
    return errors + [field.invalid(path["name"], name, m) for m in names.dns1123_subdomain(name)]


def _validate_ephemeral(
    source: api.EphemeralVolumeSource, volume_name: str, pod: api.Pod | None, path: Path
) -> list[FieldError]:
    here = path["ephemeral"]["volumeClaimTemplate"]
    if source.volumeClaimTemplate is None:
        return [field.required(here)]
    errors = validate_claim_template(source.volumeClaimTemplate, here)
    if pod is not None and pod.metadata.name and volume_name:
        claim = f"{pod.metadata.name}-{volume_name}"
        messages = names.dns1123_subdomain(claim)
        errors += [field.invalid(path["name"], volume_name, f'PVC name "{claim}": {m}') for m in messages]
    return errors


def _validate_image(source: api.ImageVolumeSource, is_pod: bool, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if is_pod and not source.reference:
        errors.append(field.required(path["reference"]))
    return errors + validate_pull_policy(source.pullPolicy, path["pullPolicy"])


def validate_pull_policy(policy: str | None, path: Path) -> list[FieldError]:
    """When an image is pulled."""
    if not policy:
        return [field.required(path)]
    return [] if policy in PULL_POLICIES else [field.not_supported(path, policy, PULL_POLICIES)]
