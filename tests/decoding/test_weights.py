"""Weights lie on the device once, where decoding has them for itself."""

import dataclasses
import gc

import jax
import numpy as np
import pytest
import small_tokenizers

from mlit_jax import partitioning
from mlit_jax.decoding import reading
from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.engine import Engine
from mlit_jax.decoding.requests import Request
from mlit_jax.decoding.weights import Taken
from mlit_jax.evals import scoring
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.encoder_decoder_config import EncoderDecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.records import Instruction, Message
from mlit_jax.studies import answering

# Nearly all of it is layers.
CONFIG = DecoderConfig(
    vocab_size=40, num_layers=12, embed_dim=64, num_heads=4, num_kv_heads=4,
    head_dim=16, mlp_dim=256, max_length=64,
)
T5 = EncoderDecoderConfig(
    "t5", vocab_size=40, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=24,
    num_encoder_layers=1, num_decoder_layers=2,
)
MESH = partitioning.make_mesh()
REQUESTS = [Request(f"{i}", (3, i), 6, logprobs=i > 2) for i in range(4)]


@pytest.fixture(autouse=True)
def frozen():
  """What other tests have left need not be looked through by `live`."""
  gc.collect()
  gc.freeze()
  yield
  gc.unfreeze()


def live() -> int:
  """Bytes of all arrays that there are; some share theirs."""
  gc.collect()
  found = {}
  for x in jax.live_arrays():
    for shard in x.addressable_shards:
      found[shard.data.unsafe_buffer_pointer()] = shard.data.nbytes
  return sum(found.values())


def size(tree) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(tree))


def most_while_decoding(engine, params) -> int:
  return max(live() for _ in engine.generate(params, REQUESTS))


def make(config):
  return Engine(config, MESH, end_ids=[39], num_slots=4)


def test_weights_that_are_taken_are_there_once(random_params, monkeypatch):
  engine, params = make(CONFIG), random_params(CONFIG, seed=2)
  answers = list(engine.generate(params, REQUESTS))
  before = live()
  params = jax.tree.map(jax.device_put, params)
  whole = size(params)
  largest = max(x.nbytes for x in jax.tree.leaves(params["blocks"]))
  kept = most_while_decoding(engine, params) - before
  assert live() - before == whole  # nothing is left behind

  wait, seen = jax.block_until_ready, []

  def watched(x):
    seen.append(live() - before)
    return wait(x)

  with monkeypatch.context() as patch:
    patch.setattr(jax, "block_until_ready", watched)
    taken = engine.take(params)
  stacks = jax.tree.leaves(params["blocks"])
  assert all(x.is_deleted() for x in stacks)
  assert not params["embedding"].is_deleted()
  del params
  assert live() - before == whole
  assert max(seen) == whole + largest < 1.6 * whole
  alone = most_while_decoding(engine, taken) - before
  assert list(engine.generate(taken, REQUESTS)) == answers
  layers = sum(
      size(taken.tree[f"block_{i}"]) for i in range(CONFIG.num_layers)
  )
  assert layers > 0.95 * whole
  assert kept - alone == layers


@pytest.mark.parametrize("config", [CONFIG, T5], ids=["decoder", "t5"])
def test_what_was_taken_is_given_back_bit_for_bit(config, random_params):
  engine, given = make(config), random_params(config, seed=2)
  before = live()
  taken = engine.take(jax.tree.map(jax.device_put, given))
  layers = taken.tree.get("block_3", {})
  back = engine.give_back(taken)
  assert all(x.is_deleted() for x in jax.tree.leaves(layers))
  jax.tree.map(np.testing.assert_array_equal, back, given)
  init = reading.of(config).module.init_params
  abstract = jax.eval_shape(lambda: init(config, 0))
  shardings = partitioning.param_shardings(abstract, MESH)
  assert jax.tree.map(lambda x: x.sharding, back) == shardings
  del taken, layers
  assert live() - before == size(given)


def test_weights_on_the_host_stay_the_callers(random_params):
  engine, params = make(CONFIG), random_params(CONFIG, seed=2)
  taken = engine.take(params)
  answers = list(engine.generate(params, REQUESTS))
  assert list(engine.generate(taken, REQUESTS)) == answers


@pytest.mark.long
@pytest.mark.parametrize("config", [CONFIG, T5], ids=["decoder", "t5"])
def test_any_model_and_beam_search_take_weights(config, random_params):
  for engine, asked in (
      (make(config), REQUESTS),
      (BeamSearch(config, MESH, end_ids=[39], num_beams=2), REQUESTS[:3]),
  ):
    given = random_params(config, seed=2)
    answers = list(engine.generate(given, asked))
    assert not any(r.failure for r in answers)
    taken = engine.take(jax.tree.map(jax.device_put, given))
    assert list(engine.generate(taken, asked)) == answers


@pytest.mark.long
def test_a_model_that_scores_and_answers_has_its_weights_once(
    tmp_path, random_params
):
  config = dataclasses.replace(CONFIG, vocab_size=100, num_layers=4)
  lines = ["What is the capital of France?", "Mji mkuu wa Kenya ni upi?"] * 20
  given = random_params(config, seed=2)
  huggingface.save(
      tmp_path / "model", config, given,
      small_tokenizers.sentencepiece_model(lines, vocab_size=100), bos_id=1,
      eos_id=2,
  )
  pairs = [("What is the capital of", " France?"), ("Mji", " mkuu")]

  def load(**how):
    return scoring.LanguageModel(tmp_path / "model", batch_size=2, **how)

  def generate(model, end_ids=()):
    asked = [Request("a", tuple(model.prompt(lines[0])), 6)]
    most, (answer,) = live(), list(model.generate(asked, 2, end_ids))
    return answer.tokens, most

  fresh = load()
  want = fresh.score(pairs), generate(load())[0]
  assert want[1]
  del fresh
  before = live()
  model = load()
  whole = live() - before
  for _ in range(2):
    assert model.score(pairs) == want[0]
    assert generate(model)[0] == want[1]
    found, size_now = generate(model, (99,))  # by another engine
    assert found[: len(want[1])] == want[1]
    assert size_now - before < 1.05 * whole
  jax.tree.map(np.testing.assert_array_equal, model.params, given)
  # What it was given is not its own to take.
  params = jax.tree.map(jax.device_put, given)
  other = model.with_params(params)
  assert generate(other)[0] == want[1]
  assert other.params is params
  assert not any(x.is_deleted() for x in jax.tree.leaves(params))


@pytest.mark.long
def test_a_model_that_only_answers_has_its_weights_once(
    tmp_path, random_params
):
  config = dataclasses.replace(CONFIG, vocab_size=100)
  lines = ["What is the capital of France?", "Mji mkuu wa Kenya ni upi?"] * 20
  huggingface.save(
      tmp_path / "model", config, random_params(config, seed=2),
      small_tokenizers.sentencepiece_model(lines, vocab_size=100), bos_id=1,
      eos_id=2,
  )

  def answered(**how):
    """The answer, and how much more lies on the device with the model."""
    before = live()
    answerer = answering.Answerer(tmp_path / "model", "plain", 4, **how)
    prompt = Instruction("a", "en", (Message("user", lines[0]),))
    ((_, answer),) = answerer.answer(
        [answering.Question(prompt, "model")], answering.Options(6)
    )
    whole = live() - before
    taken = isinstance(answerer.params, Taken)
    assert taken != how.get("keep_params", False)
    return answer, whole

  answered()  # leaves constants behind
  once, size_once = answered()
  kept, size_kept = answered(keep_params=True)
  assert once == kept
  # Between two answers it is the same, stacked or not.
  assert size_once == size_kept == size(random_params(config))
