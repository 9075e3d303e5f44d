"""What a node does when memory, disk or process numbers run short: conditions, eviction, refusals."""
