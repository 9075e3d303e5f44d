"""The functions that expressions may call, and their declarations for the type checker."""
