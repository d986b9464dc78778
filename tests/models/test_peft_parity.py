"""LoRA adapters to PEFT and back: the same logits, for every family.

The families are those of test_family_parity.py.
"""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import decoder, lora
from mlit_jax.models.interchange import convert
from mlit_jax.models.interchange import peft as ours_to_peft

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.torch

import test_family_parity as families  # noqa: E402

TOKENS = np.random.default_rng(0).integers(3, families.VOCAB, (2, 12))
# Their layouts are LLaMA's.
SLOW = (*families.SLOW, "gemma2", "gemma3", "qwen3")
EVERY_MAP = lora.LoraConfig(pattern="", rank=2, alpha=3.0, dropout=0.0)


def random_adapters(config, how, count=2):
  """No part is near zero."""
  shapes = nn.meta.unbox(
      jax.eval_shape(lambda: lora.init(config, how, 0, count))
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
      lambda x: (rng.standard_normal(x.shape) / 4).astype(np.float32), shapes
  )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, marks=pytest.mark.slow)
        if case in SLOW
        else case
        for case in families.CASES
    ],
)
def pair(request, tmp_path_factory):
  return families.Pair(request.param, tmp_path_factory.mktemp("theirs"))


@functools.lru_cache(maxsize=1)
def program(config):
  """One for the base and all that is merged into it."""
  places = jnp.broadcast_to(jnp.arange(TOKENS.shape[1]), TOKENS.shape)

  @families.jit
  def run(params):
    model = decoder.Decoder(config)
    return model.apply({"params": params}, jnp.asarray(TOKENS), places)[0]

  return run


def ours(pair, adapters, how, k=0):
  return np.asarray(
      program(pair.config)(lora.merge(pair.params, adapters, how, k))
  )


def logits(model):
  with torch.no_grad():
    return model(torch.tensor(TOKENS)).logits.numpy()


def in_peft(pair, directory):
  """Their base with an adapter that PEFT reads."""
  model = pair.theirs()
  # What PEFT asks of every causal language model; the reference has none.
  if not hasattr(model, "prepare_inputs_for_generation"):
    model.prepare_inputs_for_generation = None
  return peft.PeftModel.from_pretrained(model, directory).eval()


def linear_maps(model):
  """The names of the blocks' linear maps."""
  return [
      name
      for name, module in model.named_modules()
      if isinstance(module, torch.nn.Linear)
      and (".layers." in name or ".h." in name)
  ]


@pytest.mark.long
def test_ours_gives_its_logits_in_peft_and_comes_back(pair, tmp_path):
  adapters = random_adapters(pair.config, EVERY_MAP)
  ours_to_peft.save_adapter(
      tmp_path, pair.config, EVERY_MAP, adapters, 1, str(pair.directory)
  )
  model = in_peft(pair, tmp_path)
  expected = ours(pair, adapters, EVERY_MAP, 1)
  with model.disable_adapter():
    base = logits(model.get_base_model())
  assert families.difference(expected, base) > 0.1
  theirs = logits(model.get_base_model())
  assert families.difference(expected, theirs) < 1e-4
  convert.convert(pair.directory, tmp_path / "merged", adapter=tmp_path)
  merged = logits(pair.theirs(tmp_path / "merged"))
  assert families.difference(merged, theirs) < 1e-4
  again, how = ours_to_peft.load_adapter(tmp_path, pair.config)
  assert (how.rank, how.scale, how.dropout) == (2, 1.5, 0)
  jax.tree.map(
      lambda a, b: np.testing.assert_array_equal(a, b[:, 1:]), again, adapters
  )


def test_peft_s_own_gives_its_logits_here(pair, tmp_path):
  model = pair.theirs()
  names = {name.rpartition(".")[-1] for name in linear_maps(model)}
  config = {"target_modules": sorted(names), "target_parameters": None}
  if pair.config.num_experts:
    config["target_parameters"] = [
        "gate.weight", "experts.gate_up_proj", "experts.down_proj",
    ]
  # Another rank and scale for what comes last, and another rule for scales.
  torch.manual_seed(0)
  model = peft.get_peft_model(
      model,
      peft.LoraConfig(
          r=3, lora_alpha=5, use_rslora=True, init_lora_weights=False,
          rank_pattern={max(names): 4}, alpha_pattern={max(names): 7}, **config,
      ),
  ).eval()
  with torch.no_grad():
    for name, weight in model.named_parameters():
      if "lora_B" in name:  # as it is, rounding grows beyond all measure
        weight *= 0.3
  model.save_pretrained(tmp_path)
  theirs = logits(model.get_base_model())
  adapters, how = ours_to_peft.load_adapter(tmp_path, pair.config)
  found = ours(pair, adapters, how)
  assert families.difference(found, logits(pair.theirs())) > 0.05
  assert families.difference(found, theirs) < 1e-4


@pytest.mark.parametrize("pair", ["neox"], indirect=True)
@pytest.mark.parametrize(
    "pattern", ["attention/(query|value)$", "key$", "out$|key$"]
)
def test_a_part_of_a_fused_map(pair, tmp_path, pattern):
  how = lora.LoraConfig(pattern, 3, 2.0)
  adapters = random_adapters(pair.config, how)
  ours_to_peft.save_adapter(tmp_path, pair.config, how, adapters)
  about = json.loads((tmp_path / "adapter_config.json").read_text())
  assert about["lora_dropout"] == 0.05
  theirs = logits(in_peft(pair, tmp_path).get_base_model())
  assert families.difference(ours(pair, adapters, how), theirs) < 1e-4
  again, found = ours_to_peft.load_adapter(tmp_path, pair.config)
  assert (found.rank, found.scale) == (how.rank, how.scale)
  assert lora.chosen(pair.config, found) == lora.chosen(pair.config, how)
  jax.tree.map(
      lambda a, b: np.testing.assert_array_equal(a, b[:, :1]), again, adapters
  )
