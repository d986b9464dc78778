"""A gin file per paper: how it tunes."""
