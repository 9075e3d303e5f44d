"""The resource metrics API (metrics.k8s.io): what nodes and pods use, for `kubectl top` and autoscalers."""
