"""What the process runtime keeps on disk: enough to find everything again after the agent's restart.

<state>/sandboxes/<id>/sandbox.json
<state>/containers/<id>/container.json   what was asked for
                       /keeper.json      the keeper's pid and when it started
                       /started.json     the program's pid
                       /exit.json        how it ended
                       /control.sock     where the keeper listens
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

CONTAINER, STARTED, EXITED = "container.json", "started.json", "exit.json"
KEEPER, CONTROL = "keeper.json", "control.sock"
# An exec'd process that was not even started: what shells answer for a missing program.
NOT_FOUND_CODE = 127


class Plan(NamedTuple):
    """All that a keeper needs to run one container, in JSON's own types: it has only the standard library."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    log_path: str  # empty for none
    tty: bool
    stdin: bool
    stdin_once: bool
    binds: tuple[tuple[str, str, bool], ...]  # host path, container path, read-only
    uid: int | None
    gid: int | None
    groups: tuple[int, ...]


def read_plan(directory: Path) -> Plan:
    fields = read_json(directory / CONTAINER)["plan"]
    return Plan(
        argv=tuple(fields["argv"]),
        env=tuple((name, value) for name, value in fields["env"]),
        cwd=fields["cwd"],
        log_path=fields["log_path"],
        tty=fields["tty"],
        stdin=fields["stdin"],
        stdin_once=fields["stdin_once"],
        binds=tuple((host, inside, readonly) for host, inside, readonly in fields["binds"]),
        uid=fields["uid"],
        gid=fields["gid"],
        groups=tuple(fields["groups"]),
    )


def read_json(path: Path) -> Any:
    """The file's value, or None where there is no such file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def write_json(path: Path, value: Any) -> None:
    """Replace the file as a whole: a reader sees the old or the new value. Another process may do so too."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
