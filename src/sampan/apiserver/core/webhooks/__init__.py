"""Webhooks: the one client that calls them, and where the Services behind them are."""
