"""Studies judged by any judge: cost, cap, resuming, gates, end to end."""

import importlib
import itertools
import json
import pathlib
import subprocess
import sys
import urllib.request

import pytest

from mlit_jax import main, records
from mlit_jax.commands import study as study_command
from mlit_jax.errors import UsageError
from mlit_jax.judging import identification, judges
from mlit_jax.studies import (
    asking,
    comparisons,
    polyglot_results,
    runner,
    xllama_results,
)
from mlit_jax.studies.study import Place

JUDGE_SERVER = pathlib.Path(__file__).parents[1] / "judging/judge_server.py"
KEY = "sk-very-secret-0123456789"
LANGS = ("en", "he")


@pytest.fixture(scope="module")
def url():
  process = subprocess.Popen(
      [sys.executable, str(JUDGE_SERVER)], stdout=subprocess.PIPE, text=True
  )
  try:
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def server(url, monkeypatch):
  """Says how the server behaves, and what it was asked."""
  monkeypatch.setenv("OPENAI_API_KEY", KEY)

  def call(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{url}{path}", data) as response:
      return json.load(response)

  class Server:
    judge = f"openai:m@{url}/v1"

    def control(self, **options):
      call("/control", options)

    def requests(self):
      return call("/stats")["requests"]

  Server().control()
  return Server()


def _load(name="alpaca", *options):
  return study_command.load(f"{name}:pocket", list(options))[2]


def _alpaca(judge, *options):
  return _load(
      "alpaca", "--study.languages=en,he", "--study.test_languages=en,he",
      "--study.unseen_languages=fi", f"--study.judge={judge}", *options,
  )


@pytest.fixture
def step(tmp_path):
  """Makes the step that rates one system, its answers being there already."""

  def step(config, lang="en"):
    step = comparisons.score_step(config, "base", "rating", (lang,))
    place = Place(tmp_path / "steps" / step.name, tmp_path / "steps")
    place.directory.mkdir(parents=True, exist_ok=True)
    asked = asking.material.prompts("pocket", (lang,), {})
    records.write_records(
        place.of("decode-base") / "responses.jsonl",
        [
            records.Response(p.id, lang, "base", p.response, "stop", 1)
            for p in asked
        ],
    )
    return step, place, len(asked)

  return step


def _judgments(place):
  path = place.directory / comparisons.JUDGMENTS
  return records.read_records(path, records.Judgment)


def test_a_step_is_judged_and_never_paid_for_twice(step, server):
  config = _alpaca(server.judge)
  done, place, number = step(config)
  assert done.alone and done.params["asks"]["requests"] == number
  server.control(faults={"500": 0.1})
  done.work(place, lambda text: None)
  rows = _judgments(place)
  assert len(rows) == number and not any(j.failure for j in rows)
  assert {j.judge for j in rows} == {server.judge}
  assert {j.gate["a"] for j in rows} == {"en"}  # by the pocket world's words
  asked = server.requests()
  (place.directory / comparisons.JUDGMENTS).unlink()
  done.work(place, lambda text: None)
  assert _judgments(place) == rows and server.requests() == asked
  for path in place.workdir.rglob("*"):
    assert path.is_dir() or KEY not in path.read_text()


def test_the_cap_holds_over_steps(step, server):
  options = ("--study.judging.price=1000,1000", "--study.judging.max_tokens=20")
  config = _alpaca(server.judge, *options, "--study.judging.concurrency=1")
  first, place, number = step(config)
  first.work(place, lambda text: None)
  # A reply costs 0.11 here; nothing more than what was spent may be spent.
  config.judging.max_cost = 0.11 * number + 0.1
  second, place, _ = step(config, lang="he")
  asked = server.requests()
  with pytest.raises(judges.JudgeError, match="might pass the cap"):
    second.work(place, lambda text: None)
  assert server.requests() == asked


def test_questions_without_a_reply_leave_the_step_open(step, server):
  config = _alpaca(server.judge)
  open_, place, number = step(config)
  server.control(always=["400"])
  with pytest.raises(judges.JudgeError, match=f"1 of {number} questions had"):
    open_.work(place, lambda text: None)
  assert not (place.directory / comparisons.JUDGMENTS).exists()
  server.control(always=["400"])
  config.judging.tolerated_failures = 0.5
  open_, place, _ = step(config)
  open_.work(place, lambda text: None)
  assert [j.failure for j in _judgments(place)].count("transport") == 1
  assert server.requests() == 1


def test_the_cost_is_said_before(server):
  config = _alpaca(server.judge, "--study.judging.price=1,2")
  graph = importlib.import_module("mlit_jax.studies.alpaca").graph(
      config, "pocket", pathlib.Path("nowhere")
  )
  asks = [step.params["asks"] for step in graph if "asks" in step.params]
  judged = [step for step in graph if step.name.startswith("judge-")]
  assert len(asks) == len(judged) > 5
  said = asking.forecast(config, asks)
  requests = sum(ask["requests"] for ask in asks)
  cost = sum(ask["input"] + 2 * ask["output"] for ask in asks) / 1e6
  assert f"at most {requests} requests" in said and f"{cost:.2f}" in said
  assert "it stops" not in said
  config.judging.max_cost = 3.5
  assert asking.forecast(config, asks).endswith("it stops at 3.5")
  config.judging.update({"price": "", "max_cost": 0.0})
  assert "no price was given" in asking.forecast(config, asks)
  assert asking.forecast(config, []) == ""


@pytest.mark.parametrize("options, told", [
    (("judge=openai:m",), "needs an API key"),
    (("judge=gemini:m",), "needs an API key"),
    (("judge=local:nothing",), "not a model directory"),
    (("judge=human:nothing.jsonl",), "cannot be read"),
    (("judge=replay:nothing.jsonl",), "cannot be read"),
    (("judge=reference:x",), "unknown judge"),
    (("judging.gate=some",), "give auto, pocket"),
    (("judging.gate=pocket:x",), "give auto, pocket"),
    (("judging.gate=identify:no.bin",), "no such language identification"),
    (("judging.prompt_language=xx",), "no judge prompts in 'xx'"),
    (("judging.max_cost=3",), "needs judging.price"),
    (("judging.price=3",), "judging.price '3' is not two numbers"),
    (("judging.tolerated_failures=1",), "must lie in [0, 1)"),
    (("judging.batch=True",), "is for openai judges"),
])
def test_wrong_use_is_told_before_anything_is_trained(
    monkeypatch, capsys, tmp_path, options, told
):
  for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
    monkeypatch.delenv(name, raising=False)
  argv = ["study", "pinch:pocket", "--workdir", str(tmp_path / "run")]
  assert main.main([*argv, *(f"--study.{o}" for o in options)]) == 2
  said = capsys.readouterr().err
  assert told in said and said.count("\n") == 1
  assert not (tmp_path / "run").exists()


def test_a_study_without_a_judge_says_so():
  with pytest.raises(UsageError, match="asks no judge"):
    _load("lucky52", "--study.judge=openai:m@http://localhost:1/v1")


def test_texts_that_are_not_the_pocket_worlds_are_told_by_identification():
  config = _load("pinch")
  assert asking.gate(config, LANGS) is asking.pocket_gate(LANGS)
  config.evaluation = "held"
  found = asking.gate(config, LANGS)
  assert isinstance(found, identification.FastTextGate)
  text = "The quick brown fox jumps over the lazy dog near the river."
  assert found.identify(text, LANGS).lang == "en"
  config.judging.gate = "identify"
  config.evaluation = "pocket"
  assert asking.gate(config, LANGS) is found


def test_results_hold_no_path(tmp_path):
  config = _load("pinch")
  config.judge = f"local:{tmp_path}/some-model"
  about = asking.about(config)
  assert about["spec"] == "local:some-model" and about["is_language_model"]
  config.judge = "reference"
  assert not asking.about(config)["is_language_model"]
  assert "not a language model" in asking.about(config)["note"]


def test_ratios_of_no_verdict_are_none():
  gains = xllama_results.gain({"ar": 5.0, "he": None}, {"ar": 2.0, "he": 1.0})
  assert gains == {"languages": {"ar": 3.0, "he": None}, "mean": None}
  six, five, three = (([x], ["q"]) for x in (6.0, 5.0, 3.0))
  assert polyglot_results.gain(six, [five, three])["value"] == 50
  nothing = {"value": None, "ci": [None, None], "n": 0}
  assert polyglot_results.gain(six, [five, ([], [])]) == nothing
  assert polyglot_results.gain(([], []), [five]) == nothing


@pytest.fixture(scope="module")
def always_a(tmp_path_factory):
  """A model directory that says [[A]] to everything."""
  import flax.linen as nn
  import jax
  import numpy as np

  from mlit_jax.data import tokenizers
  from mlit_jax.models import decoder
  from mlit_jax.models.config import DecoderConfig
  from mlit_jax.models.interchange import huggingface

  words = "an answer to a question is better or not [ A ]"
  tokenizer = tokenizers.train_sentencepiece([words] * 9, 320)
  config = DecoderConfig(
      vocab_size=tokenizer.vocab_size, num_layers=1, embed_dim=8, num_heads=2,
      num_kv_heads=1, head_dim=4, mlp_dim=8, max_length=8192,
  )
  shapes = nn.meta.unbox(jax.eval_shape(lambda: decoder.init_params(config, 0)))
  params = jax.tree_util.tree_map_with_path(
      lambda path, x: np.full(
          x.shape, "scale" in jax.tree_util.keystr(path), np.float32
      ),
      shapes,
  )
  # Nothing but which token follows which: anything [ [ A ] ] end. A bracket
  # stands in the vocabulary twice, as a byte and as a letter.
  pieces = [tokenizer.decode([5, i])[1:] for i in range(tokenizer.vocab_size)]
  opening, closing = (
      [i for i, piece in enumerate(pieces) if piece == x] for x in "[]"
  )
  chain = [*opening, pieces.index("A"), *closing, tokenizer.eos_id]
  assert tokenizer.decode(chain[:-1]) == "[[A]]"
  params["embedding"][:, 0] = 1
  pairs = itertools.pairwise(chain)
  for kind, (token, following) in enumerate(pairs, start=1):
    params["embedding"][token] = np.eye(8)[kind]
    params["head"][following] = np.eye(8)[kind]
  params["head"][chain[0]] = np.eye(8)[0]
  directory = tmp_path_factory.mktemp("models") / "always-a"
  huggingface.save(
      directory, config, params, tokenizer.model, bos_id=tokenizer.bos_id,
      eos_id=tokenizer.eos_id,
  )
  return directory


TINY = (
    "--study.vocab_size=800", "--study.shape.embed_dim=32",
    "--study.shape.num_heads=2", "--study.shape.num_kv_heads=2",
    "--study.shape.head_dim=16", "--study.shape.mlp_dim=32",
    "--study.pretrain.documents=100", "--study.pretrain.epochs=1",
    "--study.tune.epochs=1", "--study.max_new_tokens=8",
    "--study.num_examples=20", "--study.languages=en,he",
    "--study.experiments=percent", "--study.percents=50",
    "--study.controls=False",
)


@pytest.mark.slow
def test_a_model_judges_a_study_from_data_to_page(always_a, tmp_path):
  """The judge always takes the first answer: nothing but ties and flips."""
  argv = ["study", "pinch:pocket", "--workdir", str(tmp_path), "--jobs", "1",
          *TINY]
  assert main.main(argv) == 0
  trained = (tmp_path / "steps/model-p50/done.json").stat().st_mtime_ns
  argv += [f"--study.judge=local:{always_a}", "--study.judging.max_tokens=8",
           "--study.judging.batch_size=64", "--update"]
  assert main.main(argv) == 0
  # Another judge trains nothing anew.
  done = tmp_path / "steps/model-p50/done.json"
  assert done.stat().st_mtime_ns == trained
  text = (tmp_path / "results.json").read_text()
  results = json.loads(text)
  assert results["judge"]["spec"] == "local:always-a"
  assert str(always_a) not in text
  cell = results["heat_map"]["mono-en"]["he"]
  assert cell["score"] == 50 and cell["tie"] == cell["n"] > 10
  assert cell["flip_rate"] == cell["first_position_rate"] == 1
  page = (tmp_path / "report.html").read_text()
  assert "local:always-a" in page and "not a language model" not in page
  assert runner.status(
      importlib.import_module("mlit_jax.studies.pinch").graph(
          _load("pinch", *argv[6:-1]), "pocket", tmp_path
      ), tmp_path,
  )["report"]
  # One that never comes to a verdict: no score anywhere, and a page all the
  # same.
  argv = [a for a in argv if "max_tokens" not in a]
  assert main.main([*argv, "--study.judging.max_tokens=2"]) == 0
  results = json.loads((tmp_path / "results.json").read_text())
  cell = results["heat_map"]["mono-en"]["he"]
  assert cell["score"] is None and cell["parse_failure_rate"] == 1
  assert results["curve"][1]["average"]["score"] is None
  assert results["learning"]["above_base"] == []
