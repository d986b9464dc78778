"""LoRA over T5, mT5 and umT5: to PEFT and back, and the same logits.

The models are those of test_t5_parity.py.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax.models import encoder_decoder, lora
from mlit_jax.models.interchange import convert
from mlit_jax.models.interchange import peft as ours_to_peft
from mlit_jax.models.interchange.storage import CheckpointError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.torch

import test_t5_parity as t5  # noqa: E402
from test_peft_parity import EVERY_MAP, random_adapters  # noqa: E402

INPUTS, TOKENS = t5.rows((2, 14)), t5.rows((2, 9), seed=1)


@pytest.fixture(
    scope="module",
    params=[
        "t5-1.0", pytest.param("mt5", marks=pytest.mark.slow),
        pytest.param("umt5", marks=pytest.mark.long),
    ],
)
def pair(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp(request.param)
  return t5.Pair(directory, **t5.FAMILIES[request.param])


one = pytest.mark.parametrize("pair", ["t5-1.0"], indirect=True)


def ours(pair, adapters, how, k):
  """Applied beside the frozen base, as in training."""
  adapters = jax.tree.map(lambda x: jnp.asarray(x[:, k : k + 1]), adapters)
  places = [
      jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape)
      for x in (INPUTS, TOKENS)
  ]
  model = encoder_decoder.EncoderDecoder(pair.config)
  return np.asarray(jax.jit(model.apply)(
      {"params": pair.params, "lora": lora.collection(adapters, how)},
      jnp.asarray(INPUTS), places[0], jnp.asarray(TOKENS), places[1],
  ))


def in_peft(pair, directory):
  model = pair.reload(pair.directory)
  return peft.PeftModel.from_pretrained(model, directory).eval()


def logits(pair, model):
  return pair.their_logits(INPUTS, TOKENS, model=model)


def test_ours_gives_its_logits_in_peft_and_comes_back(pair, tmp_path):
  adapters = random_adapters(pair.config, EVERY_MAP)
  ours_to_peft.save_adapter(
      tmp_path, pair.config, EVERY_MAP, adapters, 1, str(pair.directory)
  )
  about = json.loads((tmp_path / "adapter_config.json").read_text())
  assert about["task_type"] == "SEQ_2_SEQ_LM"
  mlp = ["wi_0", "wi_1", "wo"] if pair.config.gated_mlp else ["wi", "wo"]
  assert about["target_modules"] == ["k", "o", "q", "v", *mlp]
  model = in_peft(pair, tmp_path)
  expected = ours(pair, adapters, EVERY_MAP, 1)
  with model.disable_adapter():
    base = logits(pair, model.get_base_model())
  assert t5.difference(expected, base) > 0.1
  theirs = logits(pair, model.get_base_model())
  assert t5.difference(expected, theirs) < 1e-4
  merged = lora.merge(pair.params, adapters, EVERY_MAP, 1)
  assert t5.difference(pair.ours(INPUTS, TOKENS, merged), theirs) < 1e-4
  convert.convert(pair.directory, tmp_path / "merged", adapter=tmp_path)
  again = pair.reload(tmp_path / "merged")
  assert t5.difference(logits(pair, again), theirs) < 1e-4
  again, how = ours_to_peft.load_adapter(tmp_path, pair.config)
  assert (how.rank, how.scale, how.dropout) == (2, 1.5, 0)
  assert lora.chosen(pair.config, how) == [*lora.maps(pair.config)]
  jax.tree.map(
      lambda a, b: np.testing.assert_array_equal(a, b[:, 1:]), again, adapters
  )


def test_peft_s_own_gives_its_logits_here(pair, tmp_path):
  model = pair.reload(pair.directory)
  last = "wi_1" if pair.config.gated_mlp else "wi"
  torch.manual_seed(0)
  model = peft.get_peft_model(
      model,
      peft.LoraConfig(
          task_type="SEQ_2_SEQ_LM", r=3, lora_alpha=5, use_rslora=True,
          init_lora_weights=False, target_modules=["q", "v", "o", last],
          rank_pattern={last: 4}, alpha_pattern={"EncDecAttention.q": 7},
      ),
  ).eval()
  with torch.no_grad():
    for name, weight in model.named_parameters():
      if "lora_B" in name:
        weight *= 0.3
  model.save_pretrained(tmp_path)
  theirs = logits(pair, model.get_base_model())
  adapters, how = ours_to_peft.load_adapter(tmp_path, pair.config)
  found = ours(pair, adapters, how, 0)
  assert t5.difference(found, logits(pair, pair.theirs)) > 0.05
  assert t5.difference(found, theirs) < 1e-4


@one
@pytest.mark.parametrize(
    "pattern, targets",
    [
        pytest.param(
            lora.LoraConfig().pattern, ["k", "q", "v"], marks=pytest.mark.long
        ),
        (
            "cross_attention/(query|value)$",
            ["EncDecAttention.q", "EncDecAttention.v"],
        ),
        (
            "^encoder/.*/query$",  # which decoders' self-attention ends like
            [f"encoder.block.{i}.layer.0.SelfAttention.q" for i in range(3)],
        ),
        pytest.param("mlp/down$", ["wo"], marks=pytest.mark.long),
        ("^decoder/.*mlp/down$", ["2.DenseReluDense.wo"]),
    ],
)
def test_what_is_not_adapted_stays_so_in_peft(
    pair, tmp_path, pattern, targets
):
  how = lora.LoraConfig(pattern, 3, 2.0)
  adapters = random_adapters(pair.config, how, 1)
  ours_to_peft.save_adapter(tmp_path, pair.config, how, adapters)
  about = json.loads((tmp_path / "adapter_config.json").read_text())
  assert about["target_modules"] == targets
  theirs = logits(pair, in_peft(pair, tmp_path).get_base_model())
  assert t5.difference(ours(pair, adapters, how, 0), theirs) < 1e-4
  again, found = ours_to_peft.load_adapter(tmp_path, pair.config)
  assert (found.rank, found.scale) == (how.rank, how.scale)
  assert lora.chosen(pair.config, found) == lora.chosen(pair.config, how)
  jax.tree.map(np.testing.assert_array_equal, again, adapters)


@one
def test_a_map_that_the_config_names_must_be_there(pair, tmp_path):
  how = lora.LoraConfig("cross_attention/query$", 3, 2.0)
  adapters = random_adapters(pair.config, how, 1)
  ours_to_peft.save_adapter(tmp_path, pair.config, how, adapters)
  path = tmp_path / "adapter_config.json"
  about = json.loads(path.read_text())
  path.write_text(json.dumps(about | {"target_modules": ["q"]}))
  with pytest.raises(CheckpointError, match=(
      r"no tensor '.*encoder.block.0.layer.0.SelfAttention.q.lora_A.weight'"
  )):
    ours_to_peft.load_adapter(tmp_path, pair.config)
