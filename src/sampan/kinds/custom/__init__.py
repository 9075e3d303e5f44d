"""Custom kinds: from a CustomResourceDefinition to the `Kind` that the generic verbs serve. All pure."""
