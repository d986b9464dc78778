"""Prompts that are long beside what the model reads, and beside what it writes.

Against lm-evaluation-harness's Hugging Face back end, from the harness and from
`mlit eval`.
"""

import json

import pytest

from mlit_jax import main
from mlit_jax.data import checkpoint_template
from mlit_jax.errors import UsageError
from mlit_jax.evals import answering, scoring
from mlit_jax.evals.items import Question

pytest.importorskip("lm_eval")
instance = pytest.importorskip("lm_eval.api.instance")
pytestmark = pytest.mark.torch

import random_models  # noqa: E402

LINES = random_models.LINES


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """A LLaMA that reads 64 tokens."""
  return random_models.write("llama", tmp_path_factory.mktemp("m") / "model")


def _asked(*texts, new):
  options = {"until": ["zz"], "max_gen_toks": new, "do_sample": False}
  return [
      instance.Instance("generate_until", {}, (text, options), i)
      for i, text in enumerate(texts)
  ]


def test_an_answer_leaves_room_for_its_prompt(directory):
  from mlit_jax.evals import harness

  ours = harness.MlitLM(str(directory), batch_size=4)
  theirs = random_models.harness(directory, 64)
  for new in (64, 200):
    with pytest.raises(UsageError, match=f"max_gen_toks={new} leaves no room"):
      ours.generate_until(_asked(LINES[0], new=new))
    with pytest.raises(AssertionError):
      theirs.generate_until(_asked(LINES[0], new=new), disable_tqdm=True)


class Watched:
  """A model whose requests are kept."""

  def __init__(self, model):
    self._model, self.requests = model, []

  def __getattr__(self, name):
    return getattr(self._model, name)

  def generate(self, requests, batch_size, end_ids=()):
    self.requests = list(requests)
    return self._model.generate(requests, batch_size, end_ids)


@pytest.mark.long
def test_cut_prompts_are_cut_as_theirs_and_counted(
    directory, capsys, monkeypatch
):
  from mlit_jax.evals import harness

  ours = harness.MlitLM(str(directory), batch_size=4)
  ours._model = model = Watched(ours._model)
  theirs = random_models.harness(directory, 64)
  read, generate = [], theirs.model.generate

  def watched(input_ids, **rest):
    read.append(input_ids[0].tolist())
    return generate(input_ids=input_ids, **rest)

  monkeypatch.setattr(theirs.model, "generate", watched)
  texts = [LINES[0] * 6, LINES[2], LINES[5] * 9]
  for text in texts:
    theirs.generate_until(_asked(text, new=12), disable_tqdm=True)
  ours.generate_until(_asked(*texts, new=12))
  assert [list(r.tokens) for r in model.requests] == read
  assert [len(ids) for ids in read] == [52, 9, 52]
  assert "mlit: 2 of 3 contexts are longer" in capsys.readouterr().err
  pairs = [(LINES[0] * 7, " yes"), (LINES[2], " no")]
  asked = [
      instance.Instance("loglikelihood", {}, p, i) for i, p in enumerate(pairs)
  ]
  assert [greedy for _, greedy in ours.loglikelihood(asked)] == [False] * 2
  assert "mlit: 1 of 2 contexts are longer" in capsys.readouterr().err


@pytest.mark.long
def test_what_stands_around_a_cut_prompt_stays(directory, tmp_path):
  model = Watched(scoring.LanguageModel(directory, batch_size=4))
  tokenizer = model.tokenizer
  long, short = LINES[0] * 6, "So."
  questions = [
      Question(f"{i}", text, ("",), "c", cue=" Answer:")
      for i, text in enumerate((long, short))
  ]
  how = {"max_new_tokens": 8, "stop": "\n", "batch_size": 4}
  found = answering.answer(model, questions, None, **how)
  assert [a.is_cut for a in found] == [True, False]
  ids = model.requests[0].tokens
  begin = tokenizer.begin_ids
  assert len(begin) == 1 and ids[:1] == begin and len(ids) == 64 - 8
  whole = tokenizer.encode(long + " Answer:")
  assert list(ids[1:]) == whole[-(64 - 8 - 1) :]

  path = tmp_path / "t.toml"
  path.write_text(
      'before = {user = "Q: ", assistant = "A:"}\nafter = {user = "\\n"}\n'
  )
  form = checkpoint_template.find(str(path), directory)
  found = answering.answer(model, questions, form, **how)
  assert [a.is_cut for a in found] == [True, False]
  ids = model.requests[0].tokens
  assert 64 - 8 - 3 <= len(ids) <= 64 - 8
  text = tokenizer.decode(ids)
  assert text.startswith("Q: ") and text.endswith(long[-20:] + "\nA:")


@pytest.mark.long
def test_a_template_that_is_too_long_fails_its_items(directory, tmp_path):
  model = scoring.LanguageModel(directory, batch_size=4)
  path = tmp_path / "t.toml"
  path.write_text(f'before = {{user = "{"Say it. " * 40}"}}\n')
  form = checkpoint_template.find(str(path), directory)
  (answer,) = answering.answer(
      model, [Question("a", LINES[0], ("",), "c")], form,
      max_new_tokens=8, stop="", batch_size=4,
  )
  assert "take a shorter template" in answer.failure
  assert answer.text == ""


@pytest.mark.long
def test_shortened_answers_are_told(directory, tmp_path, capsys):
  (tmp_path / "mgsm_sw.tsv").write_text("Moja na mbili?\t3\n")
  command = [
      "eval", "mgsm", "--model", str(directory), "--data", str(tmp_path),
      "--output", str(tmp_path / "out"),
  ]
  assert main.main(command) == 0
  said = capsys.readouterr().out
  # Half of 64, of the 400 that MGSM has.
  assert "answers of at most 32 tokens" in said
  results = json.loads((tmp_path / "out" / "results.json").read_text())
  assert results["mgsm"]["sw"]["max_new_tokens"] == 32
