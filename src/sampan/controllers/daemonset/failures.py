"""When failed daemon pods may be replaced: at once the first time, then after twice as long each time.

A pod that is replaced leaves nothing behind that could be counted, so the count is kept here. It is lost with
the process, as it is in kube-controller-manager.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

import msgspec

FIRST_S: Final = 1.0
MOST_S: Final = 15 * 60.0
KEPT_MOST: Final = 20_000

Key = tuple[str, str]  # (uid of the DaemonSet, node)


class Record(msgspec.Struct, frozen=True):
    """How often pods failed in a row, and when the last one may be removed."""

    pod_uid: str
    failures: int
    due: datetime


class FailureLog:
    """The failures of the pods of DaemonSets, by node; the least recent are forgotten over `KEPT_MOST`."""

    def __init__(self) -> None:
        self._records: OrderedDict[Key, Record] = OrderedDict()

    def due(self, key: Key, pod_uid: str, failed_at: datetime) -> datetime:
        """When this failed pod may be removed. Asked again about the same pod, the answer is the same."""
        known = self._records.get(key)
        if known is not None and known.pod_uid == pod_uid:
            return known.due
        record = after(known, pod_uid, failed_at)
        self._records[key] = record
        self._records.move_to_end(key)
        while len(self._records) > KEPT_MOST:
            self._records.popitem(last=False)
        return record.due


def after(known: Record | None, pod_uid: str, failed_at: datetime) -> Record:
    """The record once one more pod has failed. After a long quiet time the count begins anew."""
    if known is None or failed_at - known.due > timedelta(seconds=2 * MOST_S):
        return Record(pod_uid, 1, failed_at)
    wait_s = min(FIRST_S * 2.0 ** min(known.failures - 1, 32), MOST_S)
    return Record(pod_uid, known.failures + 1, max(failed_at, known.due + timedelta(seconds=wait_s)))
