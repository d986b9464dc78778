"""T5X checkpoints: those of T5X's own code, and every layout written here."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from t5x_checkpoints import (
    LAYERS,
    D,
    F,
    H,
    N,
    R,
    V,
    make,
    scan,
    write,
    write_orbax,
)

from mlit_jax.models import encoder_decoder
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import t5x

_DATA = pathlib.Path(__file__).parents[4] / "shared/data/t5x"
def check(params, tree, scanned):
  """Every parameter against the array that it is, by hand."""
  assert len(jax.tree.leaves(params)) == 2 + 2 + 2 + 9 + 14
  same = np.testing.assert_array_equal
  same(params["embedding"], tree["token_embedder/embedding"])
  same(params["head"], tree["decoder/logits_dense/kernel"].T)
  for stack, layers in LAYERS.items():
    ours = params[stack]
    same(ours["final_norm"]["scale"], tree[f"{stack}/{stack}_norm/scale"])
    if not scanned:
      same(ours["relative_bias"], tree[f"{stack}/relpos_bias/rel_embedding"].T)
    attentions = {"attention": "attention"}
    norms = {"attention_norm": "attention", "mlp_norm": "mlp"}
    if stack == "decoder":
      attentions = {
          "attention": "self_attention",
          "cross_attention": "encoder_decoder_attention",
      }
      norms = {
          "attention_norm": "self_attention", "cross_norm": "cross_attention",
          "mlp_norm": "mlp",
      }
    for i in range(layers):
      layer = f"{stack}/layers_{i}"
      blocks = jax.tree.map(lambda x, i=i: np.asarray(x)[i], ours["blocks"])
      if scanned:
        same(
            blocks["relative_bias"],
            tree[f"{layer}/relpos_bias/rel_embedding"].T,
        )
      for mine, theirs in attentions.items():
        for kernel, shape in {
            "query": (D, N, H), "key": (D, N, H), "value": (D, N, H),
            "out": (N, H, D),
        }.items():
          value = tree[f"{layer}/{theirs}/{kernel}/kernel"]
          same(blocks[mine][kernel], value.reshape(shape))
      for mine, theirs in norms.items():
        scale = tree[f"{layer}/pre_{theirs}_layer_norm/scale"]
        same(blocks[mine]["scale"], scale)
      for mine, theirs in {"gate": "wi_0", "up": "wi_1", "down": "wo"}.items():
        same(blocks["mlp"][mine], tree[f"{layer}/mlp/{theirs}/kernel"])


SIZES = EncoderDecoderConfig(
    family="t5", vocab_size=V, num_encoder_layers=3, num_decoder_layers=2,
    embed_dim=D, num_heads=N, head_dim=H, mlp_dim=F, num_buckets=R,
)


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("writer", [write, write_orbax])
def test_every_layout_gives_the_same_parameters(tmp_path, writer, scanned):
  tree = make(scanned, apart=scanned)
  directory = writer(
      tmp_path / "checkpoint_7", scan(tree) if scanned else tree
  )
  assert t5x.matches(directory)
  config, params = t5x.load(directory)
  assert config.family == ("umt5" if scanned else "t5")
  assert (config.num_heads, config.head_dim, config.mlp_dim) == (N, H, F)
  assert (config.num_encoder_layers, config.num_decoder_layers) == (3, 2)
  assert not (config.tie_embeddings or config.scale_logits)
  check(params, tree, scanned)
  # The model takes them.
  tokens = jnp.zeros((1, 2), jnp.int32)
  model = encoder_decoder.EncoderDecoder(config)
  jax.eval_shape(lambda: model.apply({"params": params}, *(tokens,) * 4))


def test_a_scanned_layer_does_not_keep_the_memory_of_all(tmp_path):
  tree = make(scanned=True)
  files = t5x.Tensors(write(tmp_path / "checkpoint_7", scan(tree)))
  name = "encoder/layers_1/mlp/wo/kernel"
  value = files.read(name)
  assert value.base is None and value.shape == files.shape(name) == (F, D)
  np.testing.assert_array_equal(value, tree[name])


@pytest.mark.parametrize(
    "version, driver", [(2, "gcs"), (3, "gcs"), (3, "gfile")]
)
def test_other_places_and_bfloat16(tmp_path, version, driver):
  """A bucket is put aside; version 2 wrote bfloat16 as uint16."""
  tree = {k: v.astype(ml_dtypes.bfloat16) for k, v in make().items()}
  directory = write(tmp_path / "checkpoint_7", tree, version, driver)
  _, params = t5x.load(directory, dtype=jnp.bfloat16)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
  check(params, tree, scanned=False)
  _, wide = t5x.load(directory)
  np.testing.assert_array_equal(
      wide["embedding"], tree["token_embedder/embedding"].astype("f4")
  )


def test_t5_1_0_is_tied_and_not_gated(tmp_path):
  tree = make(tied=True)
  config, params = t5x.load(write(tmp_path / "checkpoint_7", tree))
  assert config.tie_embeddings and config.scale_logits and not config.gated_mlp
  assert "head" not in params
  np.testing.assert_array_equal(
      params["decoder"]["blocks"]["mlp"]["up"][1],
      tree["decoder/layers_1/mlp/wi/kernel"],
  )


def test_a_model_to_be_like_says_what_arrays_do_not(tmp_path):
  directory = write(tmp_path / "checkpoint_7", make())
  config = t5x.read_config(t5x.Tensors(directory))
  assert config == SIZES
  like = dataclasses.replace(
      SIZES, family="mt5", max_distance=64, norm_eps=1e-5, tie_embeddings=True
  )
  config = t5x.read_config(t5x.Tensors(directory), like)
  assert (config.family, config.max_distance, config.norm_eps) == (
      "mt5", 64, 1e-5
  )
  assert not config.tie_embeddings


@pytest.mark.long
@pytest.mark.parametrize("name", ["t5", "scalable", "t5_orbax"])
def test_t5x_own_checkpoints_give_t5x_own_logits(name):
  directory = _DATA / name
  if not directory.exists():
    pytest.skip(f"no {directory}: T5X's own checkpoints are not here")
  config, params = t5x.load(directory / "checkpoint_0")
  assert config.bias_per_layer is (name == "scalable")
  oracle = np.load(directory / "oracle.npz")
  inputs, tokens, targets = (
      jnp.asarray(oracle[k], jnp.int32) for k in ("enc", "dec_in", "dec_t")
  )

  def places(x):
    return jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape)

  logits = jax.jit(encoder_decoder.EncoderDecoder(config).apply)(
      {"params": params}, inputs, places(inputs), tokens, places(tokens),
      jnp.int32(inputs > 0), jnp.int32(targets > 0),
  )
  real = np.asarray(targets > 0)
  assert real.sum() == 15
  theirs = oracle["logits"][real]
  assert np.abs(logits[real] - theirs).max() < 1e-4
  assert np.abs(theirs).max() > 1
