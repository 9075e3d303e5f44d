"""API aggregation: groups and versions that extension servers answer (apiregistration.k8s.io)."""
