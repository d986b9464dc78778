"""Log-likelihoods, against lm-evaluation-harness's own Hugging Face model."""

import functools
import json
import pathlib
import shutil

import jax
import pytest

from mlit_jax import main
from mlit_jax.decoding.requests import Request
from mlit_jax.errors import UsageError
from mlit_jax.evals import lm, pairs, scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("lm_eval")
instance = pytest.importorskip("lm_eval.api.instance")
pytestmark = pytest.mark.torch

import random_models  # noqa: E402

LINES = random_models.LINES
# (context, continuation): shared contexts, spaces at the border, none at all,
# one that no space divides, an empty context, one too long for the model.
REQUESTS = [
    *((line[: len(line) // 2], end) for line in LINES[:7]
      for end in (" it was fragile.", " 水流出来了", line[len(line) // 2 :])),
    ("The item was packaged ", "in bubble wrap"), ("水", "流"), ("a", "b"),
    ("", "The item"), ("", "кот"), ("  ", "x"),
    ("The man opened the tap so the water flowed. " * 6, "yes"),
]


@pytest.fixture(scope="module", params=random_models.PARAMETERS)
def directory(request, tmp_path_factory):
  """A random model of a family with a tokenizer of its kind."""
  place = tmp_path_factory.mktemp(request.param) / "model"
  return random_models.write(request.param, place)


@pytest.mark.long
def test_equals_the_harness(directory):
  """Sums within 1e-4, the same greedy flags; so the same choices."""
  model = scoring.LanguageModel(directory, batch_size=4)
  found = list(
      zip(REQUESTS, model.score(REQUESTS, truncate=True), strict=True)
  )
  # Where a word has swallowed the continuation the harness stops with an
  # assertion; here the row fails and the rest goes on.
  lost = [pair for pair, score in found if isinstance(score, str)]
  assert not any(c.strip() and " " in c[-1:] + after[:1] for c, after in lost)
  assert len(lost) < 6
  found = [row for row in found if row[0] not in lost]
  theirs = random_models.harness(directory, model.max_length).loglikelihood(
      [
          instance.Instance("loglikelihood", {}, pair, i)
          for i, (pair, _) in enumerate(found)
      ],
      disable_tqdm=True,
  )
  for (pair, score), (logprob, greedy) in zip(found, theirs, strict=True):
    assert score.logprob == pytest.approx(logprob, abs=1e-4), pair
    assert score.is_greedy == greedy, pair
  # The likeliest token as the continuation is greedy, for both.
  assert not all(greedy for _, greedy in theirs)


@pytest.mark.long
def test_a_greedy_continuation_is_known(directory):
  model = scoring.LanguageModel(directory, batch_size=2)
  network = transformers.AutoModelForCausalLM.from_pretrained(directory)
  context = LINES[0][:20]
  before, _ = pairs.encode(model.tokenizer, context, "x")
  with torch.no_grad():
    logits = network(torch.tensor([before])).logits[0, -1]
  likeliest, unlikely = int(logits.argmax()), int(logits.argmin())
  found = {}
  for token in (likeliest, unlikely):
    (score,) = model._scorer.score(
        model.params, [scoring.lm.Pair("", tuple(before), (token,))]
    )
    found[token] = score
    want = float(torch.log_softmax(logits, -1)[token])
    assert score.logprob == pytest.approx(want, rel=1e-4)
  assert found[likeliest].is_greedy
  assert not found[unlikely].is_greedy


def test_sharing_a_context_and_order_change_nothing(directory, monkeypatch):
  model = scoring.LanguageModel(directory, batch_size=4)
  rows = [row for row in REQUESTS if len(row[0]) < 100]
  together = model.score(rows)
  # Only a few contexts are kept at a time.
  monkeypatch.setattr(scoring.lm, "_KEPT", 60)
  backwards = model.score(rows[::-1])[::-1]
  for row, score, other in zip(rows, together, backwards, strict=True):
    (alone,) = model.score([row])
    if isinstance(alone, str):
      assert score == other == alone
      continue
    assert score.logprob == pytest.approx(alone.logprob, rel=1e-5, abs=1e-5)
    assert other.logprob == pytest.approx(alone.logprob, rel=1e-5, abs=1e-5)


def test_the_command_names_every_bad_row(directory, tmp_path, capsys):
  good = {"id": "a", "context": "The item", "continuation": " was"}
  good["failure"] = "of another run"
  rows = [
      json.dumps(good), "{", json.dumps(good), json.dumps({"id": 3}),
      json.dumps(good | {"id": "b", "continuation": ""}),
      json.dumps(good | {"id": "c", "context": "the water " * 90}),
      json.dumps(good | {"id": "d", "context": ""}),
      '{"id": "e", "context": "\\ud800", "continuation": "x"}',
  ]
  source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
  source.write_text("\n".join(rows))
  command = [
      "score", "--model", str(directory), "--input", str(source), "--output",
      str(out), "--batch_size", "2",
  ]
  assert main.main(command) == 1
  found = [json.loads(line) for line in out.read_text().splitlines()]
  assert [row["id"] for row in found] == [
      "a", "line 2", "a", "line 4", "b", "c", "d", "line 8"
  ]
  assert [
      row.get("failure", "").removeprefix(f"{source}:")[:29] for row in found
  ] == [
      "", "2: not JSON (Expecting proper", "line 3: the id 'a' stands twi",
      "line 4: 'id' must be text; gi", "the continuation has no token",
      "context and continuation have", "", "8: a lone surrogate; write a ",
  ]
  assert found[0]["num_tokens"] >= 1
  assert "6 of 8 rows failed" in capsys.readouterr().out
  assert main.main([*command, "--too_long", "truncate"]) == 1
  kept = [json.loads(line) for line in out.read_text().splitlines()]
  assert "failure" not in kept[5]


def test_wrong_use_is_one_line(tmp_path, capsys):
  command = ["score", "--model", str(tmp_path), "--output", "x", "--input"]
  assert main.main([*command, str(tmp_path / "none.jsonl")]) == 2
  assert "cannot be read" in capsys.readouterr().err
  empty = tmp_path / "empty.jsonl"
  empty.write_text("\n")
  assert main.main([*command, str(empty)]) == 2
  assert "no rows" in capsys.readouterr().err
  full = str(tmp_path / "pairs.jsonl")
  (tmp_path / "pairs.jsonl").write_text(json.dumps(
      {"id": "1", "context": "a", "continuation": "b"}
  ))
  for options, told in (
      (("--output", full), "would be written over"),
      (("--output", str(tmp_path)), "is a folder; give the name of a file"),
      (("--output", f"{full}/x"), "cannot be a folder"),
      (("--model", full), "there is no such directory"),
  ):
    assert main.main([*command, full, *options]) == 2
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1
  jax.clear_caches()


def _xcopa():
  for i, end in enumerate(("fragile.", "here.", "水", "x y z") * 3):
    line, other = LINES[i % 7], LINES[(i + 3) % 7]
    for question in ("cause", "effect"):
      yield {
          "premise": line[: len(line) // 2] + ".", "choice1": "It was " + end,
          "choice2": other[len(other) // 2 :], "question": question,
          "label": i % 2,
      }


def _xwinograd():
  for i, line in enumerate(LINES[:7] * 2):
    place, end = len(line) // 3, len(line) // 2 + i // 7
    yield {
        "sentence": f"{line[:place]}_{line[end:]}",
        "option1": line[place:end], "option2": "the item",
        "answer": str(1 + i % 2),
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "rows"),
    [("xcopa/default_et", _xcopa), ("xwinograd/xwinograd_en", _xwinograd)],
)
def test_the_harness_runs_its_tasks_on_our_model_as_on_its_own(
    task, rows, directory, tmp_path
):
  """Its own tasks from a local file: the same accuracy both ways."""
  import lm_eval
  from lm_eval import evaluator, tasks

  from mlit_jax.evals import harness

  place = pathlib.Path(lm_eval.__file__).parent / "tasks" / f"{task}.yaml"
  data = tmp_path / "rows.jsonl"
  data.write_text("".join(json.dumps(row) + "\n" for row in rows()))
  (tmp_path / "ours.yaml").write_text(
      f"include: {place}\ntask: ours\ndataset_path: json\ndataset_name: null\n"
      f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
      "validation_split: null\n"
  )

  def accuracy(model):
    found = evaluator.simple_evaluate(
        model=model, tasks=["ours"], bootstrap_iters=0, log_samples=True,
        task_manager=tasks.TaskManager(
            include_path=str(tmp_path), include_defaults=False
        ),
    )
    picked = [
        [float(r[0][0] if isinstance(r[0], (list, tuple)) else r[0])
         for r in sample["resps"]]
        for sample in found["samples"]["ours"]
    ]
    return found["results"]["ours"]["acc,none"], picked

  ours = harness.MlitLM(pretrained=str(directory), batch_size=4)
  theirs = random_models.harness(directory, ours.max_length)
  (mine, my_sums), (other, other_sums) = map(accuracy, (ours, theirs))
  assert mine == other
  assert len({tuple(s) for s in other_sums}) > 10
  for a, b in zip(my_sums, other_sums, strict=True):
    assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.long
def test_the_harness_generates_with_our_model(directory):
  from mlit_jax.evals import harness

  ours = harness.MlitLM(pretrained=str(directory), batch_size=4)
  theirs = random_models.harness(directory, ours.max_length)
  asked = [
      instance.Instance(
          "generate_until", {},
          (text, {"until": [until], "max_gen_toks": 12, "do_sample": False}), i,
      )
      for i, (text, until) in enumerate(
          [(LINES[0], "zz"), (LINES[1], "a"), (LINES[3], " ")]
      )
  ]
  assert ours.generate_until(asked) == theirs.generate_until(
      asked, disable_tqdm=True
  )


def _ours(directory):
  from mlit_jax.evals import harness

  return harness.MlitLM(str(directory), batch_size=4)


def _asked(text, **options):
  return [
      instance.Instance(
          "generate_until", {}, (text, {"max_gen_toks": 12} | options), 0
      )
  ]


@pytest.mark.long
def test_the_harness_options_reach_the_engine(directory):
  ours = _ours(directory)
  text = LINES[0]
  greedy = ours.generate_until(_asked(text, do_sample=False))
  sampled = {"do_sample": True, "temperature": 5.0}
  assert ours.generate_until(_asked(text, **sampled)) != greedy
  # What leaves but the likeliest token decodes greedily.
  for one in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
    assert ours.generate_until(_asked(text, **sampled, **one)) == greedy
  # One of them changes an answer that repeats itself, or one that does not.
  punished, praised = (
      ours.generate_until(_asked(text, repetition_penalty=x)) for x in (5, 0.05)
  )
  assert greedy != punished or greedy != praised
  named = {"max_gen_toks": None, "max_new_tokens": 3}
  (short,) = ours.generate_until(_asked(text, **named))
  assert greedy[0].startswith(short) and len(short) < len(greedy[0])
  with pytest.raises(UsageError, match="--gen_kwargs: mlit has no bogus; it"):
    ours.generate_until(_asked(text, bogus=3))


@pytest.mark.long
def test_a_checkpoints_own_end_tokens_end_the_harness_answers(
    directory, tmp_path
):
  ours = _ours(directory)
  model = ours._model
  request = Request("a", tuple(model.prompt(LINES[0])), 12)
  (whole,) = model.generate([request], 4)
  place = shutil.copytree(directory, tmp_path / "model")
  for name in ("config.json", "generation_config.json"):
    fields = json.loads((place / name).read_text())
    fields["eos_token_id"] = [model.tokenizer.eos_id, whole.tokens[4]]
    (place / name).write_text(json.dumps(fields))
  asked = _asked(LINES[0], do_sample=False, until=["zz"])
  (found,) = _ours(place).generate_until(asked)
  other = random_models.harness(place)
  (theirs,) = other.generate_until(asked, disable_tqdm=True)
  # Theirs shows an end token that is not special.
  at = whole.tokens.index(whole.tokens[4])
  ends = [model.tokenizer.decode(whole.tokens[:n]) for n in (at, at + 1)]
  assert [found, theirs] == ends and len(whole.tokens) > 5


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ("parallelize=1,max_len=5", 2, "mlit has no max_len, parallelize; it"),
        ("dtype=float16", 2, "dtype=float16: choose one of float32, bfloat16"),
        ("max_length=0", 2, "max_length must be at least 1, not 0"),
        ("tensor=two", 2, "tensor must be at least 1, not two"),
        ("fsdp=3", 1, "needs a multiple of 3 devices; there"),
        ("template=checkpoint", 1, "none: no tokenizer"),
    ],
)
def test_the_harness_says_what_is_wrong_in_one_line(
    arguments, code, told, tmp_path, monkeypatch, capsys
):
  import lm_eval.tasks

  from mlit_jax.evals import harness

  # All its tasks take it ten seconds to look through.
  few = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
  monkeypatch.setattr("lm_eval.tasks.TaskManager", few)
  folder = pathlib.Path(lm_eval.tasks.__file__).parent / "xcopa"
  monkeypatch.setattr("sys.argv", [
      "lm_eval", "run", "--model", "mlit", "--model_args",
      f"pretrained={tmp_path}/none,{arguments}", "--tasks", "xcopa_et",
      "--include_path", str(folder),
  ])
  assert harness.main() == code
  (line,) = [
      line for line in capsys.readouterr().err.splitlines()
      if line.startswith("mlit: ")
  ]
  assert told in line


@pytest.mark.long
def test_a_large_batch_is_not_filled_up_for_a_few_pairs(
    directory, monkeypatch
):
  put, sizes = lm.Scorer._put, []

  def noted(self, batch):
    sizes.append(len(batch.tokens))
    return put(self, batch)

  monkeypatch.setattr(lm.Scorer, "_put", noted)
  rows = [(LINES[0][:20], f" {i}") for i in range(3)]
  many = scoring.LanguageModel(directory, batch_size=4096).score(rows)
  assert sizes and max(sizes) <= 32
  few = scoring.LanguageModel(directory, batch_size=32).score(rows)
  assert [s.logprob for s in many] == [s.logprob for s in few]
