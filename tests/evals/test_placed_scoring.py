"""mlit score, mlit eval and the harness on eight devices and in bfloat16."""

import json
import os
import subprocess
import sys

import pytest
import scoring_on_eight_devices

from mlit_jax import main
from mlit_jax.evals import outcomes, scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import small_tokenizers  # noqa: E402

LINES = small_tokenizers.DOORS
PAIR = LINES[0][:15], LINES[0][15:]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  """A random decoder and a random encoder-decoder that four ways divide."""
  folder = tmp_path_factory.mktemp("models")
  places = folder / "llama", folder / "t5"
  torch.manual_seed(0)
  for place in places:
    small_tokenizers.write("llama", place, LINES)
    size = len(transformers.AutoTokenizer.from_pretrained(place))
    size += -size % 4
    if place.name == "llama":
      config = transformers.LlamaConfig(
          vocab_size=size, hidden_size=32, intermediate_size=48,
          num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
          max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
      )
      model = transformers.AutoModelForCausalLM.from_config(config)
    else:
      config = transformers.T5Config(
          vocab_size=size, d_model=32, d_kv=8, d_ff=48, num_layers=1,
          num_heads=4, feed_forward_proj="gated-gelu", eos_token_id=2,
          tie_word_embeddings=False, pad_token_id=0, decoder_start_token_id=0,
      )
      model = transformers.T5ForConditionalGeneration(config)
    with torch.no_grad():
      for weight in model.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    model.save_pretrained(place)
  return tuple(map(str, places))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Pairs, and benchmarks: options, questions, parallel sentences."""
  place = tmp_path_factory.mktemp("data")
  texts = LINES[:3]
  pairs = [
      {"id": f"{i} {j}", "context": text[: len(text) // 2],
       "continuation": end}
      for i, text in enumerate(texts)
      for j, end in enumerate((text[len(text) // 2 :], " mtu", "流"))
  ]
  _write(place / "pairs.jsonl", map(json.dumps, pairs))
  _write(place / "test.et.jsonl", (
      json.dumps({
          "premise": LINES[1][: 20 + i] + ".", "choice1": LINES[1][-9 - i :],
          "choice2": LINES[i][:12], "question": "cause", "label": i % 2,
      })
      for i in range(3)
  ))
  _write(place / "mgsm_sw.tsv", ["Moja na mbili?\t3"])
  for code, line in (("eng_Latn", LINES[0]), ("est_Latn", LINES[1])):
    _write(place / f"flores/devtest/{code}.devtest", [line, line[:20], "a b"])
  return place


def _write(path, lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(line + "\n" for line in lines))


def _score(model, data, out, *rest):
  return [
      "score", "--model", model, "--input", str(data / "pairs.jsonl"),
      "--output", str(out), "--batch_size", "3", *rest,
  ]


def _eval(model, data, out, *rest):
  return [
      "eval", "xcopa,mgsm:direct,representation", "--model", model, "--data",
      str(data), "--output", str(out), "--batch_size", "3", *rest,
  ]


def _scores(path):
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  return [(r["id"], r["num_tokens"], r["is_greedy"]) for r in rows], [
      r["logprob"] for r in rows
  ]


@pytest.fixture(scope="module")
def eight(models, data, tmp_path_factory):
  """A folder with what was found on eight devices."""
  folder = tmp_path_factory.mktemp("eight")
  llama, t5 = models
  cut = "--mesh", "2,2,2"
  commands = [
      _score(llama, data, folder / "llama_rows"),
      _score(llama, data, folder / "llama_cut", *cut),
      _score(t5, data, folder / "t5_cut", *cut),
      _eval(llama, data, folder / "eval", *cut),
      ["harness", str(folder / "harness"), llama, *PAIR, "1", "2"],
  ]
  (folder / "commands.json").write_text(json.dumps(commands))
  flags = "--xla_force_host_platform_device_count=8"
  flags += " --xla_backend_optimization_level=0"
  flags += " --xla_llvm_disable_expensive_passes=true"
  done = subprocess.run(
      [
          sys.executable, scoring_on_eight_devices.__file__,
          folder / "commands.json",
      ],
      env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
      capture_output=True, text=True, timeout=400,
  )
  assert done.returncode == 0, done.stderr
  return folder


@pytest.mark.parametrize(
    "name, which", [("llama_rows", 0), ("llama_cut", 0), ("t5_cut", 1)]
)
def test_scores_on_eight_devices_are_those_of_one(
    name, which, eight, models, data, tmp_path
):
  assert main.main(_score(models[which], data, tmp_path / "out")) == 0
  found, sums = _scores(eight / name)
  want, others = _scores(tmp_path / "out")
  assert found == want
  assert sums == pytest.approx(others, abs=1e-4)


def test_benchmarks_on_eight_devices_are_those_of_one(
    eight, models, data, tmp_path
):
  assert main.main(_eval(models[0], data, tmp_path / "out")) == 0
  for name, lang, key in (
      ("xcopa", "et", "logprobs"), ("xcopa:corrected", "et", "logprobs"),
      ("mgsm:direct", "sw", "answer"),
  ):
    rows, others = (
        outcomes.read_rows(place, name, lang)
        for place in (eight / "eval", tmp_path / "out")
    )
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
      if key == "answer":
        assert row[key] == other[key]
      else:
        assert row[key] == pytest.approx(other[key], abs=1e-4)
  found, other = (
      outcomes.read_results(place)["representation"]["et"]["layers"]
      for place in (eight / "eval", tmp_path / "out")
  )
  assert found == other


def test_the_harness_cuts_the_model_too(eight, models):
  pytest.importorskip("lm_eval")
  logprob, greedy, shards = json.loads((eight / "harness").read_text())
  (alone,) = scoring.LanguageModel(models[0], batch_size=3).score([PAIR])
  assert logprob == pytest.approx(alone.logprob, abs=1e-4)
  assert greedy == alone.is_greedy
  assert shards == 2  # over tensor


def test_in_bfloat16_scores_are_near(models, data, tmp_path):
  for model in models:
    half = scoring.LanguageModel(model, batch_size=3, dtype="bfloat16")
    assert {str(x.dtype) for x in _leaves(half.params)} == {"bfloat16"}
    for name, dtype in (("one", "float32"), ("half", "bfloat16")):
      command = _score(model, data, tmp_path / name, "--dtype", dtype)
      assert main.main(command) == 0
    found, sums = _scores(tmp_path / "half")
    want, others = _scores(tmp_path / "one")
    assert [row[:2] for row in found] == [row[:2] for row in want]
    assert sums == pytest.approx(others, rel=0.02)
    assert sums != pytest.approx(others, rel=1e-5)


def _leaves(params):
  import jax

  return jax.tree.leaves(params)


def test_a_folder_holds_results_of_one_type(models, data, tmp_path, capsys):
  command = _eval(models[0], data, tmp_path / "out")
  assert main.main([*command, "--dtype", "bfloat16"]) == 0
  found = outcomes.read_results(tmp_path / "out")
  assert {"xcopa", "mgsm:direct", "representation"} < found.keys()
  capsys.readouterr()
  assert main.main(command) == 2
  line = capsys.readouterr().err
  assert "--shots or --dtype" in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "mesh, code, told",
    [
        ("2,2", 2, "'2,2': write it as --mesh DATA,FSDP,TENSOR"),
        ("1,1,5", 1, "needs 5 devices; there are"),
    ],
)
def test_a_mesh_that_cannot_be_is_said(
    mesh, code, told, models, data, tmp_path, capsys
):
  for command in (_score, _eval):
    words = command(models[0], data, tmp_path / "out", "--mesh", mesh)
    assert main.main(words) == code
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1
  assert not (tmp_path / "out").exists()
