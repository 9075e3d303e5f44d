"""The published Kubernetes type definitions, loaded and compiled to structs."""
