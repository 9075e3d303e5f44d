"""What is asked of a pod, a node or a service itself, and not of the object: attach, exec, proxies, logs."""

from __future__ import annotations

from typing import Final

from sampan.schema.openapi_parameters import Parameter

_CONTAINER: Final = Parameter(
    "container", "string", "The container that is meant; may be left out where the pod has one only."
)
_STREAMS: Final = (
    _CONTAINER,
    Parameter("stderr", "boolean", "Whether the standard error stream is carried."),
    Parameter("stdin", "boolean", "Whether the standard input stream is carried."),
    Parameter("stdout", "boolean", "Whether the standard output stream is carried."),
    Parameter("tty", "boolean", "Whether there is a terminal."),
)
_COMMAND: Final = Parameter(
    "command", "string", "The program and its arguments, each by itself; no shell is asked."
)
_LOG: Final = (
    _CONTAINER,
    Parameter("follow", "boolean", "Whether to go on with what is written from now on."),
    Parameter(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not check the certificate of the node's kubelet, so that somebody else could have "
        "written the log.",
    ),
    Parameter(
        "limitBytes", "integer", "About how many bytes to answer with at most; the last line may be cut."
    ),
    Parameter("previous", "boolean", "The log of the container's run before this one."),
    Parameter("sinceSeconds", "integer", "Only lines of the last so many seconds."),
    Parameter(
        "stream", "string", "Which stream: All, the default, Stdout or Stderr. With tailLines only All."
    ),
    Parameter("tailLines", "integer", "Only so many of the last lines."),
    Parameter("timestamps", "boolean", "Whether each line begins with its time."),
)
_PROXY: Final = (Parameter("path", "string", "The path, with its query, to ask for there."),)

# The parameters of each, by kind and subresource.
OPTIONS: Final[dict[tuple[str, str], tuple[Parameter, ...]]] = {
    ("Pod", "attach"): _STREAMS,
    ("Pod", "exec"): (_COMMAND, *_STREAMS),
    ("Pod", "log"): _LOG,
    ("Pod", "portforward"): (Parameter("ports", "integer", "The ports to forward; WebSockets need them."),),
    ("Pod", "proxy"): _PROXY,
    ("Service", "proxy"): _PROXY,
    ("Node", "proxy"): _PROXY,
}
