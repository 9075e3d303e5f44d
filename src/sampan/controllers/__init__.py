"""Controllers: each gathers what it must know, plans, and leaves the doing to the runtime."""
