"""Calls to drivers over their unix sockets, and where these are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sampan.node.runtimes.cri.client import CriClient

# Where kubelet keeps its things. Drivers that run in pods know no other place, and mount it from the host.
KUBELET_DIR: Final = "/var/lib/kubelet"
# A unix socket's path must fit sun_path: 108 bytes with its NUL.
_MOST_PATH_BYTES: Final = 100


def real_path(path: str, root_dir: str) -> str:
    """Where on this host something below kubelet's directory is, for a node whose directory is another."""
    if path == KUBELET_DIR or path.startswith(KUBELET_DIR + "/"):
        return root_dir + path[len(KUBELET_DIR) :]
    return path


class DriverClient(CriClient):
    """One driver. Its socket's path may be longer than unix sockets allow."""

    def __init__(self, path: str) -> None:
        self._directory = -1
        if len(os.fsencode(path)) > _MOST_PATH_BYTES:
            place = Path(path)
            self._directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = f"/proc/self/fd/{self._directory}/{place.name}"
        super().__init__(path)

    async def close(self) -> None:
        await super().close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
