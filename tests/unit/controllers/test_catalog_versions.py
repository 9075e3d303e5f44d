from __future__ import annotations

import pytest

from sampan.client.resources import resource_of
from sampan.controllers.catalog import Settings, controllers
from sampan.schema.definitions import NEWEST, SERVED, GroupVersionKind, load

EVERYWHERE = {"namespace", "serviceaccount", "deployment", "job", "endpointslice", "garbage-collector"}


@pytest.mark.parametrize("version", SERVED)
def test_controllers_need_only_what_the_version_serves(version: str) -> None:
    chosen = controllers(Settings(kubernetes_version=version))
    published = load(version).by_gvk
    for controller in chosen:
        for kind in controller.kinds:
            resource = resource_of(kind)
            gvk = GroupVersionKind(resource.group, resource.api_version.rpartition("/")[2], resource.kind)
            assert gvk in published, f"{controller.name} needs {gvk}"
    names = {controller.name for controller in chosen}
    assert names >= EVERYWHERE
    if version == NEWEST:
        assert names == {controller.name for controller in controllers()}
