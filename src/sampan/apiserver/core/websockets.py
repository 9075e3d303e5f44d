"""Credentials of websockets: browsers can set no header but the list of protocols that they speak."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from sampan.apiserver.core.request import Request
from sampan.apiserver.core.status import unauthorized

TOKEN_PROTOCOL: Final = "base64url.bearer.authorization.k8s.io."
_HEADER: Final = "sec-websocket-protocol"


def take_token(request: Request) -> str | None:
    """The bearer token among the websocket's protocols; it is taken out, as nobody else may see it.

    None where the request opens no websocket or names no token. Raises 401 for a token that cannot be read,
    for more than one, and where no other protocol is named, as the answer may not choose the token.
    """
    if request.headers.get("upgrade", "").lower() != "websocket":
        return None
    protocols = [each.strip() for each in request.headers.get(_HEADER, "").split(",")]
    tokens = [each.removeprefix(TOKEN_PROTOCOL) for each in protocols if each.startswith(TOKEN_PROTOCOL)]
    if not tokens:
        return None
    kept = [each for each in protocols if each and not each.startswith(TOKEN_PROTOCOL)]
    try:
        padded = tokens[0] + "=" * (-len(tokens[0]) % 4)
        token = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        raise unauthorized() from None
    if len(tokens) > 1 or not kept or not token:
        raise unauthorized()
    others = {name: value for name, value in request.headers.items() if name.lower() != _HEADER}
    request.headers = {name.lower(): value for name, value in others.items()} | {_HEADER: ", ".join(kept)}
    return token
