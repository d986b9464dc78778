"""Every family, by the `model_type` of its config.json."""

from mlit_jax.models.interchange.llama_families import (
    BAICHUAN,
    LLAMA,
    MISTRAL,
    MIXTRAL,
)
from mlit_jax.models.interchange.neox_families import BLOOM, NEOX
from mlit_jax.models.interchange.windowed_families import (
    GEMMA1,
    GEMMA2,
    GEMMA3,
    QWEN2,
    QWEN3,
)

FAMILIES = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mixtral": MIXTRAL,
    "gpt_neox": NEOX,
    "bloom": BLOOM,
    "baichuan": BAICHUAN,
    "gemma": GEMMA1,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
}
