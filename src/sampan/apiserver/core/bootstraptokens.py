"""Bootstrap tokens: Secrets of kube-system by which a machine that joins proves that it may ask to."""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from typing import Any, Final

from sampan.apiserver.core.users import AUTHENTICATED, User

NAMESPACE: Final = "kube-system"
TYPE: Final = "bootstrap.kubernetes.io/token"
_FORM: Final = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP: Final = "system:bootstrappers"
_EXTRA_GROUP: Final = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


def parts_of(token: str) -> tuple[str, str] | None:
    """Id and secret of what looks like a bootstrap token."""
    form = _FORM.fullmatch(token)
    return (form.group(1), form.group(2)) if form else None


def secret_name(token_id: str) -> str:
    return f"bootstrap-token-{token_id}"


def user_of(secret: Any, token_id: str, token_secret: str, now: datetime) -> User | None:
    """Who shows the token that this Secret holds; None where it does not hold."""
    data = {key: _text(value) for key, value in secret.data.items()}
    if secret.type != TYPE or secret.metadata.deletionTimestamp is not None:
        return None
    if not hmac.compare_digest(data.get("token-secret", ""), token_secret):
        return None
    if data.get("token-id") != token_id or data.get("usage-bootstrap-authentication") != "true":
        return None
    if "expiration" in data and not _is_future(data["expiration"], now):
        return None
    extra = [group for group in data.get("auth-extra-groups", "").split(",") if group]
    if not all(_EXTRA_GROUP.fullmatch(group) for group in extra):
        return None
    return User(f"system:bootstrap:{token_id}", (_GROUP, *sorted(set(extra)), AUTHENTICATED))


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace")


def _is_future(text: str, now: datetime) -> bool:
    try:
        return datetime.fromisoformat(text) > now
    except (ValueError, TypeError):
        return False
