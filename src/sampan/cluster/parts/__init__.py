"""What each process of a cluster runs."""
