"""The four ways to change an object by describing the change: JSON, merge, strategic merge and apply."""
