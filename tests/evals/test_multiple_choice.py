"""The items of XCOPA, XStoryCloze, XWinograd, against lm_eval's own tasks."""

import json
import pathlib

import pytest

from mlit_jax import languages
from mlit_jax.errors import UsageError
from mlit_jax.evals import benchmarks, multiple_choice
from mlit_jax.evals.items import BenchmarkError

tasks = pytest.importorskip("lm_eval.tasks")
import lm_eval  # noqa: E402

THEIRS = pathlib.Path(lm_eval.__file__).parent / "tasks"
SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
XCOPA = [
    {"premise": premise, "choice1": one, "choice2": two, "question": question,
     "label": label, "idx": i, "changed": False}
    for i, (premise, one, two, question, label) in enumerate([
        ("Poiss kukkus. ", "Ta jooksis.", "Ta magas.", "cause", 0),
        ("门开了。", "Ali 来了。", "天黑了。", "effect", 1),
        ("ประตูเปิด", "เขามา", "ฝนตก", "cause", 1),
        ("Kapı açıldı.", "İnsanlar geldi.", "Irmak taştı!", "effect", 0),
    ])
]
STORIES = [
    {"story_id": f"s{i}", "input_sentence_1": "Anna got up.",
     "input_sentence_2": "She ran.", "input_sentence_3": f"It was {i}.",
     "input_sentence_4": "She fell.", "sentence_quiz1": "It hurt.",
     "sentence_quiz2": "She flew.", "answer_right_ending": 1 + i % 2}
    for i in range(3)
]
SENTENCES = [
    {"sentence": "The cup does not fit since _ is big.", "option1": "the cup",
     "option2": "the bag", "answer": "1"},
    {"sentence": "狗追猫，因为_跑得快。", "option1": "狗", "option2": "猫",
     "answer": "2"},
]


def _theirs(folder, name, include, path, split):
  """lm_eval's own task on a local file: what it asks, and the right answers."""
  (folder / f"{name}.yaml").write_text(
      f"include: {THEIRS / include}\ntask: local_{name}\n"
      f"dataset_path: json\ndataset_name: null\n"
      f"dataset_kwargs: {{data_files: {{{split}: {path}}}}}\n"
      f"training_split: null\n"
      + "".join(
          f"{other}_split: {'null' if other != split else split}\n"
          for other in ("validation", "test")
      )
  )
  manager = tasks.TaskManager(
      include_path=str(folder), include_defaults=False
  )
  (task,) = manager.load([f"local_{name}"])["tasks"].values()
  task.build_all_requests(rank=0, world_size=1)
  asked, right = {}, []
  for request in task.instances:
    asked.setdefault(request.doc_id, []).append(request.args)
  for doc in task.eval_docs:
    target = task.doc_to_text(doc) if task.multiple_input else (
        task.doc_to_target(doc)
    )
    right.append(int(target))
  return [tuple(a) for a in asked.values()], right


def _write(path, rows):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text("".join(json.dumps(r) + "\n" for r in rows))
  return path


def _ours(name, folder, lang):
  items = list(benchmarks.BENCHMARKS[name].items(folder, lang))
  return [item.options for item in items], [item.right for item in items]


@pytest.mark.parametrize("lang", languages.SETS["xcopa"])
def test_xcopa_asks_what_the_harness_asks(lang, tmp_path):
  path = _write(tmp_path / "xcopa" / f"test.{lang}.jsonl", XCOPA)
  theirs = _theirs(
      tmp_path, "xcopa", f"xcopa/default_{lang}.yaml", path, "test"
  )
  assert _ours("xcopa", tmp_path, lang) == theirs


@pytest.mark.parametrize("lang", ["et", "it", "sw", "zh"])
def test_real_xcopa_asks_what_the_harness_asks(lang, tmp_path):
  path = SHARED / "xcopa" / f"test.{lang}.jsonl"
  if not path.exists():
    pytest.skip("needs ../shared/data/xcopa")
  theirs = _theirs(
      tmp_path, "xcopa", f"xcopa/default_{lang}.yaml", path, "test"
  )
  assert len(theirs[0]) == 500
  assert _ours("xcopa", SHARED, lang) == theirs


def test_xstorycloze_asks_what_the_harness_asks(tmp_path):
  path = _write(tmp_path / "xstorycloze" / "eval.sw.jsonl", STORIES)
  theirs = _theirs(
      tmp_path, "story", "xstorycloze/default_sw.yaml", path, "validation"
  )
  assert _ours("xstorycloze", tmp_path, "sw") == theirs
  # The authors' own table says the same.
  path.unlink()
  names = [
      "InputStoryid", *(f"InputSentence{n}" for n in (1, 2, 3, 4)),
      "RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2",
      "AnswerRightEnding",
  ]
  table = [names, *([str(v) for v in row.values()] for row in STORIES)]
  (path.parent / "spring2016.val.sw.tsv.split_20_80_eval.tsv").write_text(
      "".join("\t".join(row) + "\n" for row in table)
  )
  assert _ours("xstorycloze", tmp_path, "sw") == theirs


def test_xwinograd_asks_what_the_harness_asks(tmp_path):
  path = _write(tmp_path / "xwinograd" / "jp.jsonl", SENTENCES)
  theirs = _theirs(
      tmp_path, "winograd", "xwinograd/xwinograd_jp.yaml", path, "test"
  )
  assert _ours("xwinograd", tmp_path, "ja") == theirs


def test_the_corrected_versions_mend_what_is_known(tmp_path):
  for lang in ("et", "zh", "th", "tr"):
    _write(tmp_path / f"xcopa/test.{lang}.jsonl", XCOPA)
  et, zh, th, tr = (
      _ours("xcopa:corrected", tmp_path, lang)[0][row]
      for row, lang in enumerate(("et", "zh", "th", "tr"))
  )
  assert et == (
      ("Poiss kukkus sest", " ta jooksis."), ("Poiss kukkus sest", " ta magas.")
  )
  assert zh == (
      ("门开了所以", "ali 来了。"), ("门开了所以", "天黑了。")
  )
  # No full stop, so nothing is taken off; Thai has spaces between clauses.
  assert th == (("ประตูเปิด เพราะ", "เขามา"), ("ประตูเปิด เพราะ", "ฝนตก"))
  assert tr == (
      ("Kapı açıldı bu yüzden", " insanlar geldi."),
      ("Kapı açıldı bu yüzden", " ırmak taştı!"),
  )
  story = [STORIES[0] | {"sentence_quiz1": "很疼。"}]
  for lang in ("my", "zh"):
    _write(tmp_path / f"xstorycloze/eval.{lang}.jsonl", story)
  context = "Anna got up. She ran. It was 0. She fell."
  ((zh, _),), ((my, _),) = (
      _ours("xstorycloze:corrected", tmp_path, lang)[0] for lang in ("zh", "my")
  )
  assert zh == (context.replace(". ", "."), "很疼。")
  assert my == (context, " 很疼。")
  _write(tmp_path / "xwinograd" / "zh.jsonl", SENTENCES)
  assert _ours("xwinograd:corrected", tmp_path, "zh")[0] == [
      (
          ("The cup does not fit since the cup", " is big."),
          ("The cup does not fit since the bag", " is big."),
      ),
      (("狗追猫，因为狗", "跑得快。"), ("狗追猫，因为猫", "跑得快。")),
  ]


def test_the_authors_table_of_xwinograd_is_read(tmp_path):
  rows = [
      ["en", "original", "?", 'Tom said "Yes" to Al since he had his "car".',
       ["Tom", "said", "``", "Yes", "''", "to", "Al", "since", "he", "had",
        "his", "``", "car", "''", "."],
       ["he", [8, 9], ["he"]],
       [["Tom", [0, 1], ["Tom"], False], ["Al", [6, 7], ["Al"], True]]],
      ["jp", "x", "y", "犬が猫を追う、それは速い。",
       ["犬", "が", "猫", "を", "追う", "、", "それ", "は", "速い", "。"],
       ["それ", [6, 7], ["それ"]],
       [["犬", [0, 1], ["犬"], True], ["猫", [2, 3], ["猫"], False]]],
  ]
  path = tmp_path / "dataset.tsv"
  path.write_text("".join(
      "\t".join(f if isinstance(f, str) else json.dumps(f) for f in row) + "\n"
      for row in rows
  ))
  assert _ours("xwinograd:corrected", tmp_path, "en") == ([(
      ('Tom said "Yes" to Al since Tom', ' had his "car".'),
      ('Tom said "Yes" to Al since Al', ' had his "car".'),
  )], [1])
  assert _ours("xwinograd", tmp_path, "ja") == ([(
      ("犬が猫を追う、犬", " は速い。"), ("犬が猫を追う、猫", " は速い。")
  )], [0])
  with pytest.raises(BenchmarkError, match="no rows in fr; put xwinograd/fr"):
    _ours("xwinograd", tmp_path, "fr")
  path.write_text(path.read_text().replace('["he", [8, 9]', '["he", [8, 99]'))
  with pytest.raises(BenchmarkError, match="tsv:1: not as in XWinograd's"):
    _ours("xwinograd", tmp_path, "en")


def test_every_row_of_the_real_table_is_read():
  if not (SHARED / "xwinograd").exists():
    pytest.skip("needs ../shared/data/xwinograd")
  numbers = {}
  for lang in ("en", "fr", "pt"):
    options, right = _ours("xwinograd:corrected", SHARED, lang)
    numbers[lang] = len(options)
    assert all("_" not in context for pair in options for context, _ in pair)
    assert 0.4 < sum(right) / len(right) < 0.6
  # As the paper has them (Tikhonov and Ryabinin 2021, Table 1), and the hub.
  assert numbers == {"en": 2325, "fr": 83, "pt": 263}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": 2}, "label is '2'"),
        ({"question": "why"}, "question 'why' is neither"),
        ({"premise": " "}, "'premise' is empty"),
    ],
)
def test_a_bad_row_is_named(change, told, tmp_path):
  _write(tmp_path / "test.et.jsonl", [XCOPA[0], XCOPA[0] | change])
  with pytest.raises(BenchmarkError, match=f"test.et.jsonl:2: {told}"):
    _ours("xcopa", tmp_path, "et")


def test_the_hubs_rows_are_read_too(tmp_path, monkeypatch):
  """A folder of that name is to `datasets` what the hub's dataset is."""
  place = tmp_path / "cambridgeltl" / "xcopa"
  _write(place / "et.jsonl", XCOPA)
  (place / "README.md").write_text(
      "---\nconfigs:\n- config_name: et\n  data_files:\n"
      "  - {split: test, path: et.jsonl}\n---\n"
  )
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HF_HUB_OFFLINE", "1")
  found = _ours("xcopa", "hub", "et")
  _write(tmp_path / "xcopa" / "test.et.jsonl", XCOPA)
  assert found == _ours("xcopa", tmp_path, "et")
  with pytest.raises(BenchmarkError) as caught:
    _ours("xcopa", "hub", "sw")
  assert "put xcopa/test.sw.jsonl (on the hub: " in str(caught.value)


def test_connectors_are_there_for_every_language():
  assert tuple(multiple_choice.CONNECTORS) == languages.SETS["xcopa"]


def test_versions_are_asked_for_by_name():
  for name in ("xcopa", "xstorycloze", "xwinograd"):
    assert list(benchmarks.named(name)) == [name, f"{name}:corrected"]
    assert list(benchmarks.named(f"{name}:harness")) == [name]
    (one,) = benchmarks.named(f"{name}:corrected")
    assert one == f"{name}:corrected"
  with pytest.raises(UsageError, match="no benchmark 'xquad:harness'"):
    benchmarks.named("xquad:harness")
