"""The encoder-decoder against transformers' T5, MT5 and UMT5, in float32.

Sizes are odd on purpose: heads whose widths do not add up to the model's, fewer
decoder than encoder layers, inputs longer than the largest distance with a
bucket of its own. No weight is near zero and no norm scale is 1, so that
nothing left out can hide.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from mlit_jax.models import encoder_decoder
from mlit_jax.models.interchange import huggingface
from mlit_jax.models.interchange.storage import TensorFiles
from mlit_jax.training.loss import cross_entropy

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

VOCAB = 61
SIZES = {
    "vocab_size": VOCAB, "d_model": 24, "d_kv": 5, "d_ff": 37, "num_layers": 3,
    "num_decoder_layers": 2, "num_heads": 6,
    "relative_attention_num_buckets": 12,
    "relative_attention_max_distance": 20, "layer_norm_epsilon": 1e-4,
}
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


class Pair:
  """Their model, saved as they did, and the same one loaded by us."""

  def __init__(self, directory, family, tied=False, proj="gated-gelu"):
    name = {"t5": "T5", "mt5": "MT5", "umt5": "UMT5"}[family]
    make_config = getattr(transformers, f"{name}Config")
    self.kind = getattr(transformers, f"{name}ForConditionalGeneration")
    config = make_config(
        **SIZES, feed_forward_proj=proj, tie_word_embeddings=tied,
        decoder_start_token_id=0, attn_implementation="eager",
    )
    model = self.kind(config)
    if not tied:
      model.lm_head.weight = torch.nn.Parameter(torch.empty(VOCAB, 24))
    torch.manual_seed(1)
    with torch.no_grad():
      for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        if "norm" in name:
          weight.copy_(1 + 0.3 * noise)
        else:
          weight.copy_(noise * weight.shape[-1] ** -0.5)
    config.save_pretrained(directory)
    # transformers 5 writes a tied model whatever it holds: this is what
    # Google's checkpoints look like.
    path = directory / "config.json"
    values = json.loads(path.read_text()) | {"tie_word_embeddings": tied}
    path.write_text(json.dumps(values))
    tensors = {
        k: v.numpy() for k, v in model.state_dict().items()
        if k not in COPIES and not (tied and k == "lm_head.weight")
    }
    safetensors.numpy.save_file(
        tensors, directory / "model.safetensors", metadata={"format": "pt"}
    )
    self.directory, self.tensors = directory, tensors
    self.theirs = self.reload(directory)
    self.config, self.params = huggingface.load(directory)
    assert self.config.tie_embeddings is tied
    self.model = encoder_decoder.EncoderDecoder(self.config)
    self._apply = jax.jit(self.model.apply)

  def reload(self, directory):
    """What transformers makes of a directory."""
    model, report = self.kind.from_pretrained(
        directory, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report[k] for k in ("missing_keys", "unexpected_keys"))
    values = json.loads((directory / "config.json").read_text())
    # The config forces this to be true, and umT5's logits are then scaled by
    # 1/sqrt(d_model), which T5X's umT5 and transformers 4 do not.
    model.config.tie_word_embeddings = values["tie_word_embeddings"]
    return model.eval()

  def ours(self, inputs, tokens, params=None, **options):
    rows = [
        (x, np.broadcast_to(np.arange(x.shape[1]), x.shape))
        for x in (inputs, tokens)
    ]
    given = dict(zip(("inputs", "tokens"), (r[0] for r in rows)))
    given |= dict(zip(("input_positions", "positions"), (r[1] for r in rows)))
    given |= options
    return self._apply(
        {"params": self.params if params is None else params},
        **{k: jnp.asarray(v) for k, v in given.items()},
    )

  def their_logits(self, inputs, tokens, mask=None, model=None):
    with torch.no_grad():
      return (model or self.theirs)(
          input_ids=torch.tensor(inputs),
          decoder_input_ids=torch.tensor(tokens),
          attention_mask=None if mask is None else torch.tensor(mask),
      ).logits.numpy()


FAMILIES = {
    "t5-1.0": dict(family="t5", tied=True, proj="relu"),
    "t5-1.1": dict(family="t5"),
    "mt5": dict(family="mt5"),
    "umt5": dict(family="umt5"),
    "umt5-tied": dict(family="umt5", tied=True),
}


# The first and the fourth differ in every field of the config.
@pytest.fixture(
    scope="module",
    params=[
        name if name in ("t5-1.0", "umt5")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
)
def pair(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp(request.param)
  return Pair(directory, **FAMILIES[request.param])


# Where the families do not differ.
one = pytest.mark.parametrize("pair", ["umt5"], indirect=True)


def difference(ours, theirs):
  """Largest difference, relative to the largest value."""
  return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def rows(shape, seed=0):
  return np.random.default_rng(seed).integers(3, VOCAB, shape)


def test_their_checkpoint_gives_their_logits(pair):
  inputs, tokens = rows((2, 50)), rows((2, 31), seed=1)
  theirs = pair.their_logits(inputs, tokens)
  assert np.abs(theirs).max() > 0.1
  assert difference(pair.ours(inputs, tokens), theirs) < 1e-4
  # The test feels the position buckets.
  far = np.broadcast_to(2 * np.arange(50), inputs.shape)
  assert difference(
      pair.ours(inputs, tokens, input_positions=far), theirs
  ) > 1e-3


@one
def test_padded_rows_give_their_logits(pair):
  """Padding behind the inputs of one row, before those of the other."""
  inputs, tokens = rows((2, 9), seed=2), rows((2, 5), seed=3)
  mask = np.ones_like(inputs)
  mask[0, 6:] = mask[1, :2] = 0
  # They count positions from the row's start, padding or not.
  theirs = pair.their_logits(inputs, tokens, mask)
  assert difference(pair.ours(inputs, tokens), theirs) > 1e-3
  ours = pair.ours(
      inputs, tokens, input_segments=mask, segments=np.ones_like(tokens)
  )
  assert difference(ours, theirs) < 1e-4
  assert difference(pair.ours(inputs, tokens, input_segments=mask), theirs) < (
      1e-4
  )


@one
def test_packed_rows_give_their_logits_of_each_example(pair):
  lengths = ((7, 3), (1, 8), (9, 2))  # of input and output
  examples = [
      (rows((1, s), seed=s), rows((1, t), seed=20 + t)) for s, t in lengths
  ]
  packed = {}
  for i, side in enumerate(("inputs", "tokens")):
    sizes = [pair[i] for pair in lengths]
    row = np.concatenate([example[i] for example in examples], axis=1)
    packed[side] = np.pad(row, ((0, 0), (0, 2)))
    prefix = "input_" if i == 0 else ""
    packed[f"{prefix}segments"] = np.repeat([1, 2, 3, 0], [*sizes, 2])[None]
    packed[f"{prefix}positions"] = np.concatenate(
        [np.arange(n) for n in (*sizes, 2)]
    )[None]
  ours = pair.ours(**packed)
  for i, (inputs, tokens) in enumerate(examples):
    part = packed["segments"][0] == i + 1
    theirs = pair.their_logits(inputs, tokens)
    assert difference(ours[:, part], theirs) < 1e-4, i


@one
def test_long_rows_give_their_logits(pair):
  """Longer than a block of the memory-lean attention."""
  inputs, tokens = rows((1, 700), seed=4), rows((1, 600), seed=5)
  theirs = pair.their_logits(inputs, tokens)
  assert difference(pair.ours(inputs, tokens), theirs) < 1e-4


@pytest.mark.long
def test_gradients_equal_theirs(pair, tmp_path):
  inputs, tokens = rows((2, 33), seed=6), rows((2, 26), seed=7)
  targets, weights = jnp.asarray(tokens[:, 1:]), np.ones((2, 25), np.float32)
  weights[0, :4] = weights[1, 7] = 0

  def loss(params):
    logits = pair.ours(inputs, tokens[:, :-1], params)
    return cross_entropy(logits, targets, jnp.asarray(weights)).mean

  value, ours = jax.jit(jax.value_and_grad(loss))(pair.params)
  pair.theirs.zero_grad()
  labels = np.where(weights > 0, tokens[:, 1:], -100)
  logits = pair.theirs(
      input_ids=torch.tensor(inputs),
      decoder_input_ids=torch.tensor(tokens[:, :-1]),
  ).logits
  theirs = torch.nn.functional.cross_entropy(
      logits.flatten(0, 1), torch.tensor(labels).flatten()
  )
  theirs.backward()
  np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
  # Their gradients have the shapes of their weights: read them as such.
  tensors = {
      name: np.ascontiguousarray(weight.grad.numpy())
      for name, weight in pair.theirs.named_parameters()
  }
  safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
  config = (pair.directory / "config.json").read_text()
  (tmp_path / "config.json").write_text(config)
  _, expected = huggingface.load(tmp_path)
  assert jax.tree.structure(ours) == jax.tree.structure(expected)
  jax.tree_util.tree_map_with_path(_assert_near, ours, expected)


def _assert_near(path, ours, theirs):
  assert np.abs(theirs).max() > 0
  assert difference(ours, theirs) < 1e-4, jax.tree_util.keystr(path)


def test_greedy_answers_equal_generate(pair):
  """With the cache; two inputs of different lengths in one batch."""
  inputs, asked = rows((2, 14), seed=8), 12
  mask = np.ones_like(inputs)
  mask[0, 9:] = 0
  theirs = pair.theirs.generate(
      torch.tensor(inputs), attention_mask=torch.tensor(mask),
      max_new_tokens=asked, do_sample=False, eos_token_id=VOCAB + 1,
      output_logits=True, return_dict_in_generate=True,
  )
  start = jax.jit(pair.model.apply, static_argnames=("method", "length"))
  step = jax.jit(pair.model.apply, static_argnames="method")
  variables = {"params": pair.params}
  positions = jnp.broadcast_to(jnp.arange(14), (2, 14))
  cache = start(
      variables, jnp.asarray(inputs), positions, jnp.asarray(mask),
      length=asked, method="start",
  )
  tokens, answers = jnp.zeros((2, 1), jnp.int32), []
  for i in range(asked):
    at = jnp.full((2, 1), i)
    logits, cache = step(variables, tokens, at, cache, method="step")
    assert difference(logits[:, 0], theirs.logits[i].numpy()) < 1e-4, i
    tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    answers.append(tokens)
  expected = theirs.sequences[:, 1:].numpy()
  np.testing.assert_array_equal(np.concatenate(answers, 1), expected)
  assert len(set(expected.flatten())) > 1


def test_our_checkpoint_gives_their_tensors_back(pair, tmp_path):
  (tmp_path / "ours").mkdir()
  huggingface.write_model(tmp_path / "ours", pair.config, pair.params, {})
  written = TensorFiles(tmp_path / "ours")
  assert sorted(written.names()) == sorted(pair.tensors)
  for name, tensor in pair.tensors.items():
    np.testing.assert_array_equal(written.read(name), tensor, err_msg=name)
  model = pair.reload(tmp_path / "ours")
  for name, tensor in model.state_dict().items():
    if name not in COPIES:
      np.testing.assert_array_equal(
          tensor.numpy(), pair.theirs.state_dict()[name].numpy(), err_msg=name
      )
  assert model.config.decoder_start_token_id == 0
  inputs, tokens = rows((2, 9)), rows((2, 5))
  assert difference(
      pair.ours(inputs, tokens), pair.their_logits(inputs, tokens, model=model)
  ) < 1e-4
  assert huggingface.load_config(tmp_path / "ours") == pair.config


def test_what_transformers_5_saves_loads(pair, tmp_path):
  """It calls every T5 tied and writes a head only where it differs."""
  pair.theirs.config.tie_word_embeddings = True
  pair.theirs.save_pretrained(tmp_path)
  config, params = huggingface.load(tmp_path)
  pair.theirs.config.tie_word_embeddings = pair.config.scale_logits
  scaled = pair.config.scale_logits or pair.config.family == "umt5"
  assert config.scale_logits is scaled
  assert config.tie_embeddings is pair.config.tie_embeddings
  jax.tree.map(np.testing.assert_array_equal, params, pair.params)
