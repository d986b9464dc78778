"""The next token: greedy, or a sample of the right distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from mlit_jax.decoding import sampling

LOGITS = np.asarray([1.0, 0.0, -1.0, 2.0, 0.5], "float32")
ROWS = 4000
next_token = jax.jit(sampling.next_token)


def choice(rows, **given):
  """Of so many rows, what is not given being the default."""
  fields = {
      "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
      "repetition_penalty": 1.0, "seeds": 0,
  } | given
  whole = ("top_k", "seeds")
  return sampling.Choice(**{
      name: jnp.broadcast_to(
          jnp.asarray(value, jnp.int32 if name in whole else jnp.float32),
          (rows,),
      )
      for name, value in fields.items()
  })


def sample(temperature, seeds, position=3, logits=LOGITS, **given):
  """One token per seed."""
  rows = len(seeds)
  return np.asarray(
      next_token(
          jnp.broadcast_to(jnp.asarray(logits), (rows, len(logits))),
          choice(
              rows, temperature=temperature, seeds=np.asarray(seeds), **given
          ),
          jnp.zeros((rows, len(logits)), bool),
          jnp.broadcast_to(jnp.asarray(position, jnp.int32), (rows,)),
      )
  )


def p_value(tokens, temperature):
  weights = np.exp(LOGITS.astype(float) / temperature)
  expected = weights / weights.sum() * len(tokens)
  observed = np.bincount(tokens, minlength=len(LOGITS))
  return scipy.stats.chisquare(observed, expected).pvalue


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_distribution(temperature):
  tokens = sample(temperature, np.arange(ROWS))
  assert p_value(tokens, temperature) > 0.01
  # The test has the power to tell a temperature near by.
  assert p_value(tokens, temperature * 1.25) < 1e-4


def test_positions_of_one_seed_are_independent():
  """The same request at 4,000 places: as good as 4,000 requests."""
  tokens = sample(1.0, np.full(ROWS, 7), position=np.arange(ROWS))
  assert p_value(tokens, 1.0) > 0.01
  counts = np.zeros((5, 5))
  np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
  assert scipy.stats.chi2_contingency(counts).pvalue > 0.01


def test_a_temperature_of_zero_is_greedy():
  assert (sample(0.0, np.arange(ROWS)) == 3).all()
  # Of equals the first, whatever the seed.
  assert (sample(0.0, np.arange(ROWS), logits=np.zeros(5)) == 0).all()


def test_a_row_depends_on_itself_alone():
  rng = np.random.default_rng(0)
  rows = (
      jnp.asarray(rng.standard_normal((6, 9)), jnp.float32),
      choice(
          6, temperature=[0.0, 1.0, 1.0, 0.7, 0.0, 2.0],
          top_k=[0, 3, 0, 0, 2, 4], top_p=[1, 1, 0.8, 1, 0.5, 0.9],
          min_p=[0, 0.1, 0, 0, 0, 0.2],
          repetition_penalty=[1, 1, 1.5, 1, 2, 1],
          seeds=[5, 5, 6, 2**31 - 1, 0, 5],
      ),
      jnp.asarray(rng.random((6, 9)) < 0.5),
      jnp.asarray([1, 1, 1, 40, 7, 1]),
  )
  together = next_token(*rows)
  order = np.asarray([4, 2, 0, 5, 1, 3])
  turned = next_token(*jax.tree.map(lambda x: x[order], rows))
  np.testing.assert_array_equal(turned, together[order])
  for i in range(6):
    alone = next_token(*jax.tree.map(lambda x, i=i: x[i : i + 1], rows))
    assert alone[0] == together[i]


def test_a_seed_repeats_and_another_differs():
  one, same, other = (
      sample(1.0, seeds) for seeds in (range(50), range(50), range(50, 100))
  )
  np.testing.assert_array_equal(one, same)
  assert (one != other).any()


@pytest.mark.torch
@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.2}, {"top_k": 1},
        {"top_k": 50}, {"top_p": 0.01}, {"min_p": 1.0},
        {"top_k": 9, "top_p": 0.8, "min_p": 0.1, "temperature": 0.7},
        {"top_k": 7, "temperature": 2.5, "repetition_penalty": 1.7},
    ],
)
def test_what_may_be_drawn_equals_transformers(given):
  torch = pytest.importorskip("torch")
  process = pytest.importorskip("transformers").generation.logits_process
  logits = np.random.default_rng(0).standard_normal((8, 12)).astype("float32")
  logits[2, 5:8] += 4
  text = torch.tensor([[1, 4, 4, 7]] * 8)
  theirs = torch.tensor(3 * logits)
  for name, warper in (
      ("repetition_penalty", process.RepetitionPenaltyLogitsProcessor),
      ("temperature", process.TemperatureLogitsWarper),
      ("top_k", process.TopKLogitsWarper), ("top_p", process.TopPLogitsWarper),
      ("min_p", process.MinPLogitsWarper),
  ):
    if name in given:
      theirs = warper(given[name])(text, theirs)
  how = choice(8, **given)
  seen = jnp.zeros((8, 12), bool).at[:, jnp.asarray([1, 4, 7])].set(True)
  ours = sampling.penalized(
      jnp.asarray(3 * logits), seen, how.repetition_penalty
  )
  ours = sampling.allowed(ours, how)
  np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
  assert np.isneginf(theirs.numpy()).any() or given["top_k"] > 12


def test_only_what_may_be_drawn_is_drawn_in_its_shares():
  tokens = sample(1.0, np.arange(ROWS), top_k=3)
  weights = np.exp(LOGITS[[0, 3, 4]].astype(float))
  counts = np.bincount(tokens, minlength=5)
  assert counts[[1, 2]].tolist() == [0, 0]
  expected = weights / weights.sum() * ROWS
  assert scipy.stats.chisquare(counts[[0, 3, 4]], expected).pvalue > 0.01


def test_logprobs_by_hand():
  found = sampling.logprobs(
      jnp.log(jnp.asarray([[1.0, 2, 5], [4, 4, 2]])), jnp.asarray([2, 0])
  )
  np.testing.assert_allclose(found, np.log([5 / 8, 0.4]), rtol=1e-6)


def test_the_likeliest_is_the_first_of_the_highest():
  rng = np.random.default_rng(0)
  for size in (5, 128, 300):
    logits = rng.integers(0, 9, (40, size)).astype("float32")
    found = jax.jit(sampling.likeliest)(jnp.asarray(logits))
    np.testing.assert_array_equal(found, logits.argmax(-1))


def test_a_nan_is_the_likeliest():
  """So that it is seen: XLA's maximum on a CPU passes over some."""
  rng = np.random.default_rng(3)
  logits = rng.standard_normal((128, 128 * 3)).astype("float32")
  places = rng.integers(0, logits.shape[1], len(logits))
  places[0] = np.argmax(logits[0])
  logits[np.arange(1, len(logits)), places[1:]] = np.nan
  found = jax.jit(sampling.likeliest)(jnp.asarray(logits))
  np.testing.assert_array_equal(found, places)
