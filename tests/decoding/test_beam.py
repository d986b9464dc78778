"""Beam search against transformers: the same answers, the same scores."""

import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.decoding.beam import BeamSearch
from mlit_jax.decoding.requests import Request
from mlit_jax.models.interchange import huggingface

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

VOCAB, ENDS, NEW = 40, [7, 8, 9, 10], 9


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
  """(their model, our config and parameters)."""
  torch.manual_seed(1)
  if request.param == "llama":
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB, hidden_size=24, intermediate_size=32,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64,
        )
    )
  else:
    theirs = transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCAB, d_model=24, d_kv=6, d_ff=32, num_layers=2,
            num_heads=4, feed_forward_proj="gated-gelu",
            tie_word_embeddings=False, decoder_start_token_id=0,
        )
    )
  with torch.no_grad():
    for weight in theirs.parameters():
      weight.add_(0.3 * torch.randn_like(weight))
  place = tmp_path_factory.mktemp("beam")
  theirs.save_pretrained(place)
  theirs = type(theirs).from_pretrained(place).eval()
  theirs.generation_config.eos_token_id = ENDS
  theirs.generation_config.pad_token_id = 0
  return theirs, *huggingface.load(place)


def generate(theirs, prompt, beams, penalty, new):
  out = theirs.generate(
      torch.tensor([prompt]), num_beams=beams, length_penalty=penalty,
      max_new_tokens=new, do_sample=False, output_scores=True,
      return_dict_in_generate=True,
  )
  start = 1 if theirs.config.is_encoder_decoder else len(prompt)
  tokens = out.sequences[0, start:].tolist()
  return tokens, float(out.sequences_scores[0])


def check(result, tokens):
  """Ours are theirs, but for the end token and padding."""
  count = len(result.tokens)
  assert list(result.tokens) == tokens[:count]
  assert not set(tokens[:count]) & set(ENDS)
  if result.ended:
    assert tokens[count] in ENDS
  assert set(tokens[result.num_tokens :]) <= {0}


@pytest.mark.long
@pytest.mark.parametrize(
    "pair, beams, penalty",
    [("llama", 3, 1.0), ("llama", 4, -0.7), ("t5", 4, -0.7)],
    indirect=["pair"],
)
def test_scores_and_answers_equal_transformers(pair, beams, penalty):
  """Prompts of several lengths together; theirs one at a time."""
  theirs, config, params = pair
  rng = np.random.default_rng(0)
  prompts = [rng.integers(11, VOCAB, n).tolist() for n in (1, 7, 20)]
  search = BeamSearch(
      config, partitioning.make_mesh(), end_ids=ENDS, num_beams=beams,
      length_penalty=penalty, num_slots=3 * beams,
  )
  requests = [
      Request(str(i), tuple(p), NEW - (i == 1), logprobs=i < 2)
      for i, p in enumerate(prompts)
  ]
  found = {r.id: r for r in search.generate(params, requests)}
  reasons = set()
  for request in requests:
    tokens, score = generate(
        theirs, list(request.tokens), beams, penalty, request.max_new_tokens
    )
    result = found[request.id]
    assert result.score == pytest.approx(score, rel=2e-5)
    check(result, tokens)
    if request.logprobs:
      assert len(result.logprobs) == result.num_tokens
      total = score * result.num_tokens**penalty
      assert sum(result.logprobs) == pytest.approx(total, rel=2e-5)
      assert max(result.logprobs) <= 0
    else:
      assert result.logprobs == ()
    reasons.add(result.finish_reason)
  if penalty < 0:
    assert "stop" in reasons


@pytest.mark.parametrize("pair", ["llama"], indirect=True)
def test_one_beam_is_greedy_and_neighbours_do_not_matter(pair):
  theirs, config, params = pair
  rng = np.random.default_rng(1)
  requests = [
      Request(str(i), tuple(rng.integers(11, VOCAB, 5 + i).tolist()), NEW)
      for i in range(4)
  ]
  search = BeamSearch(
      config, partitioning.make_mesh(), end_ids=ENDS, num_beams=1,
      num_slots=3,
  )
  found = {r.id: r for r in search.generate(params, requests)}
  assert {r.id: r for r in search.generate(params, requests[::-1])} == found
  for request in requests:
    tokens = theirs.generate(
        torch.tensor([request.tokens]), max_new_tokens=NEW, do_sample=False
    )[0, 1 if theirs.config.is_encoder_decoder else len(request.tokens) :]
    check(found[request.id], tokens.tolist())


@pytest.mark.parametrize("pair", ["llama"], indirect=True)
def test_what_a_beam_search_cannot_do_fails_alone(pair):
  _, config, params = pair
  search = BeamSearch(
      config, partitioning.make_mesh(), end_ids=ENDS, num_beams=1,
      num_slots=3,
  )
  requests = [
      Request("warm", (9,), NEW, 0.5), Request("stop", (9,), NEW, stop=("a",)),
      Request("empty", (), NEW), Request("he", (9,), NEW, adapter="he"),
  ]
  said = {r.id: r.failure for r in search.generate(params, requests)}
  assert said == {
      "warm": "beam search takes no temperature and no repetition penalty",
      "stop": "beam search takes no stop strings",
      "empty": "the prompt is empty; give at least one token",
      "he": "unknown adapter 'he'; there are: none",
  }
