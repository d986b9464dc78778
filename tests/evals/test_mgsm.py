"""MGSM: what is asked, with examples and without, and which number counts."""

import json
import pathlib
import re

import pytest

from mlit_jax.evals import benchmarks, labels, mgsm
from mlit_jax.evals.items import BenchmarkError, Question

tasks = pytest.importorskip("lm_eval.tasks")
from lm_eval.api import metrics  # noqa: E402
from lm_eval.filters import extraction  # noqa: E402
from lm_eval.tasks.mgsm import utils as theirs  # noqa: E402

THEIRS = pathlib.Path(theirs.__file__).parent
MGSM = benchmarks.BENCHMARKS["mgsm"]
DIRECT = benchmarks.BENCHMARKS["mgsm:direct"]
# Of the release's languages, those whose labels the harness has as they are.
ALIKE = ("bn", "de", "en", "es", "fr", "sw", "te", "th")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 and 18.", 18), ("$1,234.50", 1234.5), ("1.234.567", 1234567),
        ("12,5", 12.5), ("3.50", 3.5), ("5,000", 5000), ("1,23,456", 123456),
        ("0.125", 0.125), ("৪২", 42), ("๑๒", 12), ("-7", -7), ("9-2", 2),
        ("4 = 4", 4), ("none", None), ("১,২০০", 1200), ("౧౨", 12),
        ("１２", 12), ("๑๒๓,๔๕๖", 123456), ("−7", -7), ("1\u00a0234", 1234),
        ("12\u202f345,5", 12345.5), ("3 400", 400), ("২ ৩৪৫", 345),
        ("1\u00a02345", 2345),
    ],
)
def test_the_last_number_is_the_answer(text, number):
  assert mgsm.number(text) == number


@pytest.mark.parametrize(
    ("text", "lang", "number"),
    [
        # The benchmark's own Spanish, French and Russian write 50 000.
        ("son 23 786 en total", "es", 23786), ("1 000 €", "fr", 1000),
        ("Ответ — 1 276 000.", "ru", 1276000), ("1 000", "de", 0),
        ("x 2024 100", "ru", 100), ("le 3 100", "fr", 3100),
        ("-2 300,50", "fr", -2300.5),
    ],
)
def test_spaces_divide_thousands_where_they_are_written(text, lang, number):
  assert mgsm.number(text, lang) == number


@pytest.mark.parametrize(
    "answer",
    [
        "1000 + 200 = 1,200.", "The answer is $1200.00", "1 200", "১২০০", "",
        "...", "So 1200, not 3", "$1,200", "-1200", "it is 1200!",
    ],
)
def test_the_flexible_match_is_the_harnesss(answer):
  pattern = theirs.add_regex_pattern("x")["filter_list"][1]["filter"][0]
  apply = extraction.RegexFilter(
      regex_pattern=pattern["regex_pattern"],
      group_select=pattern["group_select"],
  ).apply
  ((found,),) = apply([[answer]], [{}])
  want = metrics.exact_match_hf_evaluate(
      [found], ["1200"], ignore_case=True, ignore_punctuation=True
  )["exact_match"]
  ours = mgsm.scores(Question("", "", ("1,200",), ""), answer, "en")
  assert ours["exact_match_flexible"] == want


def _harness(folder, config, rows, shots=()):
  """The prompt of the harness's task, with rows in place of its own."""
  for name, part in (("test", rows), ("train", shots)):
    (folder / f"{name}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in part)
    )
  files = f"test: {folder}/test.jsonl"
  if shots:
    files = f"train: {folder}/train.jsonl, {files}"  # it tells the types
  (folder / "sum.yaml").write_text(
      f"include: {THEIRS}/{config}\ntask: local_sum\ndataset_path: json\n"
      f"dataset_name: null\ndataset_kwargs: {{data_files: {{{files}}}}}\n"
      f"training_split: {'train' if shots else 'null'}\n"
      "fewshot_config: {sampler: first_n}\n"
  )
  manager = tasks.TaskManager(include_path=folder, include_defaults=False)
  (task,) = manager.load(["local_sum"])["tasks"].values()
  task.set_config("num_fewshot", len(shots))
  task.build_all_requests(rank=0, world_size=1)
  return task.instances[0].args[0]


ROW = {
    "question": "How many\tin all?", "answer": None, "answer_number": 1200,
    "equation_solution": None,
}


@pytest.mark.parametrize("lang", mgsm.LANGUAGES)
def test_without_examples_it_asks_what_the_harness_asks(lang, tmp_path):
  (tmp_path / f"mgsm_{lang}.tsv").write_text("How many\tin all?\t1,200\n")
  (item,) = MGSM.items(tmp_path, lang)
  want = _harness(tmp_path, f"native_cot/mgsm_native_cot_{lang}.yaml", [ROW])
  if lang == "ru":  # they leave a space out
    want = want.replace("Пошаговоерешение", "Пошаговое решение")
  assert item.prompt == want
  assert mgsm.scores(item, "1000 + 200 = 1200.", lang)["exact_match"] == 1
  assert mgsm.scores(item, "1200, not 3", lang)["exact_match"] == 0
  (direct,) = DIRECT.items(tmp_path, lang)
  assert direct.prompt == _harness(
      tmp_path, f"direct/mgsm_direct_{lang}.yaml", [ROW]
  )
  (tmp_path / f"mgsm_{lang}.tsv").write_text("How many?\tmany\n")
  with pytest.raises(BenchmarkError, match="'many' is no number"):
    list(MGSM.items(tmp_path, lang))


# (question, answer, the number), labelled as in the official release.
CHINESE = [("问题：一加一？", "逐步解答：1 + 1 = 2。", 2)] * 2


def _examples(lang):
  question, answer = labels.table("mgsm")[lang]
  return [
      (f"{question} {i} and 1?", f"{answer} {i} + 1 = {i + 1}.", i + 1)
      for i in range(3)
  ]


def _release(folder, by_lang):
  """exemplars.py as the official release has it."""
  table = {
      lang: {
          f"{i + 1}": {"q": q, "a": a} for i, (q, a, _) in enumerate(examples)
      }
      for lang, examples in by_lang.items()
  }
  numbers = [n for *_, n in max(by_lang.values(), key=len)]
  folder.mkdir(exist_ok=True)
  (folder / "exemplars.py").write_text(
      '"""Prompts."""\nimport os\nos.abort()\n'
      f"EXEMPLAR_NUMBER_ANSWERS = {numbers}\nMGSM_EXEMPLARS = {table!a}\n"
  )


@pytest.mark.parametrize("lang", ALIKE)
def test_examples_stand_as_in_the_harness(lang, tmp_path):
  (tmp_path / f"mgsm_{lang}.tsv").write_text("How many\tin all?\t1,200\n")
  examples = _examples(lang)
  _release(tmp_path, {lang: examples})
  (item,) = MGSM.items(tmp_path, lang, shots=2)
  shots = [
      {"question": q, "answer": a, "answer_number": n,
       "equation_solution": "1"}
      for q, a, n in examples[:2]
  ]
  assert item.prompt == _harness(
      tmp_path, f"native_cot/mgsm_native_cot_{lang}.yaml", [ROW], shots
  )
  # The harness puts no space before the number.
  (direct,) = DIRECT.items(tmp_path, lang, shots=2)
  label = labels.table("mgsm_direct")[lang]
  theirs = _harness(
      tmp_path, f"direct/mgsm_direct_{lang}.yaml", [ROW], shots
  )
  assert direct.prompt == re.sub(rf"{label}(?=\d)", f"{label} ", theirs)
  # The same as JSON, as the hub has it.
  (tmp_path / "exemplars.py").unlink()
  (tmp_path / f"exemplars_{lang}.jsonl").write_text(
      "".join(json.dumps(shot) + "\n" for shot in shots)
  )
  (again,) = MGSM.items(tmp_path, lang, shots=2)
  assert again == item


def test_a_question_has_its_examples_labels(tmp_path):
  # By hand: the release's Chinese labels have no space behind them.
  (tmp_path / "mgsm_zh.tsv").write_text("几？\t3\n")
  _release(tmp_path, {"zh": CHINESE})
  (item,) = MGSM.items(tmp_path, "zh", shots=2)
  assert item.prompt == (
      "问题：一加一？\n逐步解答：1 + 1 = 2。\n\n" * 2 + "问题：几？\n逐步解答："
  )
  (direct,) = DIRECT.items(tmp_path, "zh", shots=1)
  assert direct.prompt == (
      "问题：一加一？\nAnswer: 2\n\n问题：几？\nAnswer:"
  )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("MGSM_EXEMPLARS = {'te': open('x')}", "not of MGSM's form .ValueErr"),
        ("MGSM_EXEMPLARS = {", "not of MGSM's form .SyntaxError"),
        ("a, b = 1, 2", "not of MGSM's form .KeyError"),
        (
            "EXEMPLAR_NUMBER_ANSWERS = [1]\nMGSM_EXEMPLARS = {'te': {'1': 3}}",
            "not of MGSM's form .TypeError",
        ),
        (
            "EXEMPLAR_NUMBER_ANSWERS = [1]\nMGSM_EXEMPLARS = {'de': {}}",
            "no examples of mgsm: .* has no rows in te",
        ),
    ],
)
def test_wrong_examples_are_named(text, told, tmp_path):
  (tmp_path / "mgsm_te.tsv").write_text("?\t3\n")
  with pytest.raises(BenchmarkError, match="put mgsm/exemplars.py"):
    list(MGSM.items(tmp_path, "te", shots=1))
  (tmp_path / "exemplars.py").write_text(text)
  with pytest.raises(BenchmarkError, match=told):
    list(MGSM.items(tmp_path, "te", shots=1))
