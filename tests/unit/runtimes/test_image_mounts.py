"""How the layers of an image are named as snapshots, and what an agent knows of image volumes."""

from __future__ import annotations

import hashlib

import pytest

from sampan.node.image_volumes import resolved
from sampan.node.model import PodState
from sampan.node.names import key_of
from sampan.node.runtimes.cri.image_mounts import chain_ids
from sampan.schema import api, codec
from tests.unit.node.bench import NODE

POD = {
    "metadata": {"name": "p", "namespace": "default", "uid": "u"},
    "spec": {
        "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "m", "mountPath": "/m"}]}],
        "volumes": [{"name": "m", "image": {"reference": "model:1"}}],
    },
}


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ([], []),
        (["sha256:a"], ["sha256:a"]),
        (["sha256:a", "sha256:b"], ["sha256:a", digest("sha256:a sha256:b")]),
        (
            ["sha256:a", "sha256:b", "sha256:c"],
            ["sha256:a", digest("sha256:a sha256:b"), digest(digest("sha256:a sha256:b") + " sha256:c")],
        ),
    ],
)
def test_each_layer_is_named_with_all_below_it(layers: list[str], names: list[str]) -> None:
    assert chain_ids(layers) == names


def state_of(status: dict[str, object] | None = None, **known: str) -> PodState:
    pod = codec.from_builtins(POD | {"status": status or {}}, api.Pod)
    return PodState(pod=pod, key=key_of(pod), node=NODE, image_volumes=known)


def test_what_was_mounted_is_known_and_after_a_restart_taken_from_the_status() -> None:
    told = {"name": "m", "mountPath": "/m", "volumeStatus": {"image": {"imageRef": "model@sha256:1"}}}
    container = {
        "name": "c",
        "volumeMounts": [told],
        "ready": True,
        "restartCount": 0,
        "image": "i",
        "imageID": "",
    }
    assert resolved(state_of()) == {}
    assert resolved(state_of({"containerStatuses": [container]})) == {"m": "model@sha256:1"}
    assert resolved(state_of({"containerStatuses": [container]}, m="model@sha256:2")) == {
        "m": "model@sha256:2"
    }
