"""HorizontalPodAutoscaler: as many replicas as the metrics call for, within bounds and not too fast."""
