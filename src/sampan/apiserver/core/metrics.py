"""/metrics: what the server counts, by the names that kube-apiserver has for it, in Prometheus' text form.

Counting a request is two look-ups and an addition; words are made when somebody asks.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from typing import Final

from sampan.apiserver.core.metrics_state import head
from sampan.apiserver.core.paths import Target
from sampan.apiserver.core.request import Response

# Upper bounds in seconds, as kube-apiserver's.
_BOUNDS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
)  # fmt: skip
_STORE_BOUNDS: Final = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
)
_SLI: Final = "apiserver_request_sli_duration_seconds"
# Different requests that are counted apart; beyond that further ones are counted as "other".
MAX_SERIES: Final = 4096
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_VERBS: Final = {"create": "POST", "update": "PUT"}
_CONNECT: Final = frozenset({"exec", "attach", "portforward", "proxy"})
_LONG: Final = frozenset({"WATCH", "CONNECT"})

Key = tuple[str, str, str, str, str, str, int]


class Histogram:
    """Durations in buckets."""

    __slots__ = ("bounds", "buckets", "total_s")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """`labels` without braces."""
        comma, below = "," if labels else "", 0
        for bound, count in zip(self.bounds, self.buckets, strict=False):
            below += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound:g}"}} {below}'
        yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {self.count}'
        yield f"{name}_sum{{{labels}}} {self.total_s:.9g}"
        yield f"{name}_count{{{labels}}} {self.count}"


class Metrics:
    """Counts requests and commits."""

    def __init__(self, started: datetime) -> None:
        self._requests: dict[Key, Histogram] = {}
        self.commits = Histogram(_STORE_BOUNDS)
        # Under way now: those that change something, those that read.
        self.in_flight = {False: 0, True: 0}
        self._started_s = started.timestamp()

    def request(self, method: str, path: str, target: Target | None, code: int, seconds: float) -> None:
        """One request was answered."""
        if target is None:
            first = path.split("/", 2)[1] if path.startswith("/") else ""
            key: Key = (method.lower(), "", "", "", f"/{first}", "", code)
        else:
            scope = "resource" if target.name else "namespace" if target.namespace else "cluster"
            key = (
                target.verb,
                target.group,
                target.version,
                target.plural,
                target.subresource,
                scope,
                code,
            )
        found = self._requests.get(key)
        if found is None:
            if len(self._requests) >= MAX_SERIES or code == 404:
                # What clients make up must not grow the table without bound.
                key = ("other", "", "", "", "", "", code)
            found = self._requests.setdefault(key, Histogram(_BOUNDS))
        found.observe(seconds)

    def answer(self, state: Iterable[str]) -> Response:
        """The whole page; `state` are the lines of metrics_state."""
        return page((*self._request_lines(), *state, *self._process_lines()))

    def _request_lines(self) -> Iterator[str]:
        total, duration = "apiserver_request_total", "apiserver_request_duration_seconds"
        yield from head(total, "counter", "Requests by verb, resource and HTTP code.")
        for key, histogram in self._requests.items():
            labels = f'code="{key[6]}",component="apiserver",dry_run="",{_labels(key)}'
            yield f"{total}{{{labels}}} {histogram.count}"
        yield from head(duration, "histogram", "Response latency in seconds.")
        by_labels = self._by_labels()
        for labels, histogram in by_labels.items():
            yield from histogram.lines(duration, labels)
        # Of which kube-apiserver leaves out what admission webhooks take; SLOs are reckoned by it.
        yield from head(_SLI, "histogram", "Response latency in seconds, for objectives.")
        for labels, histogram in by_labels.items():
            yield from histogram.lines(_SLI, labels.replace('dry_run="",', ""))
        name = "apiserver_current_inflight_requests"
        yield from head(name, "gauge", "Requests under way, by whether they change anything.")
        yield f'{name}{{request_kind="mutating"}} {self.in_flight[False]}'
        yield f'{name}{{request_kind="readOnly"}} {self.in_flight[True]}'
        name = "etcd_request_duration_seconds"
        yield from head(name, "histogram", "Latency of commits to the store in seconds.")
        yield from self.commits.lines(name, 'group="",operation="update",resource=""')

    def _by_labels(self) -> dict[str, Histogram]:
        """Durations of all codes together, without what lasts as long as its client likes."""
        found: dict[str, Histogram] = {}
        for key, histogram in self._requests.items():
            if _verb(key[0], key[4]) in _LONG:
                continue
            labels = f'component="apiserver",dry_run="",{_labels(key)}'
            joined = found.setdefault(labels, Histogram(_BOUNDS))
            joined.buckets = [a + b for a, b in zip(joined.buckets, histogram.buckets, strict=True)]
            joined.total_s += histogram.total_s
        return found

    def _process_lines(self) -> Iterator[str]:
        pages = Path("/proc/self/statm").read_text().split()
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        for name, kind, text, value in (
            ("process_cpu_seconds_total", "counter", "User and system CPU time.", time.process_time()),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", int(pages[1]) * page_bytes),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory.", int(pages[0]) * page_bytes),
            ("process_max_fds", "gauge", "Files that may be open.", getrlimit(RLIMIT_NOFILE)[0]),
            ("process_open_fds", "gauge", "Open files.", sum(1 for _ in Path("/proc/self/fd").iterdir())),
            ("process_start_time_seconds", "gauge", "When the process started.", self._started_s),
        ):
            yield from head(name, kind, text)
            yield f"{name} {value:.12g}"


def page(lines: Iterable[str]) -> Response:
    """Lines of metrics as an answer."""
    return Response(body=("\n".join(lines) + "\n").encode(), content_type=CONTENT_TYPE)


def _verb(verb: str, subresource: str) -> str:
    return "CONNECT" if subresource in _CONNECT else _VERBS.get(verb, verb.upper())


def _labels(key: Key) -> str:
    verb, group, version, resource, subresource, scope, _ = key
    return (
        f'group="{group}",resource="{resource}",scope="{scope}",subresource="{_escaped(subresource)}",'
        f'verb="{_verb(verb, subresource)}",version="{version}"'
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
