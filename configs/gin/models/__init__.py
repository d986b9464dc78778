"""A gin file per model: its name and its shape."""
