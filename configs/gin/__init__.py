"""Gin files, to be included as `mlit_jax/configs/gin/...`, as T5X has it."""
