"""The scheduler's configuration file, with the plugins that other distributions bring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sampan.cluster import userfiles
from sampan.scheduler.configuration import Configuration, ConfigurationError, configuration
from sampan.scheduler.extendertls import tls_of
from sampan.scheduler.thirdparty import installed


def load(path: Path) -> Configuration:
    """The KubeSchedulerConfiguration of a file. Raises SampanError that names the file and what is wrong."""

    def parse(document: Any) -> Configuration:
        try:
            return _usable(document)
        except ConfigurationError as problem:
            raise ValueError(str(problem)) from problem

    return userfiles.load(path, "scheduler configuration", parse)


def chosen(given: Mapping[str, Any] | Path | str | None) -> Configuration | None:
    """What a file, its path or the same as a mapping says; None for nothing. Raises SampanError."""
    if given is None or given == "":
        return None
    return _usable(given) if isinstance(given, Mapping) else load(Path(given))


def _usable(document: Any) -> Configuration:
    """The configuration, with the certificates that it names read once. Raises ConfigurationError."""
    found = configuration(document, installed())
    for extender in found.extenders:
        tls_of(extender)
    return found
