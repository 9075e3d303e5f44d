"""What is asked of a pod, a node or a service itself, and not of the object: attach, exec, proxies, logs."""

from __future__ import annotations

from typing import Final

from sampan.schema.openapi_parameters import Parameter

# The parameters of each, by kind and subresource.
OPTIONS: Final[dict[tuple[str, str], tuple[Parameter, ...]]] = {
    ("Pod", "attach"): (
        Parameter(
            "container",
            "string",
            "The container in which to execute the command. Defaults to only container if there is "
            "only one container in the pod.",
        ),
        Parameter(
            "stderr",
            "boolean",
            "Stderr if true indicates that stderr is to be redirected for the attach call. Defaults to true.",
        ),
        Parameter(
            "stdin",
            "boolean",
            "Stdin if true, redirects the standard input stream of the pod for this call. Defaults to false.",
        ),
        Parameter(
            "stdout",
            "boolean",
            "Stdout if true indicates that stdout is to be redirected for the attach call. Defaults to true.",
        ),
        Parameter(
            "tty",
            "boolean",
            "TTY if true indicates that a tty will be allocated for the attach call. This is "
            "passed through the container runtime so the tty is allocated on the worker node by "
            "the container runtime. Defaults to false.",
        ),
    ),
    ("Pod", "exec"): (
        Parameter(
            "command",
            "string",
            "Command is the remote command to execute. argv array. Not executed within a shell.",
        ),
        Parameter(
            "container",
            "string",
            "Container in which to execute the command. Defaults to only container if there is "
            "only one container in the pod.",
        ),
        Parameter(
            "stderr",
            "boolean",
            "Redirect the standard error stream of the pod for this call.",
        ),
        Parameter(
            "stdin",
            "boolean",
            "Redirect the standard input stream of the pod for this call. Defaults to false.",
        ),
        Parameter(
            "stdout",
            "boolean",
            "Redirect the standard output stream of the pod for this call.",
        ),
        Parameter(
            "tty",
            "boolean",
            "TTY if true indicates that a tty will be allocated for the exec call. Defaults to false.",
        ),
    ),
    ("Pod", "log"): (
        Parameter(
            "container",
            "string",
            "The container for which to stream logs. Defaults to only container if there is one "
            "container in the pod.",
        ),
        Parameter(
            "follow",
            "boolean",
            "Follow the log stream of the pod. Defaults to false.",
        ),
        Parameter(
            "insecureSkipTLSVerifyBackend",
            "boolean",
            "insecureSkipTLSVerifyBackend indicates that the apiserver should not confirm the "
            "validity of the serving certificate of the backend it is connecting to.  This will "
            "make the HTTPS connection between the apiserver and the backend insecure. This means "
            "the apiserver cannot verify the log data it is receiving came from the real kubelet.  "
            "If the kubelet is configured to verify the apiserver's TLS credentials, it does not "
            "mean the connection to the real kubelet is vulnerable to a man in the middle attack "
            "(e.g. an attacker could not intercept the actual log data coming from the real "
            "kubelet).",
        ),
        Parameter(
            "limitBytes",
            "integer",
            "If set, the number of bytes to read from the server before terminating the log "
            "output. This may not display a complete final line of logging, and may return "
            "slightly more or slightly less than the specified limit.",
        ),
        Parameter(
            "previous",
            "boolean",
            "Return previous terminated container logs. Defaults to false.",
        ),
        Parameter(
            "sinceSeconds",
            "integer",
            "A relative time in seconds before the current time from which to show logs. If this "
            "value precedes the time a pod was started, only logs since the pod start will be "
            "returned. If this value is in the future, no logs will be returned. Only one of "
            "sinceSeconds or sinceTime may be specified.",
        ),
        Parameter(
            "stream",
            "string",
            "Specify which container log stream to return to the client. Acceptable values are "
            '"All", "Stdout" and "Stderr". If not specified, "All" is used, and both stdout and '
            'stderr are returned interleaved. Note that when "TailLines" is specified, "Stream" '
            'can only be set to nil or "All".',
        ),
        Parameter(
            "tailLines",
            "integer",
            "If set, the number of lines from the end of the logs to show. If not specified, logs "
            "are shown from the creation of the container or sinceSeconds or sinceTime. Note that "
            'when "TailLines" is specified, "Stream" can only be set to nil or "All".',
        ),
        Parameter(
            "timestamps",
            "boolean",
            "If true, add an RFC3339 or RFC3339Nano timestamp at the beginning of every line of "
            "log output. Defaults to false.",
        ),
    ),
    ("Pod", "portforward"): (
        Parameter(
            "ports",
            "integer",
            "List of ports to forward Required when using WebSockets",
        ),
    ),
    ("Pod", "proxy"): (
        Parameter(
            "path",
            "string",
            "Path is the URL path to use for the current proxy request to pod.",
        ),
    ),
    ("Service", "proxy"): (
        Parameter(
            "path",
            "string",
            "Path is the part of URLs that include service endpoints, suffixes, and parameters to "
            "use for the current proxy request to service. For example, the whole request URL is "
            "http://localhost/api/v1/namespaces/kube-system/services/"
            "elasticsearch-logging/_search?q=user:kimchy. "
            "Path is _search?q=user:kimchy.",
        ),
    ),
    ("Node", "proxy"): (
        Parameter(
            "path",
            "string",
            "Path is the URL path to use for the current proxy request to node.",
        ),
    ),
}
