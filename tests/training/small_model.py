"""A model that compiles for a TPU in seconds."""

from mlit_jax.models.config import DecoderConfig

MODEL = DecoderConfig(
    vocab_size=512, num_layers=6, embed_dim=128, num_heads=4, num_kv_heads=4,
    head_dim=32, mlp_dim=256,
)
