"""Volumes: a pure plan of files, a thin writer, and a table of plugins."""
