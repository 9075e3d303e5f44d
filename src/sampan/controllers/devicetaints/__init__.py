"""Taints of devices: pods leave devices that they do not tolerate, and rules say how far that is."""
