"""API Priority and Fairness: which requests run now, which wait, and which are turned away."""
