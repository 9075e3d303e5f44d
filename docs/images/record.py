"""Makes docs/images/up.svg: runs the commands in a terminal of its own and draws what they wrote.

Run as root from the repository: `python docs/images/record.py`. The cluster that it makes is removed again.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

HERE: Final = Path(__file__).resolve().parent
MANIFEST: Final = HERE.parents[1] / "examples" / "guestbook" / "guestbook.yaml"
COLUMNS: Final = 92
COMMAND_LIMIT_S: Final = 300
_CONTROL: Final = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
# The picture must not fetch fonts from elsewhere; the reader's own monospace font serves.
_REMOTE_FONTS: Final = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)


def main() -> int:
    """Record, draw, and remove the cluster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, default=Path("/tmp/demo"), help="a directory that does not exist"
    )
    parser.add_argument("--port", type=int, default=7443)
    parser.add_argument("--node-port", type=int, default=0, help="for the example; 0 draws a free one")
    parser.add_argument("--output", type=Path, default=HERE / "up.svg")
    options = parser.parse_args()
    if options.data_dir.exists():
        parser.error(f"{options.data_dir} exists; name a directory that does not")
    folder = Path(tempfile.mkdtemp(prefix="sampan-picture-"))
    try:
        manifest = MANIFEST.read_text().replace("30080", str(options.node_port or free_node_port()))
        (folder / "guestbook.yaml").write_text(
            manifest.replace("/var/lib/sampan-guestbook", f"{folder}/state")
        )
        place = f"--data-dir {options.data_dir} --port {options.port} --no-merge"
        shown = [
            f"sampan up {place} --apply guestbook.yaml",
            f"export KUBECONFIG={options.data_dir}/kubeconfig",
        ]
        shown.append("kubectl get pods --all-namespaces")
        os.environ["KUBECONFIG"] = f"{options.data_dir}/kubeconfig"
        pieces = [
            piece for command in shown for piece in (f"\x1b[1;32m$\x1b[0m {command}", record(command, folder))
        ]
        options.output.write_text(draw("\n".join(piece for piece in pieces if piece)))
    finally:
        run_quietly(["sampan", "down", "--delete", "--data-dir", str(options.data_dir)])
        shutil.rmtree(folder)
    sys.stdout.write(f"Wrote {options.output}\n")
    return 0


def free_node_port() -> int:
    """A port of the NodePort range that nobody listens on."""
    for port in range(30100, 32768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise SystemExit("every port from 30100 to 32767 is taken; name one with --node-port")


def record(command: str, folder: Path) -> str:
    """Run a command in a pseudo-terminal; what its screen holds at the end, with colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with subprocess.Popen(
        ["bash", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment()
    ) as process:
        os.close(theirs)
        written = b""
        while chunk := read(ours):
            written += chunk
        status = process.wait(COMMAND_LIMIT_S)
    os.close(ours)
    screen = final_screen(written.decode(errors="replace"))
    if status:
        raise SystemExit(f"`{command}` ended with status {status}:\n{screen}")
    return screen


def read(descriptor: int) -> bytes:
    """The next piece; empty once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def environment() -> dict[str, str]:
    """This Python's own `sampan` first, and a terminal with colours."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}


def run_quietly(argv: list[str]) -> None:
    subprocess.run(argv, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def final_screen(written: str) -> str:
    """What stays of a terminal's output: spinners erase their line, and colours are kept."""
    lines, row, position = [""], 0, 0
    while position < len(written):
        control = _CONTROL.match(written, position)
        if control is None:
            letter = written[position]
            position += 1
            if letter == "\n":
                row += 1
                if row == len(lines):
                    lines.append("")
            elif letter != "\r":
                lines[row] += letter
            continue
        position = control.end()
        if control[2] == "m":
            lines[row] += control[0]
        elif control[2] == "K":
            lines[row] = ""
        elif control[2] == "A":
            row = max(0, row - int(control[1] or 1))
    return "\n".join(line.rstrip() for line in lines).rstrip()


def draw(text: str) -> str:
    """The text as an SVG of a terminal window."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    template = _REMOTE_FONTS.sub("", CONSOLE_SVG_FORMAT)
    return console.export_svg(title="sampan up", code_format=template, unique_id="sampan-up")


if __name__ == "__main__":
    sys.exit(main())
