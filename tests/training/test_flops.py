"""Operations of a step: by hand, and as the compiler counts them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mlit_jax.models import decoder, encoder_decoder, lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.training import flops

LLAMA_7B = DecoderConfig(
    vocab_size=32000, num_layers=32, embed_dim=4096, num_heads=32,
    num_kv_heads=32, head_dim=128, mlp_dim=11008,
)


def test_llama_7b_by_hand():
  count = flops.forward(LLAMA_7B, 1, 2048)
  # 32 x (4 x 4096^2 + 3 x 4096 x 11008) kernel entries, 2 x 2048 each.
  assert count.linear == 4096 * 6476005376
  # 32 layers, 2048 x 2049 / 2 pairs, 4 x 4096 each.
  assert count.attention == 32 * 2098176 * 16384
  assert count.head == 4096 * 131072000
  assert count.adapters == 0
  assert flops.train_step(LLAMA_7B, 1, 2048) == 3 * count.total
  # Close to 6 N T, the usual estimate.
  assert 3 * count.total == pytest.approx(6 * 6.607e9 * 2048, rel=0.05)
  assert flops.train_step(LLAMA_7B, 4, 2048) == 12 * count.total


def test_tokens_from_a_cache_add_up_to_the_whole_row():
  windowed = dataclasses.replace(LLAMA_7B, window=16)
  for model in (LLAMA_7B, windowed):
    whole, prompt = (flops.forward(model, 3, n).total for n in (40, 28))
    step = flops.decode_step(model, 3, 28, 12)
    assert 12 * step == pytest.approx(whole - prompt, rel=1e-12)
  encoded = EncoderDecoderConfig(
      "mt5", 512, num_encoder_layers=3, num_decoder_layers=2, embed_dim=16,
      num_heads=4, head_dim=8, mlp_dim=24,
  )
  # The encoder has been done, and what the decoder sees of it.
  whole, prompt = (
      flops.forward(encoded, 3, n, 0, 28) for n in (12, 0)
  )
  prompt = prompt.linear + prompt.attention
  assert 12 * flops.decode_step(encoded, 3, 28, 12) == pytest.approx(
      whole.total - prompt, rel=1e-12
  )


def test_lora_needs_no_gradient_of_the_base():
  rank = lora.LoraConfig(rank=8)
  count = flops.forward(LLAMA_7B, 2, 512, 100, lora=rank)
  # Three maps of 4096 x 4096 in 32 layers; 2 x 2 x 512 a multiply-add.
  assert count.adapters == 2 * 2 * 512 * 32 * 3 * 8 * 8192
  assert count.head == 2 * 2 * 100 * 131072000
  step = flops.train_step(LLAMA_7B, 2, 512, 100, lora=rank)
  assert step == 2 * (count.linear + count.head) + 3 * (
      count.attention + count.adapters
  )


def test_adapters_of_an_encoder_decoder_read_either_side():
  config = EncoderDecoderConfig(
      "mt5", 512, num_encoder_layers=3, num_decoder_layers=2, embed_dim=16,
      num_heads=4, head_dim=8, mlp_dim=24,
  )
  rank, inputs, tokens = 5, 128, 64

  def adapters(pattern):
    return flops.forward(
        config, 2, tokens, input_length=inputs,
        lora=lora.LoraConfig(pattern, rank),
    ).adapters

  one = 2 * 2 * rank * (16 + 32)  # two rows; a multiply-add is two
  assert adapters("encoder/.*/query$") == 3 * inputs * one
  assert adapters("decoder/.*/attention/query$") == 2 * tokens * one
  assert adapters("cross_attention/(query|out)$") == 2 * tokens * 2 * one
  assert adapters("cross_attention/(key|value)$") == 2 * inputs * 2 * one
  assert adapters("mlp/down$") == (3 * inputs + 2 * tokens) * (
      2 * 2 * rank * (24 + 16)
  )


def test_what_is_done_again():
  count = flops.forward(LLAMA_7B, 1, 256)
  step = flops.train_step(LLAMA_7B, 1, 256)

  def more(**how):
    return flops.executed(LLAMA_7B, 1, 256, **how) - step

  assert more() == 0
  assert more(remat="full") == count.linear + count.attention
  assert more(remat="context") == more(remat="offload") == count.linear
  assert more(remat="dots") == count.attention
  assert more(chunked=True) == count.head


def test_windows_and_experts():
  small = dataclasses.replace(LLAMA_7B, num_layers=2, window=3)
  # Queries of a row of 5 see 1, 2, 3, 3 and 3 keys.
  assert flops.forward(small, 1, 5).attention == 2 * 12 * 16384
  mixed = dataclasses.replace(small, windowed_layers=(True, False))
  assert flops.forward(mixed, 1, 5).attention == (12 + 15) * 16384
  experts = dataclasses.replace(
      LLAMA_7B, num_experts=8, experts_per_token=2, num_layers=1
  )
  plain = dataclasses.replace(LLAMA_7B, num_layers=1)
  extra = 3 * 4096 * 11008 + 8 * 4096  # a second expert and the router
  assert flops.forward(experts, 1, 1).linear == (
      flops.forward(plain, 1, 1).linear + 2 * extra
  )


def compiled_count(module, make, *arguments):
  """What XLA counts for a forward pass, without loops."""
  params = nn.meta.unbox(jax.eval_shape(make))
  lowered = jax.jit(
      lambda p, *xs: module.apply({"params": p}, *xs)
  ).lower(params, *arguments)
  return lowered.compile().cost_analysis()["flops"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "num_kv_heads": 2, "gated_mlp": False, "position": "alibi",
            "norm": "layer",
        },
    ],
)
def test_the_compiler_counts_the_same_of_a_decoder(changes):
  config = dataclasses.replace(
      LLAMA_7B, num_layers=2, vocab_size=512, embed_dim=256, head_dim=64,
      mlp_dim=512, **{"num_heads": 4, "num_kv_heads": 4} | changes,
  )
  tokens = jax.ShapeDtypeStruct((2, 128), jnp.int32)
  found = compiled_count(
      decoder.Decoder(config), lambda: decoder.init_params(config, 0),
      tokens, tokens,
  )
  count = flops.forward(config, 2, 128)
  # The compiler computes hidden scores, too, and counts softmax and norms.
  every_pair = count.attention * 256 / 129
  assert found == pytest.approx(
      count.linear + count.head + every_pair, rel=0.04
  )


def test_the_compiler_counts_the_same_of_an_encoder_decoder():
  config = EncoderDecoderConfig(
      "mt5", 512, num_encoder_layers=1, num_decoder_layers=1, embed_dim=256,
      num_heads=4, head_dim=64, mlp_dim=512,
  )
  inputs, tokens = (
      jax.ShapeDtypeStruct((2, n), jnp.int32) for n in (128, 64)
  )
  found = compiled_count(
      encoder_decoder.EncoderDecoder(config),
      lambda: encoder_decoder.init_params(config, 0),
      inputs, inputs, tokens, tokens,
  )
  count = flops.forward(config, 2, 64, input_length=128)
  hidden = 2 * 4 * 256 * (64 * 63 // 2)  # the decoder's, rows x pairs
  assert found == pytest.approx(count.total + hidden, rel=0.04)
