"""Decodes on meshes of eight virtual devices; run as a script.

    python decoding_on_eight_devices.py OUT 4x1x2 1x1x1

test_decoding_on_meshes.py starts it: the devices of a process are fixed when
JAX starts. OUT is a pickle: {mesh: {case: (answers of some requests alone,
answers of the same among others)}}.
"""

import dataclasses
import math
import os
import pickle
import random
import sys

import flax.linen as nn
import jax
import numpy as np

from mlit_jax import partitioning
from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models import decoder, encoder_decoder, lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig

DECODER = DecoderConfig(
    vocab_size=40, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=24, max_length=128,
)
T5 = EncoderDecoderConfig(
    "t5", vocab_size=40, embed_dim=16, num_heads=4, head_dim=6, mlp_dim=24,
    num_encoder_layers=1, num_decoder_layers=2,
)
# {name: (model, adapters?, beams, type of the cache)}
CASES = {
    "adapters": (DECODER, True, 1, None),
    "adapters, int8": (DECODER, True, 1, "int8"),
    "adapters, beams": (DECODER, True, 2, None),
    "beams, int8": (DECODER, False, 2, "int8"),
    "t5": (T5, False, 1, None),
    "t5, adapters": (T5, True, 1, None),
    "t5, int8": (T5, False, 1, "int8"),
    "t5, beams": (T5, False, 2, None),
}
# Of a mesh not all: where heads are shared out, too, everything is tried.
FEWER = {"8x1x1": ("adapters", "adapters, beams", "t5, adapters")}
SLOTS, END = 8, 39


def numbers(shapes, seed, share):
  """The same on every mesh; made by NumPy."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: (rng.standard_normal(x.shape) * share).astype("float32"),
      nn.meta.unbox(shapes),
  )


def params(config):
  module = encoder_decoder if config is T5 else decoder
  shapes = jax.eval_shape(lambda: module.init_params(config, 0))
  return numbers(shapes, 1, 0.4)


def check_back(engine, weights, config, mesh):
  """What the engine gives back is what it took, cut as parameters are."""
  module = encoder_decoder if config is T5 else decoder
  shapes = jax.eval_shape(lambda: module.init_params(config, 0))
  back, whole = engine.give_back(weights), params(config)
  jax.tree.map(np.testing.assert_array_equal, back, whole)
  cut = jax.tree.map(lambda x: x.sharding, back)
  assert cut == partitioning.param_shardings(shapes, mesh)


def adapters(config):
  """Of different ranks."""
  found = {}
  for rank in (2, 3):
    how = lora.LoraConfig(rank=rank)
    shapes = jax.eval_shape(lambda how=how: lora.init(config, how, 0))
    found[f"a{rank}"] = numbers(shapes, rank, 0.5), how
  return found


def requests(names, sampled):
  """Short ones; and long ones, which make the cache longer."""
  rng = np.random.default_rng(0)

  def some(count, size, new, name):
    return [
        Request(
            f"{name} {i}", tuple(rng.integers(0, END, size + i).tolist()), new,
            logprobs=True, adapter=names[i % len(names)],
            temperature=float(sampled and i % 2), seed=i,
        )
        for i in range(count)
    ]

  return some(6, 3, 12, "short"), some(3, 50, 20, "long")


def decode(case, mesh):
  """Answers of the short requests, alone and among the others."""
  config, adapted, beams, cache = case
  how = {"end_ids": [END], "num_slots": SLOTS, "cache_dtype": cache}
  if beams > 1:
    engine = BeamSearch(config, mesh, num_beams=beams, **how)
  else:
    engine = Engine(config, mesh, **how)
  own = adapters(config) if adapted else {}
  short, long = requests([None, *own], sampled=beams == 1)
  mixed = short + long
  random.Random(0).shuffle(mixed)
  weights = engine.take(params(config))
  found = []
  for asked in (short, mixed):
    answers = {r.id: r for r in engine.generate(weights, asked, adapters=own)}
    assert len(answers) == len(asked)
    found.append([dataclasses.asdict(answers[r.id]) for r in short])
  if beams == 1:
    check_back(engine, weights, config, mesh)
  return found


if __name__ == "__main__":
  out, *meshes = sys.argv[1:]
  assert jax.device_count() == 8, jax.devices()
  results = {}
  for name in meshes:
    cases = FEWER.get(name, CASES)
    sizes = tuple(int(n) for n in name.split("x"))
    mesh = partitioning.make_mesh(sizes, jax.devices()[: math.prod(sizes)])
    results[name] = {case: decode(CASES[case], mesh) for case in cases}
  with open(f"{out}.tmp", "wb") as file:
    pickle.dump(results, file)
  os.replace(f"{out}.tmp", out)
