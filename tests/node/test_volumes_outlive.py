"""Data on claims outlives the cluster's rest: `sampan down` keeps it, `down --delete` removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.sampans import eventually, own_network, sampan_in

pytestmark = [pytest.mark.containers, pytest.mark.timeout(240)]

MANIFEST = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: sampan.local/busybox:1
    command: [sh, -c, "echo start >> /kept/starts; sleep 1000"]
    volumeMounts: [{name: v, mountPath: /kept}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: kept}}]
"""


@pytest.mark.parametrize("runtime", ["containerd", "process"])
def test_data_of_claims(runtime: str) -> None:
    with own_network() as machine, sampan_in(machine) as sampan:
        sampan.up("--runtime", runtime)
        assert [one["metadata"]["name"] for one in sampan.get("sc")] == ["local-path"]
        assert sampan.kubectl("apply", "-f", "-", text=MANIFEST).status == 0

        def starts() -> int:
            found = list(Path(sampan.root).glob("nodes/*/local-path/*/starts"))
            return len(found[0].read_text().split()) if found else 0

        eventually(lambda: starts() == 1)
        sampan.down()
        assert starts() == 1
        sampan.up()
        eventually(lambda: starts() == 2)
        columns = sampan.kubectl("get", "pv,pvc,sc").out
        for word in ("RECLAIM POLICY", "Bound", "RWO", "local-path (default)", "WaitForFirstConsumer"):
            assert word in columns.upper() or word in columns
        root = sampan.root
        sampan.down("--delete")
        assert not root.exists()
