"""`sampan`: arguments in, one sentence out where something is wrong.

Imports stay inside the commands: `sampan up` is measured from the moment it is typed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sampan.base.errors import SampanError
from sampan.cluster.config import DEFAULT_PORT, RUNTIMES, Layout, default_root
from sampan.schema.definitions import NEWEST, SERVED

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, and exits with status 1."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(1, f"{self.prog}: {message}. See `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    if given[:1] == ["kubectl"]:  # everything behind it is kubectl's own
        options = argparse.Namespace(command=_kubectl, **_split_kubectl(given[1:]))
    else:
        options = parser.parse_args(given)
    if not hasattr(options, "command"):
        parser.print_help()
        return 1
    try:
        status: int = options.command(options)
    except SampanError as problem:
        sys.stderr.write(f"sampan: {problem}\n")
        return 1
    except BrokenPipeError:  # whoever reads our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as problem:
        where = f" {problem.filename}" if problem.filename else ""
        words = problem.strerror or str(problem)
        sys.stderr.write(f"sampan:{where} cannot be used: {words}. Mend that and run it again.\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(prog="sampan", description="A whole Kubernetes that you pip install.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def add(name: str, help_text: str, command: Command) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help_text, description=help_text)
        made.add_argument(
            "--data-dir", type=Path, default=default_root(), help="where the cluster lives (%(default)s)"
        )
        made.set_defaults(command=command)
        return made

    up = add("up", "Start a cluster, or say that it is up.", _up)
    up.add_argument("--nodes", type=_count, help="how many nodes (1)")
    up.add_argument("--runtime", choices=("auto", *RUNTIMES), help="what runs the pods (auto)")
    up.add_argument(
        "--kubernetes-version", choices=SERVED, metavar="VERSION", help=f"API version to serve ({NEWEST})"
    )
    up.add_argument("--port", type=_port, help=f"port of the API server ({DEFAULT_PORT})")
    up.add_argument(
        "--load-balancer-pool",
        type=_pool,
        action="append",
        metavar="CIDR",
        help="addresses for Services of type LoadBalancer: a CIDR or a range (those of the nodes)",
    )
    up.add_argument("--audit-policy", type=Path, metavar="FILE", help="which requests to write down")
    up.add_argument("--autoscaler-config", type=Path, metavar="FILE", help="node groups that grow and shrink")
    up.add_argument(
        "--descheduler-config", type=Path, metavar="FILE", help="which pods to evict to better places"
    )
    up.add_argument("--audit-log", type=Path, metavar="FILE", help="where to (logs/audit.log of the cluster)")
    up.add_argument(
        "--encryption-config", type=Path, metavar="FILE", help="how to encrypt Secrets and others on the disk"
    )
    up.add_argument("--authentication-config", type=Path, metavar="FILE", help="OIDC issuers of other users")
    up.add_argument(
        "--scheduler-config", type=Path, metavar="FILE", help="profiles and plugins of the scheduler"
    )
    up.add_argument(
        "--runtime-config",
        type=_words,
        metavar="NAME=true,...",
        help="further API versions to serve, such as scheduling.k8s.io/v1beta1=true",
    )
    up.add_argument(
        "--eviction-hard",
        type=_words,
        metavar="SIGNAL<AMOUNT,...",
        help="when nodes evict pods, such as 'memory.available<500Mi,nodefs.available<5%%'",
    )
    up.add_argument(
        "--controller-manager-arg",
        action="append",
        metavar="NAME=VALUE",
        help="a flag of kube-controller-manager, such as endpointslice-updates-batch-period=500ms",
    )
    up.add_argument("--foreground", action="store_true", help="stay attached; Ctrl-C ends the cluster")
    up.add_argument("--no-merge", action="store_true", help="leave ~/.kube/config alone")
    up.add_argument("--apply", type=Path, action="append", default=[], help="manifests to apply once up")
    down = add("down", "End the cluster; its objects and volumes stay.", _down)
    down.add_argument("--delete", action="store_true", help="remove the data too")
    add("status", "Show what runs, since when, and what died why.", _status)
    add("kubeconfig", "Print the administrator's kubeconfig.", _kubeconfig)
    logs = add("logs", "Print the log of a part (see `sampan status`).", _logs)
    logs.add_argument("component")
    logs.add_argument("-f", "--follow", action="store_true")
    check = add("check", "Say what the machine lacks, and the one command that mends it.", _check)
    check.add_argument("--runtime", choices=("auto", *RUNTIMES), default="auto")
    check.add_argument("--packages", action="store_true", help="print only the missing Debian packages")
    explain = add("explain", "Say why a pod is where it is, or what would let it run.", _explain)
    explain.add_argument("kind", choices=("pod",), metavar="pod")
    explain.add_argument("name")
    explain.add_argument("-n", "--namespace", default="default")
    explain.add_argument("-o", "--output", choices=("table", "json"), default="table")
    _add_simulate(add)
    _add_images(commands)
    kubectl = commands.add_parser("kubectl", help="Run the machine's kubectl on this cluster.")
    kubectl.set_defaults(command=_kubectl, data_dir=default_root(), arguments=[])
    version = commands.add_parser("version", help="Print versions.")
    version.set_defaults(command=_version)
    return parser


def _add_simulate(add: Callable[[str, str, Command], argparse.ArgumentParser]) -> None:
    simulate = add(
        "simulate",
        "Say where pods would go, or what draining a node would do; nothing is changed.",
        _simulate,
    )
    simulate.add_argument(
        "what", nargs="*", metavar="drain NODE", help="what `kubectl drain NODE` would come to"
    )
    simulate.add_argument(
        "-f",
        "--filename",
        type=Path,
        action="append",
        default=[],
        help="manifests, a file or a folder; may be repeated",
    )
    simulate.add_argument(
        "-n", "--namespace", default="default", help="of objects that name none (%(default)s)"
    )
    simulate.add_argument("-o", "--output", choices=("table", "json"), default="table")


def _add_images(commands: argparse._SubParsersAction[_Parser]) -> None:
    image = commands.add_parser("image", help="Build, import and list images.")
    actions = image.add_subparsers(title="actions", metavar="ACTION", required=True, parser_class=_Parser)
    for name, help_text in (
        ("build", "Make an image from a directory, or `busybox` from Debian's busybox-static."),
        ("import", "Load an OCI or docker-save tar into the cluster."),
        ("ls", "List the images that the cluster's nodes hold."),
    ):
        action = actions.add_parser(name, help=help_text, description=help_text)
        action.add_argument("--data-dir", type=Path, default=default_root())
        action.set_defaults(command=_image, action=name)
        if name == "build":
            action.add_argument("source", help="a directory, or the word busybox")
            action.add_argument("-t", "--tag", help="the image's name (the directory's)")
            action.add_argument("-o", "--output", type=Path, help="write a tar here instead of importing it")
        elif name == "import":
            action.add_argument("file", type=Path)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 5000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes from 1 to 5000")
    return int(text)


def _pool(text: str) -> str:
    from sampan.controllers.loadbalancer import addresses_of

    try:
        addresses_of((text,))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _split_kubectl(given: list[str]) -> dict[str, object]:
    if given[:1] == ["--data-dir"] and len(given) > 1:
        return {"data_dir": Path(given[1]), "arguments": given[2:]}
    return {"data_dir": default_root(), "arguments": given}


def _layout(options: argparse.Namespace) -> Layout:
    root: Path = options.data_dir
    return Layout(root.expanduser().absolute())


def _up(options: argparse.Namespace) -> int:
    from sampan.cli.up import up

    return up(_layout(options), options)


def _down(options: argparse.Namespace) -> int:
    from sampan.cli.up import down

    return down(_layout(options), delete=options.delete)


def _status(options: argparse.Namespace) -> int:
    from sampan.cli.show import status

    return status(_layout(options))


def _kubeconfig(options: argparse.Namespace) -> int:
    from sampan.cli.show import kubeconfig

    return kubeconfig(_layout(options))


def _logs(options: argparse.Namespace) -> int:
    from sampan.cli.show import logs

    return logs(_layout(options), options.component, follow=options.follow)


def _explain(options: argparse.Namespace) -> int:
    from sampan.cli.explain import explain

    return explain(_layout(options), options.namespace, options.name, options.output)


def _simulate(options: argparse.Namespace) -> int:
    from sampan.cli.simulate import simulate_drain, simulate_manifests

    what, files = options.what, options.filename
    if len(what) == 2 and what[0] == "drain" and not files:
        return simulate_drain(_layout(options), what[1], options.output)
    if what or not files:
        raise SampanError("Say either `sampan simulate -f FILE` or `sampan simulate drain NODE`.")
    return simulate_manifests(_layout(options), files, options.namespace, options.output)


def _check(options: argparse.Namespace) -> int:
    from sampan.cli.show import check

    return check(options.runtime, packages_only=options.packages)


def _image(options: argparse.Namespace) -> int:
    from sampan.cli.images import image

    return image(_layout(options), options)


def _kubectl(options: argparse.Namespace) -> int:
    from sampan.cli.show import kubectl

    return kubectl(_layout(options), options.arguments)


def _version(_options: argparse.Namespace) -> int:
    from sampan.cli.show import version

    return version()


if __name__ == "__main__":
    sys.exit(main())
