"""Autoscalers that are above the controllers: of nodes, and of what containers ask for."""
