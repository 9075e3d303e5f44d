"""Levels and versions: which checks a pod must pass, and what is said where it does not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sampan.apiserver.core.admission.podsecurity import baseline, restricted
from sampan.apiserver.core.admission.podsecurity.baseline import Check, Finding, Version

PRIVILEGED: Final = "privileged"
BASELINE: Final = "baseline"
RESTRICTED: Final = "restricted"
LEVELS: Final = (PRIVILEGED, BASELINE, RESTRICTED)
LATEST: Final = "latest"
PREFIX: Final = "pod-security.kubernetes.io/"
_VERSION: Final = re.compile(r"v1\.(0|[1-9][0-9]{0,3})")
_NEWEST: Final[Version] = (1, 9999)


class Standard(NamedTuple):
    """A level of the standard as of a version of Kubernetes: `restricted:v1.30`."""

    level: str = PRIVILEGED
    version: str = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"


class Policy(NamedTuple):
    """What a namespace's labels say of each mode."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is checked at all."""
        return self.enforce.level == self.audit.level == self.warn.level == PRIVILEGED


NONE: Final = Policy()


class LabelError(NamedTuple):
    """A label of a namespace that says nothing known."""

    label: str
    value: str
    detail: str


def parse(labels: Mapping[str, str], defaults: Policy = NONE) -> tuple[Policy, list[LabelError]]:
    """The policy that labels ask for, and what is wrong with them.

    As in Kubernetes, a level that is not known counts as restricted, so that a typing error opens nothing
    (for warnings and audit it counts as privileged).
    """
    found: dict[str, Standard] = {}
    errors: list[LabelError] = []
    for mode in Policy._fields:
        default: Standard = getattr(defaults, mode)
        level, version = default
        said = labels.get(PREFIX + mode)
        if said is not None:
            level = said
            if said not in LEVELS:
                errors.append(
                    LabelError(PREFIX + mode, said, "must be one of privileged, baseline, restricted")
                )
                level = RESTRICTED if mode == "enforce" else PRIVILEGED
        label = f"{PREFIX}{mode}-version"
        wanted = labels.get(label)
        if wanted is not None:
            version = wanted
            if wanted != LATEST and not _VERSION.fullmatch(wanted):
                errors.append(LabelError(label, wanted, 'must be "latest" or "v1.x"'))
                version = LATEST
        found[mode] = Standard(level, version)
    # Who enforces without a word on warnings is warned by the same standard.
    if (
        PREFIX + "enforce" in labels
        and PREFIX + "warn" not in labels
        and found["enforce"].level != PRIVILEGED
    ):
        at_most = found["warn"]
        if LEVELS.index(found["enforce"].level) > LEVELS.index(at_most.level):
            found["warn"] = found["enforce"]
    return Policy(**found), errors


def findings(standard: Standard, metadata: Any, spec: Any) -> list[Finding]:
    """Everything about the pod that the standard does not allow."""
    found = []
    for check in _checks(standard):
        finding = check(metadata, spec)
        if finding is not None:
            found.append(finding)
    return found


def sentence(standard: Standard, found: list[Finding]) -> str:
    """The findings in the words that kubectl users know."""
    listed = ", ".join(f"{finding.reason} ({finding.detail})" for finding in found)
    return f'violates PodSecurity "{standard}": {listed}'


@lru_cache(maxsize=256)
def _checks(standard: Standard) -> tuple[Check, ...]:
    if standard.level == PRIVILEGED:
        return ()
    form = _VERSION.fullmatch(standard.version)
    version = (1, int(form.group(1))) if form else _NEWEST
    overridden: set[str] = set()
    strict: list[Check] = []
    if standard.level == RESTRICTED:
        for _, overrides, forms in restricted.CHECKS:
            check = _form(forms, version)
            if check is not None:
                overridden.update(overrides)
                strict.append(check)
    base = [
        check
        for name, forms in baseline.CHECKS
        if name not in overridden and (check := _form(forms, version)) is not None
    ]
    return (*base, *strict)


def _form(forms: tuple[tuple[Version, Check], ...], version: Version) -> Check | None:
    fitting = [check for since, check in forms if since <= version]
    return fitting[-1] if fitting else None
