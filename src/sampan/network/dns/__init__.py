"""Cluster DNS: names of services and pods (DNS-based service discovery 1.1.0), the rest from upstream."""
