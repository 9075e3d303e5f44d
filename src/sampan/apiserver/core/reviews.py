"""Reviews: questions about who somebody is and what they may do. Nothing of them is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.apiserver.core import status
from sampan.apiserver.core.authn import Authenticator
from sampan.apiserver.core.authz import Access, Authorizer
from sampan.apiserver.core.context import Context
from sampan.apiserver.core.request import Response
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.users import User
from sampan.schema import api, codec


class Reviews:
    """Answers POSTs of the review kinds."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._answers: Final[dict[str, Callable[[Any, Context], None]]] = {
            "SelfSubjectReview": self._self_subject,
            "SelfSubjectAccessReview": self._self_access,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._local_access,
            "SelfSubjectRulesReview": self._self_rules,
            "TokenReview": self._token,
        }

    def answers(self, kind: str) -> bool:
        return kind in self._answers

    def review(self, review: Any, context: Context) -> Response:
        """Fill in the status of a review and give it back. Raises StatusError."""
        kind = context.resource.kind
        if kind.namespaced:
            namespace = context.target.namespace
            if review.metadata.namespace not in (None, "", namespace):
                raise status.other_namespace()
            review.metadata.namespace = namespace
        if errors := kind.validate(review):
            raise status.invalid_review(kind, errors)
        self._answers[kind.kind](review, context)
        review.kind, review.apiVersion = kind.kind, kind.api_version
        return Response(status=201, body=codec.encode(review))

    def _self_subject(self, review: api.SelfSubjectReview, context: Context) -> None:
        user = context.user
        extra = {key: list(values) for key, values in user.extra.items()}
        info = api.UserInfo(username=user.name, groups=list(user.groups), uid=user.uid or None, extra=extra)
        review.status = api.SelfSubjectReviewStatus(userInfo=info)
        review.metadata = api.ObjectMeta(creationTimestamp=context.now)

    def _self_access(self, review: api.SelfSubjectAccessReview, context: Context) -> None:
        review.status = self._decide(context.user, review.spec)

    def _access(self, review: Any, context: Context) -> None:
        spec = review.spec
        extra = {key: tuple(values) for key, values in spec.extra.items()}
        user = User(spec.user or "", tuple(spec.groups), spec.uid or "", extra)
        review.status = self._decide(user, spec)

    def _local_access(self, review: api.LocalSubjectAccessReview, context: Context) -> None:
        self._access(review, context)

    def _decide(self, user: User, spec: Any) -> api.SubjectAccessReviewStatus:
        asked, path = spec.resourceAttributes, spec.nonResourceAttributes
        access = (
            Access(path.verb or "", path=path.path or "")
            if path is not None
            else Access(
                asked.verb or "",
                asked.group or "",
                f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource or "",
                asked.namespace or "",
                asked.name or "",
                fields=_selector(asked.fieldSelector),
            )
        )
        allowed = self._authorizer.allows(user, access)
        reason = self._authorizer.reason(user, access) if allowed else ""
        return api.SubjectAccessReviewStatus(allowed=allowed, reason=reason or None)

    def _self_rules(self, review: api.SelfSubjectRulesReview, context: Context) -> None:
        if not review.spec.namespace:
            raise status.bad_request("no namespace on request")
        found = api.SubjectRulesReviewStatus(incomplete=False)
        for rule in self._authorizer.rules(context.user, review.spec.namespace or ""):
            if rule.paths:
                found.nonResourceRules.append(
                    api.NonResourceRule(verbs=sorted(rule.verbs), nonResourceURLs=list(rule.paths))
                )
            else:
                found.resourceRules.append(
                    api.ResourceRule(
                        verbs=sorted(rule.verbs),
                        apiGroups=sorted(rule.groups),
                        resources=sorted(rule.resources),
                        resourceNames=sorted(rule.names),
                    )
                )
        review.status = found
        # What was asked is not repeated.
        review.metadata, review.spec = api.ObjectMeta(), api.SelfSubjectRulesReviewSpec()

    def _token(self, review: api.TokenReview, context: Context) -> None:
        if not review.spec.token:
            raise status.bad_request("token is required for TokenReview in authentication")
        try:
            user, audiences = self._authenticator.review(review.spec.token, review.spec.audiences)
        except StatusError:
            review.status = api.TokenReviewStatus(error="invalid bearer token")
            return
        extra = {key: list(values) for key, values in user.extra.items()}
        info = api.UserInfo(username=user.name, groups=list(user.groups), uid=user.uid or None, extra=extra)
        review.status = api.TokenReviewStatus(authenticated=True, user=info, audiences=audiences)


def _selector(selector: Any | None) -> str:
    """A field selector as a query would say it; what it says beside equality narrows nothing here."""
    if selector is None:
        return ""
    if selector.rawSelector:
        return str(selector.rawSelector)
    return ",".join(
        f"{each.key}={each.values[0]}"
        for each in selector.requirements
        if each.operator == "In" and len(each.values) == 1
    )
