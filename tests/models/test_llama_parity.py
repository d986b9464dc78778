"""A LLaMA goes through the whole of it, tokenizer files and engine, too.

test_family_parity.py holds logits and gradients of every family.
"""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models import decoder
from mlit_jax.models.interchange import huggingface

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

VOCAB = 61


class Pair:
  """Their model, saved by them, and the same one loaded by us."""

  def __init__(self, directory):
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=24, intermediate_size=37,
        num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        head_dim=10, rope_theta=500.0, rms_norm_eps=1e-4,
        max_position_embeddings=96, bos_token_id=1, eos_token_id=2,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    self.theirs = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
      for name, weight in self.theirs.named_parameters():
        noise = torch.randn_like(weight)
        if "norm" in name:
          weight.copy_(1 + 0.3 * noise)
        else:
          weight.copy_(noise * weight.shape[-1] ** -0.5)
    self.directory = directory
    self.theirs.save_pretrained(directory)
    self.config, self.params = huggingface.load(directory)
    self._apply = jax.jit(decoder.Decoder(self.config).apply)

  def ours(self, tokens, positions, params=None, **options):
    options = {k: jax.tree.map(jnp.asarray, v) for k, v in options.items()}
    return self._apply(
        {"params": self.params if params is None else params},
        jnp.asarray(tokens), jnp.asarray(positions), **options,
    )

  def their_logits(self, tokens, model=None):
    with torch.no_grad():
      model = self.theirs if model is None else model
      return model(torch.tensor(np.asarray(tokens))).logits.numpy()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  return Pair(tmp_path_factory.mktemp("theirs"))


def difference(ours, theirs):
  """Largest difference, relative to the largest value."""
  return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def rows(shape, seed=0):
  return np.random.default_rng(seed).integers(3, VOCAB, shape)


def test_our_checkpoint_gives_our_logits_in_transformers(
    pair, random_params, tmp_path
):
  params = random_params(pair.config, seed=4)
  huggingface.save(
      tmp_path / "ours", pair.config, params, b"", bos_id=1, eos_id=2
  )
  model, report = transformers.LlamaForCausalLM.from_pretrained(
      tmp_path / "ours", output_loading_info=True
  )
  assert not any(report[k] for k in ("missing_keys", "unexpected_keys"))
  assert model.dtype == torch.float32
  assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 2)
  tokens = rows((2, 20), seed=5)
  positions = np.broadcast_to(np.arange(20), tokens.shape)
  ours, _ = pair.ours(tokens, positions, params)
  assert difference(ours, pair.their_logits(tokens, model.eval())) < 1e-4


def test_greedy_answers_equal_generate(pair):
  """Prompts of several lengths in one batch; theirs one at a time.

  The end token is one that comes after a few steps, in some answers.
  """
  prompts = [tuple(map(int, rows(n, seed=n))) for n in (1, 3, 8, 12, 16)]
  asked = 12

  def generate(prompt, end):
    tokens = torch.tensor([prompt])
    out = pair.theirs.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=asked,
        do_sample=False, eos_token_id=end, pad_token_id=0,
    )
    return tuple(out[0, len(prompt) :].tolist())

  end = generate(prompts[1], VOCAB + 1)[5]
  engine = Engine(
      pair.config, partitioning.make_mesh(), end_ids=[end], num_slots=4
  )
  requests = [Request(str(i), p, asked) for i, p in enumerate(prompts)]
  results = {r.id: r for r in engine.generate(pair.params, requests)}
  reasons = set()
  for i, prompt in enumerate(prompts):
    theirs, result = generate(prompt, end), results[str(i)]
    ours = result.tokens + (end,) * (result.finish_reason == "stop")
    assert ours == theirs, i
    assert result.num_tokens == len(theirs)
    reasons.add(result.finish_reason)
  assert reasons == {"stop", "length"}


def test_half_precision_checkpoints_load(pair, tmp_path):
  half = transformers.LlamaForCausalLM(pair.theirs.config)
  half.to(torch.bfloat16).save_pretrained(tmp_path)
  config, params = huggingface.load(tmp_path)
  assert config == pair.config
  expected = half.model.embed_tokens.weight.detach().float().numpy()
  assert params["embedding"].dtype == np.float32
  np.testing.assert_array_equal(params["embedding"], expected)
