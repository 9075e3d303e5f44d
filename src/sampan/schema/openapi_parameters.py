"""The parameters that requests take, with what OpenAPI tells of them."""

from __future__ import annotations

from typing import Final

import msgspec


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the path or the query."""

    name: str
    type: str
    description: str
    place: str = "query"


def name_of(kind: str) -> Parameter:
    """The name of an object in a path."""
    return Parameter("name", "string", f"name of the {kind}", "path")


NAMESPACE: Final = Parameter("namespace", "string", "The namespace of the object.", "path")
REST_OF_PATH: Final = Parameter("path", "string", "What of the path follows.", "path")
PRETTY: Final = Parameter(
    "pretty",
    "string",
    "Whether people are to read the answer: 'true' writes it over several lines.",
)
RESOURCE_VERSION: Final = Parameter(
    "resourceVersion",
    "string",
    "The revision that the answer must not be older than, or with resourceVersionMatch=Exact must have."
    " A watch tells what came after it. See https://kubernetes.io/docs/reference/using-api/api-"
    "concepts/#resource-versions.",
)
WATCH: Final = Parameter(
    "watch",
    "boolean",
    "Answer with a stream of changes instead of a list. Begins after resourceVersion.",
)
BOOKMARKS: Final = Parameter(
    "allowWatchBookmarks",
    "boolean",
    "Whether a watch also sends BOOKMARK events, which tell how far it has come. When they come is up "
    "to the server. Means nothing to a list.",
)
_SELECT: Final = (
    Parameter(
        "continue",
        "string",
        "The token from the metadata of the page before; all other parameters must be as they were. "
        "Where that page's revision is gone the answer is 410 with a token that goes on from the next "
        "name at the newest revision; who needs one consistent list begins again instead. Not for "
        "watches.",
    ),
    Parameter(
        "fieldSelector",
        "string",
        "Only objects whose fields are so.",
    ),
    Parameter(
        "labelSelector",
        "string",
        "Only objects whose labels are so.",
    ),
    Parameter(
        "limit",
        "integer",
        "How many objects one answer holds at most. Where there are more, the list's metadata has a "
        "token for `continue`, and all pages together are the list of one moment. There are more "
        "exactly where there is a token. Not for watches.",
    ),
)
_LONG: Final = (
    Parameter(
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant: Exact or NotOlderThan. See "
        "https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    Parameter(
        "sendInitialEvents",
        "boolean",
        "Whether a watch first sends an event for each object that there is, and then a bookmark with "
        "the annotation `k8s.io/initial-events-end`. Asks for resourceVersionMatch=NotOlderThan. "
        "Without it, a watch begins so where resourceVersion is unset or 0.",
    ),
    Parameter(
        "shardSelector",
        "string",
        "Only objects whose hash lies in the ranges named, as in shardRange(object.metadata.uid, '0x0',"
        " '0x8000000000000000'). Alpha, and off by default.",
    ),
    Parameter(
        "timeoutSeconds",
        "integer",
        "For how long the list or watch may last, whatever happens in it.",
    ),
)
# What a collection is deleted by, and what it is listed by.
CHOOSE: Final = (*_SELECT, RESOURCE_VERSION, *_LONG)
LIST: Final = (BOOKMARKS, *CHOOSE, WATCH)
DRY_RUN: Final = Parameter(
    "dryRun",
    "string",
    "With All the request goes through every stage, but nothing is stored. No other value is valid.",
)
MANAGER: Final = Parameter(
    "fieldManager",
    "string",
    "Who makes the change, at most 128 printable characters; what is before the slash in User-Agent "
    "unless given.",
)
PATCH_MANAGER: Final = Parameter(
    "fieldManager",
    "string",
    "Who makes the change, at most 128 printable characters. An apply needs it; other patches take what"
    " is before the slash in User-Agent unless it is given.",
)
VALIDATION: Final = Parameter(
    "fieldValidation",
    "string",
    "What becomes of unknown fields and of fields that stand there twice. Ignore: they are dropped "
    "without a word, the last of duplicates stays. Warn, the default: the same, with a Warning header "
    "for each. Strict: the request is refused with all of them named.",
)
FORCE: Final = Parameter(
    "force",
    "boolean",
    "Whether an apply takes fields that others own. Only an apply may set it.",
)
WRITE: Final = (DRY_RUN, MANAGER, VALIDATION)
PATCH: Final = (DRY_RUN, PATCH_MANAGER, VALIDATION, FORCE)
_DELETE: Final = (
    Parameter(
        "gracePeriodSeconds",
        "integer",
        "The seconds until the object goes for good; 0 is at once. Each kind has its own default.",
    ),
    Parameter(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that can no longer be read from the store, past finalizers and preconditions."
        " What relies on an orderly deletion may break by it.",
    ),
    Parameter(
        "orphanDependents",
        "boolean",
        "Deprecated: propagationPolicy says the same and more. Whether dependents stay without an owner.",
    ),
    Parameter(
        "propagationPolicy",
        "string",
        "What becomes of dependents: 'Orphan' leaves them, 'Background' deletes them afterwards, "
        "'Foreground' before. Not together with orphanDependents.",
    ),
)
DELETE: Final = (DRY_RUN, *_DELETE)
