"""What the server itself puts into new objects, and their authors do not own.

kube-apiserver notes who owns what before admission, allocators and preparation by the kind have their turn.
What of it the author left out is kept with the name of the author, a letter for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.machinery.patch.values import JsonObject

_TOKENS: Final = "kube-api-access-"
_PVC: Final = "kubernetes.io/pvc-protection"
_PV: Final = "kubernetes.io/pv-protection"
_JOB_LABELS: Final = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)


def lacking(kind: str, obj: Any) -> str:
    """The letters of what `obj`, as its author sent it, leaves to the server."""
    letters = _LETTERS.get(kind)
    return letters(obj) if letters is not None else ""


def without(kind: str, live: JsonObject, letters: str) -> JsonObject:
    """`live` without what the server has put in, as the letters say; `live` itself stays as it is."""
    fields = [field for letter in letters for field in _FIELDS.get((kind, letter), ())]
    spec = live.get("spec")
    if fields and isinstance(spec, dict):
        live = {**live, "spec": {name: value for name, value in spec.items() if name not in fields}}
    more = _MORE.get(kind)
    return more(live, letters) if more is not None else live


# -- letters -----------------------------------------------------------------------------------------------


def _pod_letters(pod: Any) -> str:
    spec = pod.spec
    return "".join(
        (
            "" if spec.serviceAccountName or spec.serviceAccount else "a",
            "m" if spec.preemptionPolicy is None else "",
            "p" if spec.priority is None else "",
            "" if spec.tolerations else "t",
        )
    )


def _service_letters(service: Any) -> str:
    spec = service.spec
    return "".join(
        (
            "" if spec.clusterIP or spec.clusterIPs else "c",
            "" if spec.ipFamilies else "f",
            "h" if spec.healthCheckNodePort is None else "",
            "" if any(port.nodePort for port in spec.ports) else "n",
            "p" if spec.ipFamilyPolicy is None else "",
        )
    )


def _claim_letters(claim: Any) -> str:
    kept = _PVC in claim.metadata.finalizers
    return ("" if kept else "f") + ("s" if claim.spec.storageClassName is None else "")


_LETTERS: Final[dict[str, Callable[[Any], str]]] = {
    "Pod": _pod_letters,
    "Service": _service_letters,
    "PersistentVolumeClaim": _claim_letters,
    "PersistentVolume": lambda volume: "" if _PV in volume.metadata.finalizers else "f",
    "Job": lambda job: "s" if job.spec.selector is None else "",
    "Namespace": lambda namespace: "" if namespace.spec.finalizers else "f",
    "Node": lambda node: "" if node.spec.taints else "t",
}
# Fields of the spec, by kind and letter.
_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("Pod", "a"): ("serviceAccountName", "serviceAccount"),
    ("Pod", "m"): ("preemptionPolicy",),
    ("Pod", "p"): ("priority",),
    ("Pod", "t"): ("tolerations",),
    ("Service", "c"): ("clusterIP", "clusterIPs"),
    ("Service", "f"): ("ipFamilies",),
    ("Service", "h"): ("healthCheckNodePort",),
    ("Service", "p"): ("ipFamilyPolicy",),
    ("PersistentVolumeClaim", "s"): ("storageClassName",),
    ("Job", "s"): ("selector",),
    ("Namespace", "f"): ("finalizers",),
    ("Node", "t"): ("taints",),
}


# -- what is not a field of the spec -----------------------------------------------------------------------


def _pod(live: JsonObject, _letters: str) -> JsonObject:
    """Without the token of its account, and where that is mounted."""
    spec = dict(live.get("spec") or {})
    spec["volumes"] = _others(spec.get("volumes"))
    for name in ("containers", "initContainers"):
        spec[name] = [
            _full({**each, "volumeMounts": _others(each.get("volumeMounts"))})
            for each in spec.get(name) or ()
        ]
    return {**live, "spec": _full(spec)}


def _others(named: Any) -> list[JsonObject]:
    return [each for each in named or () if not str(each.get("name", "")).startswith(_TOKENS)]


def _full(value: JsonObject) -> JsonObject:
    """Without lists that nothing is left of."""
    names = ("volumes", "volumeMounts", "containers", "initContainers")
    return {name: item for name, item in value.items() if item or name not in names}


def _service(live: JsonObject, letters: str) -> JsonObject:
    spec = live.get("spec") or {}
    if "n" not in letters or not spec.get("ports"):
        return live
    ports = [{name: item for name, item in port.items() if name != "nodePort"} for port in spec["ports"]]
    return {**live, "spec": {**spec, "ports": ports}}


def _protected(finalizer: str) -> Callable[[JsonObject, str], JsonObject]:
    def without_it(live: JsonObject, letters: str) -> JsonObject:
        metadata = dict(live.get("metadata") or {})
        if "f" not in letters or finalizer not in metadata.get("finalizers", ()):
            return live
        left = [each for each in metadata.pop("finalizers") if each != finalizer]
        return {**live, "metadata": {**metadata, "finalizers": left} if left else metadata}

    return without_it


def _job(live: JsonObject, letters: str) -> JsonObject:
    if "s" not in letters:
        return live
    spec = live.get("spec") or {}
    template = _unlabelled(spec.get("template") or {})
    return {**_unlabelled(live), "spec": {**spec, "template": template}}


def _unlabelled(value: JsonObject) -> JsonObject:
    metadata = dict(value.get("metadata") or {})
    labels = {name: text for name, text in metadata.pop("labels", {}).items() if name not in _JOB_LABELS}
    return {**value, "metadata": {**metadata, "labels": labels} if labels else metadata}


_MORE: Final[dict[str, Callable[[JsonObject, str], JsonObject]]] = {
    "Pod": _pod,
    "Service": _service,
    "PersistentVolumeClaim": _protected(_PVC),
    "PersistentVolume": _protected(_PV),
    "Job": _job,
}
