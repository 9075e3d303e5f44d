"""Users of external OpenID Connect issuers, by an AuthenticationConfiguration."""
