"""The engine over encoder-decoders: neighbours, and adapters."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from test_slots import ENDS, MESH, answers, some_requests

from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.engine import Engine
from mlit_jax.models import lora
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

T5 = EncoderDecoderConfig(
    "t5", vocab_size=40, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=24,
    num_encoder_layers=1, num_decoder_layers=2,
)


@pytest.mark.long
@pytest.mark.parametrize("num_beams", [1, 2])
def test_adapters_of_an_encoder_decoder_equal_merged_models(
    random_params, num_beams
):
  """Its layers stay stacked, the adapters' axis behind theirs."""
  params, found = random_params(T5, seed=2), {}
  for rank, pattern in ((2, lora.LoraConfig().pattern), (3, "mlp|out$")):
    how = lora.LoraConfig(pattern, rank, 4.0)
    shapes = nn.meta.unbox(
        jax.eval_shape(lambda how=how: lora.init(T5, how, 0))
    )
    rng = np.random.default_rng(rank)
    found[f"a{rank}"] = jax.tree.map(
        lambda x, rng=rng: rng.standard_normal(x.shape).astype("float32") / 2,
        shapes,
    ), how
  if num_beams > 1:
    engine = BeamSearch(
        T5, MESH, end_ids=ENDS, num_slots=6, num_beams=num_beams
    )
  else:
    engine = Engine(T5, MESH, end_ids=ENDS, num_slots=3)
  base = some_requests(4, 20)
  requests = [
      dataclasses.replace(r, id=f"{r.id} {name}", adapter=name)
      for r in base for name in (None, *found)
  ]
  together = answers(engine, params, requests, adapters=found)
  texts = set()
  for name in (None, *found):
    merged = params if name is None else lora.merge(params, *found[name])
    alone = answers(engine, merged, base)
    for r in base:
      assert together[f"{r.id} {name}"].tokens == alone[r.id].tokens
    texts.add(tuple(alone[r.id].tokens for r in base))
  assert len(texts) == 3


@pytest.mark.long
def test_encoder_decoders_have_slots_too(random_params):
  params = random_params(T5, seed=2)
  engine = Engine(T5, MESH, end_ids=ENDS, num_slots=3)
  short = some_requests(5, 30, logprobs=True)
  alone = answers(engine, params, short)
  long = [
      dataclasses.replace(
          short[0], id="long", tokens=tuple(range(37)) * 3, max_new_tokens=70
      )
  ]
  mixed = (short + long)[::-1]
  together = answers(engine, params, mixed)
  assert {r.id: together[r.id] for r in short} == alone
