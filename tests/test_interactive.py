"""InteractiveModel, against the commands and a by-hand mean."""

import json
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
import small_tokenizers

from mlit_jax import interactive, main, records
from mlit_jax.errors import UsageError
from mlit_jax.evals import representation, scoring
from mlit_jax.models import lora
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface, peft

LINES = [
    "What is the capital of France?", "¿Cuál es la capital de Perú?",
    "Какая столица России?", "Mji mkuu wa Kenya ni upi?", "Name a fruit.",
] * 20
LORA = lora.LoraConfig(rank=2)
CONFIG = DecoderConfig(
    100, num_layers=2, embed_dim=16, num_heads=4, num_kv_heads=2, head_dim=6,
    mlp_dim=20, max_length=64,
)
PAIRS = [("What is the", " capital of France?"), ("Name", " a fruit.")]


@pytest.fixture(scope="module")
def directory(tmp_path_factory, random_params):
  place = tmp_path_factory.mktemp("interactive") / "tiny"
  tokenizer = small_tokenizers.sentencepiece_model(LINES, vocab_size=100)
  huggingface.save(
      place, CONFIG, random_params(CONFIG, seed=3), tokenizer, bos_id=1,
      eos_id=2,
  )
  return place


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
  places = {}
  for seed, name in enumerate(("es", "sw")):
    rng = np.random.default_rng(seed)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: lora.init(CONFIG, LORA, 0)))
    tree = jax.tree.map(
        lambda x, rng=rng: rng.standard_normal(x.shape).astype("float32"),
        shapes,
    )
    places[name] = tmp_path_factory.mktemp("adapters") / name
    peft.save_adapter(places[name], CONFIG, LORA, tree)
  return places


@pytest.fixture(scope="module")
def merged(directory, adapters, tmp_path_factory):
  """The model with "sw" in its weights, by another way."""
  place = tmp_path_factory.mktemp("merged") / "sw"
  assert main.main([
      "convert", str(directory), str(place), "--adapter", str(adapters["sw"]),
  ]) == 0
  return place


@pytest.fixture(scope="module")
def model(directory, adapters):
  return interactive.InteractiveModel(directory, adapters, batch_size=4)


def read(path):
  return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.long
def test_answers_are_those_of_the_command(
    model, directory, adapters, tmp_path
):
  rows = [
      {"id": f"{i}", "lang": "und", "prompt": text}
      for i, text in enumerate(LINES[:4])
  ]
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_text("".join(json.dumps(row) + "\n" for row in rows))
  named = [f"--adapter={name}={place}" for name, place in adapters.items()]
  command = [
      "decode", "--model", str(directory), "--input", str(source), "--output",
      str(out), "--max_new_tokens", "8", "--batch_size", "4",
      "--temperature", "0.9", "--seed", "5",
  ]
  assert main.main([*command, *named]) == 0
  theirs = {
      name: [r["response"] for r in read(out) if r["model"] == name]
      for name in adapters
  }
  prompts = [records.Instruction.from_row(row) for row in rows]
  options = {"max_new_tokens": 8, "temperature": 0.9, "seed": 5}
  found = model.compare(prompts, **options)
  assert list(found) == [None, "es", "sw"] == [None, *model.adapters]
  for name in adapters:
    assert [r.response for r in found[name]] == theirs[name]
  assert main.main([*command[:6], str(tmp_path / "base"), *command[7:]]) == 0
  base = [row["response"] for row in read(tmp_path / "base")]
  assert [r.response for r in found[None]] == base != theirs["es"]
  # Texts are rows of no said language, numbered.
  plain = model.generate([row["prompt"] for row in rows], "sw", **options)
  assert plain == found["sw"] and {r.model for r in plain} == {"sw"}


def test_scores_are_those_of_the_merged_model(model, directory, merged):
  for adapter, place in ((None, directory), ("sw", merged)):
    want = scoring.LanguageModel(place, batch_size=4).score(PAIRS)
    found = model.score(PAIRS, adapter)
    for ours, theirs in zip(found, want, strict=True):
      assert ours.logprob == pytest.approx(theirs.logprob, rel=1e-5)
      assert ours.num_tokens == theirs.num_tokens > 1
  base, tuned = model.score(PAIRS), model.score(PAIRS, "sw")
  assert abs(base[0].logprob - tuned[0].logprob) > 0.1
  long, = model.score([(LINES[0] * 9, " yes")])
  assert "shorten the context" in long
  cut, = model.score([(LINES[0] * 9, " yes")], truncate=True)
  assert cut.logprob < 0


def test_the_first_layer_is_the_mean_embedding(model):
  found = model.embed(LINES[:3], layer=0)
  table = np.asarray(model.params["embedding"])
  for row, text in zip(found, LINES, strict=False):
    ids = model.tokenizer.encode(text)
    np.testing.assert_allclose(row, table[ids].mean(0), rtol=1e-5, atol=1e-6)


def test_layers_and_adapters_of_states(model, merged, compiled):
  want = representation.mean_states(
      scoring.LanguageModel(merged, batch_size=4), LINES[:3], 4
  )
  model.embed(LINES[:3])  # compiles
  number = len(compiled)
  np.testing.assert_allclose(
      model.embed(LINES[:3], adapter="sw"), want[-1], rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(
      model.embed(LINES[:3], 1, "sw"), want[1], rtol=1e-4, atol=1e-5
  )
  # What reads the states is compiled once; merging has small programs.
  assert not [name for name in compiled[number:] if "read" in name]


def test_the_layout_holds_every_weight(model):
  rows = {row.path: row for row in model.layout()}
  assert rows["embedding"].shape == (100, 16)
  assert rows["embedding"].dtype == "float32"
  size = sum(x.size for x in jax.tree.leaves(model.params))
  assert sum(row.bytes_per_device for row in rows.values()) == 4 * size


def test_weights_in_bfloat16(directory, model):
  half = interactive.InteractiveModel(directory, dtype="bfloat16")
  assert {row.dtype for row in half.layout()} == {"bfloat16"}
  whole = [row.bytes_per_device for row in model.layout()]
  assert [2 * row.bytes_per_device for row in half.layout()] == whole
  for ours, theirs in zip(half.score(PAIRS), model.score(PAIRS), strict=True):
    assert ours.logprob == pytest.approx(theirs.logprob, rel=0.05)


def test_what_cannot_be_done_is_said(model):
  with pytest.raises(UsageError, match="no adapter 'he'; there are es, sw"):
    model.generate(["x"], "he")
  with pytest.raises(UsageError, match="no adapter 'he'"):
    model.score(PAIRS, "he")
  with pytest.raises(UsageError, match=r"give a list of texts: \['Name"):
    model.generate("Name a fruit.")
  with pytest.raises(UsageError, match="no layer 3: there are 0 to 2"):
    model.embed(["Name"], layer=3)
  with pytest.raises(TypeError, match="temprature"):
    model.generate(["x"], temprature=1)
  long, short = model.generate([LINES[0] * 9, "Name"], max_new_tokens=4)
  assert "exceed the model's length of 64" in long.failure
  assert short.failure == "" and short.num_tokens <= 4


_ON_DEVICES = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", 4)
from mlit_jax import interactive
model = interactive.InteractiveModel(
    sys.argv[1], {"sw": sys.argv[2]}, batch_size=3, mesh_shape=(1, 2, 2))
rows = {r.path: (r.spec, r.bytes_per_device) for r in model.layout()}
print(json.dumps([
    rows["embedding"],
    [r.response for r in model.generate(["Name a fruit."], "sw")],
    [s.logprob for s in model.score([["Name", " a fruit."]], "sw")],
    model.embed(["Name a fruit."], adapter="sw").tolist(),
]))
"""


@pytest.mark.slow
def test_on_a_mesh_it_says_the_same(model, directory, adapters):
  done = subprocess.run(
      [sys.executable, "-c", _ON_DEVICES, str(directory), str(adapters["sw"])],
      capture_output=True, text=True, check=True,
  )
  embedding, answers, scores, states = json.loads(done.stdout)
  assert embedding == [["tensor", "fsdp"], 100 * 16 * 4 // 4]
  text = "Name a fruit."
  assert answers == [r.response for r in model.generate([text], "sw")]
  (want,) = model.score([("Name", " a fruit.")], "sw")
  assert scores == [pytest.approx(want.logprob, rel=1e-4)]
  np.testing.assert_allclose(
      states, model.embed([text], adapter="sw"), rtol=1e-3, atol=1e-4
  )
