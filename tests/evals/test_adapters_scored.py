"""A PEFT adapter over a base, scored: against lm_eval with PEFT."""

import json

import pytest

from mlit_jax import main
from mlit_jax.evals import outcomes

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
huggingface = pytest.importorskip("lm_eval.models.huggingface")
instance = pytest.importorskip("lm_eval.api.instance")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import random_models  # noqa: E402

LINES = random_models.LINES
PAIRS = [
    ("It was packaged", " by fragile water"), ("El agua", " que abrió"),
    ("Mwanamume kwa", " hivyo alifungua"), ("", "The item was"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
  return random_models.write("llama", tmp_path_factory.mktemp("m") / "model")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
  """Written by PEFT itself, with large changes."""
  place = tmp_path_factory.mktemp("a") / "adapter"
  torch.manual_seed(3)
  config = peft.LoraConfig(
      r=4, lora_alpha=8, task_type="CAUSAL_LM", init_lora_weights=False,
      target_modules=["q_proj", "v_proj", "down_proj"],
  )
  model = transformers.AutoModelForCausalLM.from_pretrained(base)
  peft.get_peft_model(model, config).save_pretrained(place)
  return place


@pytest.fixture(scope="module")
def theirs(base, adapter):
  """(log-probability, greedy) of each pair, with PEFT."""
  model = huggingface.HFLM(
      pretrained=str(base), peft=str(adapter), device="cpu", dtype="float32",
      batch_size=4, max_length=64,
  )
  return model.loglikelihood(_asked(), disable_tqdm=True)


def _asked():
  return [
      instance.Instance("loglikelihood", {}, pair, i)
      for i, pair in enumerate(PAIRS)
  ]


def _score(base, tmp_path, *more):
  source, out = tmp_path / "pairs.jsonl", tmp_path / "scores.jsonl"
  source.write_text("".join(
      json.dumps({"id": f"{i}", "context": a, "continuation": b}) + "\n"
      for i, (a, b) in enumerate(PAIRS)
  ))
  assert main.main([
      "score", "--model", str(base), "--input", str(source), "--output",
      str(out), *more,
  ]) == 0
  return [json.loads(line) for line in out.read_text().splitlines()]


def test_score_and_harness_equal_theirs(base, adapter, theirs, tmp_path):
  from mlit_jax.evals import harness

  rows = _score(base, tmp_path, "--adapter", str(adapter))
  sums = [logprob for logprob, _ in theirs]
  assert [r["logprob"] for r in rows] == pytest.approx(sums, abs=1e-4)
  assert [r["is_greedy"] for r in rows] == [greedy for _, greedy in theirs]
  alone = [r["logprob"] for r in _score(base, tmp_path)]
  assert all(abs(a - b) > 0.01 for a, b in zip(alone, sums, strict=True))
  ours = harness.MlitLM(str(base), batch_size=4, peft=str(adapter))
  found = ours.loglikelihood(_asked())
  assert [s for s, _ in found] == pytest.approx(sums, abs=1e-4)


def test_eval_knows_the_adapter(base, adapter, tmp_path, capsys):
  row = {
      "premise": LINES[0][:30], "choice1": LINES[0][30:], "choice2": LINES[2],
      "question": "cause", "label": 0,
  }
  (tmp_path / "test.et.jsonl").write_text(json.dumps(row) + "\n")

  def run(out, *more):
    return main.main([
        "eval", "xcopa:harness", "--model", str(base), "--data", str(tmp_path),
        "--output", str(tmp_path / out), *more,
    ])

  assert run("base") == 0
  assert run("adapted", "--adapter", str(adapter)) == 0
  (one,), (other,) = (
      outcomes.read_rows(tmp_path / name, "xcopa", "et")
      for name in ("base", "adapted")
  )
  assert one["logprobs"] != pytest.approx(other["logprobs"], abs=0.01)
  want = huggingface.HFLM(
      pretrained=str(base), peft=str(adapter), device="cpu", dtype="float32",
      batch_size=4, max_length=64,
  ).loglikelihood(
      [
          instance.Instance("loglikelihood", {}, tuple(pair), i)
          for i, pair in enumerate(other["options"])
      ],
      disable_tqdm=True,
  )
  sums = [logprob for logprob, _ in want]
  assert other["logprobs"] == pytest.approx(sums, abs=1e-4)
  capsys.readouterr()
  assert run("adapted") == 2  # the base's rows are others
  assert "of another model, adapter, template" in capsys.readouterr().err


def test_what_is_no_model_or_adapter_is_told(base, adapter, tmp_path, capsys):
  for command in (["score", "--input", "x"], ["eval", "xcopa"]):
    common = [*command, "--output", str(tmp_path / "o")]
    assert main.main([*common, "--model", str(adapter)]) == 2
    said = capsys.readouterr().err
    assert "is an adapter; give its base as --model, and this as" in said
    assert main.main(
        [*common, "--model", str(base), "--adapter", str(tmp_path / "no")]
    ) == 2
    assert "no: there is no such directory" in capsys.readouterr().err
