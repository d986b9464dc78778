"""A model of one's own as a back end."""

import asyncio

from mlit_jax import cache
from mlit_jax.translation import backends, translator


def _translated(backend, texts, path):
  jobs = [
      translator.Job(t, "en", "he", translator.key(backend, t, "en", "he"))
      for t in texts
  ]
  settings = translator.Settings(concurrency=1)
  with cache.Cache(path) as store:
    outcome = asyncio.run(
        translator.Translator(backend, store, settings).run(jobs)
    )
    return outcome, [(store.get(j.key) or {}).get("text") for j in jobs]


def test_a_callable_gets_prompts_in_batches(tmp_path):
  batches = []

  def generate(prompts):
    batches.append(list(prompts))
    return [f" {p.upper()} " for p in prompts]

  backend = backends.Local(
      "madlad", generate, "<2{target}> {text}", max_segments=2
  )
  texts = ["one", "{target}", "three"]
  _, found = _translated(backend, texts, tmp_path / "c")
  assert batches == [["<2he> one", "<2he> {target}"], ["<2he> three"]]
  assert found == ["<2HE> ONE", "<2HE> {TARGET}", "<2HE> THREE"]
  other = backends.Local("madlad", generate, "{target_name}: {text}")
  assert _translated(other, texts[:1], tmp_path / "c")[1] == ["HEBREW: ONE"]


def test_an_answer_that_could_not_end_is_a_failure(tmp_path):
  def generate(prompts):
    return ["" if "loop" in p else p for p in prompts]

  backend = backends.Local("m", generate, "{text}")
  outcome, found = _translated(backend, ["fine", "loop"], tmp_path / "c")
  assert found == ["fine", None]
  assert list(outcome.failed.values()) == ["unusable reply"]
