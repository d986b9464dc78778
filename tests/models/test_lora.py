"""LoRA: what it adds, apart from the base, for one adapter and for several."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from mlit_jax import partitioning
from mlit_jax.models import decoder, lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.low_rank import low_rank

DENSE = DecoderConfig(
    vocab_size=31, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=20, max_length=32,
)
EXPERTS = dataclasses.replace(
    DENSE, family="mixtral", num_experts=3, experts_per_token=2
)
EVERY_MAP = lora.LoraConfig(pattern="", rank=3, alpha=4.0, dropout=0.0)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 31, (3, 9)))
PLACES = jnp.broadcast_to(jnp.arange(9), TOKENS.shape)


def random_adapters(config, how, count, seed=0):
  """No part is zero, and no two adapters are the same."""
  shapes = nn.meta.unbox(jax.eval_shape(
      lambda: lora.init(config, how, 0, count)
  ))
  rng = np.random.default_rng(seed)
  return jax.tree.map(
      lambda x: jnp.asarray(rng.standard_normal(x.shape) / 2, jnp.float32),
      shapes,
  )


@functools.partial(jax.jit, static_argnames=("config", "how"))
def logits(config, params, tokens, adapters=None, how=None, ids=None, rng=None):
  variables = {"params": params}
  if adapters is not None:
    variables["lora"] = lora.collection(adapters, how, ids)
  return decoder.Decoder(config).apply(
      variables, tokens, PLACES[: len(tokens)],
      rngs=None if rng is None else {"dropout": rng},
  )[0]


def pick(adapters, k):
  return jax.tree.map(lambda x: x[:, k : k + 1], adapters)


@pytest.mark.long
@pytest.mark.parametrize("config", [DENSE, EXPERTS], ids=["dense", "experts"])
def test_several_at_once_equal_each_alone_and_merged(config, random_params):
  """Every map of the blocks, the experts' and the router's too."""
  params = random_params(config)
  adapters = random_adapters(config, EVERY_MAP, 4)
  ids = jnp.asarray([2, 0, 2])
  together = logits(config, params, TOKENS, adapters, EVERY_MAP, ids)
  base = logits(config, params, TOKENS)
  for row, k in enumerate(ids):
    alone = logits(
        config, params, TOKENS[row : row + 1], pick(adapters, k), EVERY_MAP
    )
    merged = lora.merge(params, adapters, EVERY_MAP, int(k))
    folded = logits(config, merged, TOKENS[row : row + 1])
    np.testing.assert_allclose(together[row], alone[0], atol=2e-5)
    np.testing.assert_allclose(together[row], folded[0], atol=2e-4)
    assert np.abs(together[row] - base[row]).max() > 0.1
  one, other = (
      logits(config, params, TOKENS[:1], pick(adapters, k), EVERY_MAP)
      for k in (0, 2)
  )
  assert np.abs(one - other).max() > 0.1


@pytest.mark.long
def test_each_adapter_has_the_gradient_it_has_alone(random_params):
  params = random_params(DENSE)
  adapters = random_adapters(DENSE, EVERY_MAP, 3)
  ids = jnp.asarray([2, 0, 2])

  @jax.jit
  def gradient(adapters, tokens, ids):
    def loss(adapters):
      out = logits(DENSE, params, tokens, adapters, EVERY_MAP, ids)
      return jnp.sum(jnp.sin(out))

    return jax.grad(loss)(adapters)

  together = gradient(adapters, TOKENS, ids)
  for k, rows in ((0, [1]), (2, [0, 2])):
    alone = gradient(
        pick(adapters, k), TOKENS[jnp.asarray(rows)],
        jnp.zeros(len(rows), jnp.int32),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()
        ),
        pick(together, k), alone,
    )
  for leaf in jax.tree.leaves(pick(together, 1)):  # no row took it
    np.testing.assert_array_equal(leaf, 0)


def test_new_adapters_change_nothing(random_params):
  params = random_params(DENSE)
  how = lora.LoraConfig()
  adapters = nn.meta.unbox(lora.init(DENSE, how, 7))
  np.testing.assert_array_equal(
      logits(DENSE, params, TOKENS, adapters, how),
      logits(DENSE, params, TOKENS),
  )
  # The alpaca paper's maps, each part of its size.
  attention = adapters["blocks"]["attention"]
  assert set(adapters["blocks"]) == {"attention"}
  assert {k: (v["a"].shape, v["b"].shape) for k, v in attention.items()} == {
      "query": ((2, 1, 16, 8), (2, 1, 8, 4, 6)),
      "key": ((2, 1, 16, 8), (2, 1, 8, 2, 6)),
      "value": ((2, 1, 16, 8), (2, 1, 8, 2, 6)),
  }
  assert how.scale == 2
  a = np.asarray(attention["query"]["a"])
  assert 0.9 / 4 < np.abs(a).max() <= 1 / 4  # up to 1 / sqrt(16)


def test_adapters_are_cut_as_their_kernels():
  mesh = AbstractMesh((1, 2, 2, 1, 1, 1), partitioning.MESH_AXES)
  how = lora.LoraConfig(pattern="attention/(query|out)$")
  found = partitioning.param_shardings(
      jax.eval_shape(lambda: lora.init(DENSE, how, 0, 3)), mesh
  )["blocks"]["attention"]
  cut = "fsdp", "sequence"
  specs = {
      (name, part): PartitionSpec(*spec)
      for name, part, spec in (
          ("query", "a", (None, None, cut, None)),
          ("query", "b", (None, None, None, "tensor", None)),
          ("out", "a", (None, None, "tensor", None, None)),
          ("out", "b", (None, None, None, cut)),
      )
  }
  for (name, part), spec in specs.items():
    assert found[name][part].spec == spec


class One(nn.Module):
  """A single map's adapter."""

  @nn.compact
  def __call__(self, x):
    return low_rank(self, "map", "BTD,DF->BTF", x)


@pytest.mark.long
def test_dropout_leaves_out_a_share_and_scales_the_rest():
  width, rate = 4000, 0.25
  adapter = {
      "a": jnp.eye(width)[None], "b": jnp.eye(width)[None],
      "scale": jnp.asarray(3.0), "rate": jnp.asarray(rate),
  }
  variables = {"lora": {"map": adapter}}
  x = jnp.ones((1, 1, width))
  still = One().apply(variables, x)
  np.testing.assert_array_equal(still, 3)
  dropped = One().apply(variables, x, rngs={"dropout": jax.random.key(0)})
  np.testing.assert_allclose(np.unique(dropped), [0, 3 / (1 - rate)])
  assert abs(np.mean(dropped == 0) - rate) < 0.03
  other = One().apply(variables, x, rngs={"dropout": jax.random.key(1)})
  assert np.any(dropped != other)


@pytest.mark.long
def test_dropout_in_the_model_differs_by_layer_and_map(random_params):
  params = random_params(DENSE)
  adapters = random_adapters(DENSE, EVERY_MAP, 1)
  how = dataclasses.replace(EVERY_MAP, dropout=0.5)
  run = functools.partial(logits, DENSE, params, TOKENS, adapters)
  np.testing.assert_array_equal(run(how), run(EVERY_MAP))
  a, b = (run(how, rng=jax.random.key(seed)) for seed in (0, 1))
  assert np.abs(a - b).max() > 0.1
  np.testing.assert_array_equal(a, run(how, rng=jax.random.key(0)))


def test_stacked_adapters_are_those_they_were_made_of():
  one, two = (random_adapters(DENSE, EVERY_MAP, n, seed=n) for n in (1, 2))
  both = lora.stack([one, two])
  for k, (tree, i) in enumerate(((one, 0), (two, 0), (two, 1))):
    jax.tree.map(np.testing.assert_array_equal, pick(both, k), pick(tree, i))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: lora.LoraConfig(rank=0), "rank must be a positive whole"),
        (lambda: lora.LoraConfig(alpha=-1.0), "alpha must be positive: -1.0"),
        (lambda: lora.LoraConfig(dropout=1.0), "dropout must be in [0, 1)"),
        (lambda: lora.LoraConfig(pattern="("), "pattern '(': missing )"),
        (
            lambda: lora.chosen(DENSE, lora.LoraConfig(pattern="q_proj")),
            "pattern 'q_proj' matches no linear map; there are"
            " blocks/attention/key, blocks/attention/out,",
        ),
        (
            lambda: lora.collection(
                random_adapters(DENSE, EVERY_MAP, 2), EVERY_MAP
            ),
            "there are 2 adapters: give adapter_ids",
        ),
    ],
)
def test_wrong_use_is_refused(call, message):
  with pytest.raises(ValueError) as error:
    call()
  assert message in str(error.value)
