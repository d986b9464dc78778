"""One config per training run; `get_config(preset)` gives a preset's."""
