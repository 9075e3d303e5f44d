"""Dynamic resource allocation: which devices there are, which are taken, and who gets which."""
