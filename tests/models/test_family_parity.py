"""Every decoder family against its reference, in float32.

A row of CASES is a family: a small config with every optional field in use,
and by it the family has all tests of this file. No weight is near zero and no
norm scale is 1, so that nothing left out can hide; windows and the lengths that
rotary scaling starts from are shorter than the sequences.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.models import decoder
from mlit_jax.models.interchange import huggingface
from mlit_jax.training.loss import cross_entropy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

import baichuan_reference as baichuan  # noqa: E402

VOCAB, STEPS = 61, 12
# Most of the time here goes into compiling programs that run once.
jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
SIZES = {
    "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 37,
    "num_hidden_layers": 5, "num_attention_heads": 6, "bos_token_id": 1,
    "eos_token_id": None, "pad_token_id": 0,
}
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 10}
ALTERNATING = ["sliding_attention", "full_attention"] * 2 + [
    "sliding_attention"
]
CASES = {
    "llama": (
        "LlamaConfig",
        GROUPED | {
            "rope_theta": 500.0, "rms_norm_eps": 1e-3, "attention_bias": True,
            "mlp_bias": True, "tie_word_embeddings": True,
            "max_position_embeddings": 96,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 12,
            },
        },
    ),
    "mistral": (
        "MistralConfig",
        GROUPED | {
            "sliding_window": 5, "hidden_act": "gelu",
            "rope_scaling": {"rope_type": "linear", "factor": 2.5},
        },
    ),
    "mixtral": (
        "MixtralConfig",
        GROUPED | {"num_local_experts": 5, "num_experts_per_tok": 2},
    ),
    "neox": (
        "GPTNeoXConfig",
        SIZES | {
            "hidden_size": 48, "rotary_pct": 0.5, "rotary_emb_base": 300.0,
            "max_position_embeddings": 8, "hidden_act": "gelu_new",
            "rope_scaling": {"rope_type": "dynamic", "factor": 3.0},
        },
    ),
    "neox in sequence": (
        "GPTNeoXConfig",
        SIZES | {
            "hidden_size": 48, "use_parallel_residual": False,
            "attention_bias": False, "tie_word_embeddings": True,
        },
    ),
    "bloom": (
        "BloomConfig",
        {
            "vocab_size": VOCAB, "hidden_size": 24, "n_layer": 5, "n_head": 6,
            "layer_norm_epsilon": 1e-3,
        },
    ),
    "baichuan 7B": ("baichuan", SIZES | {"max_position_embeddings": 64}),
    "baichuan 13B": ("baichuan", SIZES | {"model_max_length": 64}),
    "gemma": (
        "GemmaConfig",
        GROUPED | {"attention_bias": True, "rms_norm_eps": 1e-3},
    ),
    "gemma2": (
        "Gemma2Config",
        GROUPED | {
            "sliding_window": 5, "layer_types": ALTERNATING,
            "query_pre_attn_scalar": 7, "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 2.5, "attention_bias": True,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        GROUPED | {
            "sliding_window": 5, "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 7, "final_logit_softcapping": 2.5,
            "rope_theta": 900.0, "rope_local_base_freq": 20.0,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        },
    ),
    "qwen2": (
        "Qwen2Config",
        GROUPED | {
            "use_sliding_window": True, "sliding_window": 5,
            "max_window_layers": 2,
        },
    ),
    "qwen3": (
        "Qwen3Config",
        GROUPED | {
            "attention_bias": True, "max_position_embeddings": 48,
            # A small base, for a ramp that ends between dimensions.
            "rope_theta": 20.0,
            "rope_scaling": {
                "rope_type": "yarn", "factor": 4.0, "beta_fast": 1.0,
                "beta_slow": 0.2, "original_max_position_embeddings": 12,
            },
        },
    ),
}


def randomize(model):
  torch.manual_seed(0)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn_like(weight)
      if weight.ndim == 1 and "bias" not in name:
        weight.copy_(1 + 0.3 * noise)
      elif weight.ndim == 1:
        weight.copy_(noise / 2)
      else:
        weight.copy_(noise * 1.5 * weight.shape[-1] ** -0.5)


class Pair:
  """Their model, saved by them, and the same one loaded by us."""

  def __init__(self, case, directory):
    kind, fields = CASES[case]
    self.directory = directory
    if kind == "baichuan":
      model, self._load = baichuan.Model(fields), baichuan.load
    else:
      config = getattr(transformers, kind)(**fields)
      model = transformers.AutoModelForCausalLM.from_config(config)
      self._load = functools.partial(
          transformers.AutoModelForCausalLM.from_pretrained,
          attn_implementation="eager",
          # The other ways want widths that are multiples of 16 bytes.
          experts_implementation="eager",
      )
    randomize(model)
    model.save_pretrained(directory)
    self.config, self.params = huggingface.load(directory)

  def theirs(self, directory=None):
    """A fresh one: dynamic rotary scaling remembers what it has seen."""
    return self._load(directory or self.directory).eval()


# What these add to the others is little, and each costs seconds to compile.
SLOW = ("mistral", "neox in sequence", "baichuan 7B", "gemma", "qwen2")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case
        for case in CASES
    ],
)
def pair(request, tmp_path_factory):
  return Pair(request.param, tmp_path_factory.mktemp("theirs"))


def difference(ours, theirs, least=0.0):
  """Largest difference, relative to the largest value."""
  scale = max(np.abs(theirs).max(), least)
  return np.abs(np.asarray(ours) - theirs).max() / scale


class Rows:
  """A long row, a short one, a left-padded one and a packed one.

  Attributes:
    places: (row, slice) of every sequence, the shorter ones first.
  """

  LENGTH = 20

  def __init__(self):
    shape = 4, self.LENGTH
    rng = np.random.default_rng(0)
    self.tokens = rng.integers(3, VOCAB, shape)
    self.positions, self.segments = np.zeros((2, *shape), np.int32)
    starts = [(0, 0, 20), (1, 0, 5), (2, 7, 20)]
    starts += [(3, 0, 4), (3, 4, 13), (3, 13, 14), (3, 14, 20)]
    for number, (row, start, end) in enumerate(starts, start=1):
      self.positions[row, start:end] = np.arange(end - start)
      self.segments[row, start:end] = number
    starts.sort(key=lambda s: s[2] - s[1])
    self.places = [(row, slice(start, end)) for row, start, end in starts]
    # The last token of a sequence has no target; some others are left out.
    self.targets = np.roll(self.tokens, -1, axis=1)
    self.weights = np.float32(rng.random(shape) < 0.7)
    self.weights[self.segments == 0] = 0
    for row, place in self.places:
      self.weights[row, place.stop - 1] = 0


ROWS = Rows()


@functools.lru_cache(maxsize=1)
def ours(pair):
  """Logits of ROWS, and the gradients of the mean loss."""
  model = decoder.Decoder(pair.config)

  def loss(params):
    logits, _ = model.apply(
        {"params": params}, jnp.asarray(ROWS.tokens),
        jnp.asarray(ROWS.positions), jnp.asarray(ROWS.segments),
    )
    return cross_entropy(
        logits, jnp.asarray(ROWS.targets), jnp.asarray(ROWS.weights)
    ).mean, logits

  (value, logits), gradients = jit(jax.value_and_grad(loss, has_aux=True))(
      pair.params
  )
  return value, np.asarray(logits), gradients


@pytest.mark.long
def test_long_short_padded_and_packed_rows_give_their_logits(pair):
  _, logits, _ = ours(pair)
  model = pair.theirs()
  largest = 0
  for row, place in ROWS.places:
    tokens = torch.tensor(ROWS.tokens[row : row + 1, place])
    with torch.no_grad():
      theirs = model(tokens).logits.numpy()[0]
    assert np.abs(theirs).max() > 0.5
    assert difference(logits[row, place], theirs) < 1e-4, (row, place)
    largest = max(largest, len(set(theirs.argmax(-1))))
  assert largest > 5  # they differ from place to place


def test_left_padding_is_their_attention_mask(pair):
  if pair.config.family == "baichuan":
    pytest.skip("the reference takes no mask")
  _, logits, _ = ours(pair)
  row = slice(2, 3)
  mask = torch.tensor(np.int64(ROWS.segments[row] > 0))
  options = {}
  if pair.config.position == "rope":
    options["position_ids"] = torch.tensor(np.int64(ROWS.positions[row]))
  with torch.no_grad():
    theirs = pair.theirs()(
        torch.tensor(ROWS.tokens[row]), attention_mask=mask, **options
    ).logits.numpy()[0]
  _, place = ROWS.places[-2]
  assert place == slice(7, 20)
  assert difference(logits[2, place], theirs[place]) < 1e-4


def test_gradients_equal_theirs(pair, tmp_path):
  value, _, gradients = ours(pair)
  model, total = pair.theirs(), 0.0
  for row, place in ROWS.places:
    losses = torch.nn.functional.cross_entropy(
        model(torch.tensor(ROWS.tokens[row : row + 1, place])).logits[0],
        torch.tensor(ROWS.targets[row, place]), reduction="none",
    )
    total += (losses * torch.tensor(ROWS.weights[row, place])).sum()
  mean = total / float(ROWS.weights.sum())
  mean.backward()
  np.testing.assert_allclose(value, mean.item(), rtol=1e-5)
  # Their gradients, saved as weights, are read as such.
  with torch.no_grad():
    for weight in model.parameters():
      weight.copy_(weight.grad)
  model.save_pretrained(tmp_path)
  _, expected = huggingface.load(tmp_path)
  assert jax.tree.structure(gradients) == jax.tree.structure(expected)
  # Without rotary positions a key's bias moves all scores of a query alike:
  # its gradient is 0, and what is found there is rounding.
  least = 1e-3 * max(np.abs(x).max() for x in jax.tree.leaves(expected))

  def near(path, found, theirs):
    error = difference(found, np.asarray(theirs), least)
    assert error < 1e-4, jax.tree_util.keystr(path)

  jax.tree_util.tree_map_with_path(near, gradients, expected)


def generate(model, prompt):
  """Greedy tokens and their logits."""
  tokens = torch.tensor([prompt])
  out = model.generate(
      tokens, attention_mask=torch.ones_like(tokens), do_sample=False,
      max_new_tokens=STEPS, min_new_tokens=STEPS, output_logits=True,
      return_dict_in_generate=True, pad_token_id=0,
  )
  logits = torch.stack(out.logits, dim=1)[0]
  return out.sequences[0, len(prompt) :].tolist(), logits.numpy()


@pytest.mark.long
def test_greedy_cached_decoding_equals_generate(pair):
  """Prompts of several lengths in one batch, padded before their start."""
  lengths = np.asarray([1, 6, 9])
  width = int(lengths.max())
  tokens = np.random.default_rng(1).integers(3, VOCAB, (3, width))
  positions = np.arange(width) - (width - lengths)[:, None]
  segments = jnp.asarray(positions >= 0, jnp.int32)
  model = decoder.Decoder(pair.config)

  @jit
  def decode(params):
    cache = decoder.init_cache(pair.config, 3, width + STEPS)
    # What an empty slot holds must not matter.
    cache = jax.tree.map(lambda x: x + 1e3, cache)
    logits, cache = model.apply(
        {"params": params}, jnp.asarray(tokens),
        jnp.asarray(np.maximum(positions, 0)), segments, cache,
    )

    def step(carry, index):
      cache, logits = carry
      token = jnp.argmax(logits, axis=-1)
      following, cache = model.apply(
          {"params": params}, token[:, None],
          (jnp.asarray(lengths) + index)[:, None], cache=cache,
      )
      return (cache, following[:, 0]), (token, logits)

    start = cache, logits[:, -1]
    return jax.lax.scan(step, start, jnp.arange(STEPS))[1]

  found, logits = map(np.asarray, decode(pair.params))
  for row, n in enumerate(lengths):
    prompt = tokens[row, width - n :].tolist()
    answer, theirs = generate(pair.theirs(), prompt)
    assert difference(logits[:, row], theirs) < 1e-4, n
    assert found[:, row].tolist() == answer, n


@pytest.mark.slow
def test_the_engine_decodes_as_generate(pair):
  """It pads behind prompts; dynamic scaling must not count that."""
  prompts = [tuple(range(3, 3 + n)) for n in (1, 6, 9, 2, 11, 5)]
  engine = Engine(
      pair.config, partitioning.make_mesh(), end_ids=[VOCAB + 1], num_slots=4
  )
  requests = [Request(str(i), p, STEPS) for i, p in enumerate(prompts)]
  for result in engine.generate(pair.params, requests):
    answer, _ = generate(pair.theirs(), list(prompts[int(result.id)]))
    assert list(result.tokens) == answer


def test_exported_again_it_is_theirs_bit_for_bit(pair, tmp_path):
  huggingface.write_model(
      tmp_path, pair.config, pair.params, {"bos_token_id": 1}
  )
  assert huggingface.load_config(tmp_path) == pair.config
  first, again = pair.theirs(), pair.theirs(tmp_path)
  tensors, same = first.state_dict(), again.state_dict()
  assert tensors.keys() == same.keys()
  for name, tensor in tensors.items():
    assert torch.equal(tensor, same[name]), name
  # The config says the same, too: so do the logits.
  tokens = torch.tensor(ROWS.tokens[:1])
  with torch.no_grad():
    logits, same = (model(tokens).logits.numpy() for model in (first, again))
  # gelu_new and gelu_pytorch_tanh are one function, written in two ways.
  assert difference(logits, same) < 1e-6
