"""Named sources, on small files in the exact published formats."""

import collections

import pytest

from mlit_jax.data import quality, sources
from mlit_jax.data.sources import SourceError
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message

_ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Name a colour.", "input": "", "output": ""},
    {"instruction": "Say hello.", "input": "", "output": "Hello!"},
]


def _said(row):
  return [m.content for m in row.messages], row.response


def test_alpaca(write, read_all):
  found, bad = read_all("alpaca", write("alpaca_data_cleaned.json", _ALPACA))
  assert found == [
      Instruction(
          "alpaca/0", "en", (Message("user", "Add.\n\n1 and 2"),), "3"
      ),
      # The empty row before it has its number all the same.
      Instruction("alpaca/2", "en", (Message("user", "Say hello."),), "Hello!"),
  ]
  assert bad == [(7, "empty")]


def test_translations_of_alpaca_share_ids(write, read_all, tmp_path):
  finnish = [
      {"instruction": "Laske.", "input": "", "output": "Kolme."},
      {"instruction": "Väri?", "input": None, "output": "Punainen."},
  ]
  write("all/alpaca_data_en.json", _ALPACA)
  write("all/alpaca_data_fin.json", finnish)
  write("all/notes_fi.json", [])
  files = "alpaca_data_{lang}.json"
  found, bad = read_all("alpaca", tmp_path / "all", files=files)
  assert [(x.id, x.lang) for x in found] == [
      ("alpaca/0", "en"), ("alpaca/2", "en"),
      ("alpaca/0", "fi"), ("alpaca/1", "fi"),
  ]
  only, bad = read_all(
      "alpaca", tmp_path / "all", files=files, languages=["fi"]
  )
  assert only == found[2:]
  assert bad == []
  with pytest.raises(SourceError, match="has no file for de; it has en fi"):
    read_all("alpaca", tmp_path / "all", files=files, languages=["de"])
  write("all/alpaca_data_fi.json", finnish)
  with pytest.raises(SourceError, match="fi.json and .*fin.json are both in f"):
    read_all("alpaca", tmp_path / "all", files=files)


def test_dolly(write, read_all):
  found, bad = read_all(
      "dolly",
      write("databricks-dolly-15k.jsonl", [
          {"instruction": "When did it begin?", "context": "It began in 1999.",
           "response": "In 1999.", "category": "closed_qa"},
          {"instruction": "Name a fruit.", "context": "", "response": "Plum.",
           "category": "open_qa"},
          {"instruction": "Name a fruit.", "context": "", "response": 7,
           "category": "open_qa"},
      ]),
  )
  assert _said(found[0]) == (
      ["When did it begin?\n\nIt began in 1999."], "In 1999."
  )
  assert [(x.id, x.lang, x.extra) for x in found] == [
      ("dolly/0", "en", {"category": "closed_qa"}),
      ("dolly/1", "en", {"category": "open_qa"}),
  ]
  assert bad == [(3, "wrong_type")]


def test_bactrian_has_its_own_ids(write, read_all, tmp_path):
  def row(id_, output):
    return {"instruction": "?", "input": "", "id": id_, "output": output}

  # The languages' files are not in one order.
  write("data/en.json.gz", [row("alpaca-0", "Yes."), row("dolly-7", "No.")])
  write("data/sw.json.gz", [
      row("dolly-7", "Hapana."), row("alpaca-0", "Ndiyo."),
      row("alpaca-0", "Ndiyo."), row("", "Ndiyo."),
  ])
  found, bad = read_all("bactrian", tmp_path / "data")
  assert {(x.id, x.lang): x.response for x in found} == {
      ("bactrian/alpaca-0", "en"): "Yes.",
      ("bactrian/alpaca-0", "sw"): "Ndiyo.",
      ("bactrian/dolly-7", "en"): "No.",
      ("bactrian/dolly-7", "sw"): "Hapana.",
  }
  assert [reason for _, reason in bad] == ["duplicate_id", "empty"]


def test_lima(write, read_all):
  path = write("train.jsonl", [
      {"conversations": ["Q1", "A1"], "source": "stackexchange"},
      {"conversations": ["Q1", "A1", "Q2", "A2"], "source": "multi_turn"},
      {"conversations": ["Q1", "A1", "Q2"], "source": "multi_turn"},
      {"conversations": ["Q1", ""], "source": "wikihow"},
      {"conversations": "Q1", "source": "wikihow"},
      {"source": "wikihow"},
      {"conversations": ["Q5"], "source": "others"},
  ])
  found, bad = read_all("lima", path)
  assert [x.id for x in found] == ["lima/0", "lima/1", "lima/6"]
  assert [_said(x) for x in found] == [
      (["Q1"], "A1"), (["Q1", "A1", "Q2"], "A2"), (["Q5"], ""),
  ]
  roles = [m.role for m in found[1].messages]
  assert roles == ["user", "assistant", "user"]
  assert found[1].extra == {"source": "multi_turn"}
  assert bad == [
      (3, "turns"), (4, "empty"), (5, "wrong_type"), (6, "missing_field"),
  ]
  first, _ = read_all("lima", path, turns="first")
  assert [_said(x) for x in first] == [
      (["Q1"], "A1"), (["Q1"], "A1"), (["Q5"], ""),
  ]


def test_translations_of_lima_by_file_and_by_roles(write, read_all, tmp_path):
  def said(question, answer):
    return {"conversations": [
        {"from": "human", "value": question}, {"from": "gpt", "value": answer}
    ]}

  write("x/train_limax_DE.jsonl", [said("Wer?", "Ich.")])
  write("x/train_limax_EN.jsonl", [said("Who?", "I.")])
  write("x/train_limax_EN_DE.jsonl", [said("Who?", "I.")])
  write("x/train_limax_pt_BR.jsonl", [said("Quem?", "Eu.")])
  write("x/val_limax_DE.jsonl", [said("Wo?", "Hier.")])
  found, bad = read_all(
      "lima", tmp_path / "x", files="train_limax_{lang}.jsonl"
  )
  assert bad == []
  assert [(x.id, x.lang, *_said(x)) for x in found] == [
      ("lima/0", "de", ["Wer?"], "Ich."), ("lima/0", "en", ["Who?"], "I."),
      ("lima/0", "pt", ["Quem?"], "Eu."),
  ]


def test_aya(write, read_all):
  path = write("aya.jsonl", [
      {"inputs": "Siapa?", "targets": "Saya.", "language": "Standard Malay",
       "language_code": "zsm", "annotation_type": "original-annotations",
       "user_id": "x"},
      {"inputs": "Nani?", "targets": "Mimi.", "language": "Swahili",
       "language_code": "swh", "annotation_type": "re-annotations"},
      {"inputs": "?", "targets": "!", "language": "Nonesuch",
       "language_code": "qqq", "annotation_type": "re-annotations"},
  ])
  found, bad = read_all("aya", path)
  assert [(x.id, x.lang, x.response) for x in found] == [
      ("aya/train/0", "ms", "Saya."), ("aya/train/1", "sw", "Mimi."),
  ]
  assert found[0].extra == {"annotation_type": "original-annotations"}
  assert bad == [(3, "unknown_language")]
  # Nobody asked for that one.
  found, bad = read_all("aya", path, languages=("swh_Latn", "en"))
  assert [x.lang for x in found] == ["sw"]
  assert bad == []


def _farm_rows():
  """805 rows, in AlpacaFarm's parts."""
  parts = {
      "selfinstruct": 252, "helpful_base": 129, "koala": 156, "oasst": 188,
      "vicuna": 80,
  }
  return [
      {"dataset": part, "instruction": f"Task {n} of {part}.",
       "input": "Here." if part == "selfinstruct" else "",
       "output": "Done.", "generator": "text_davinci_003", "datasplit": "eval"}
      for part, count in parts.items() for n in range(count)
  ]


def test_alpaca_farm_and_its_subset(write, read_all):
  path = write("alpaca_farm_evaluation.json", _farm_rows())
  every, _ = read_all("alpaca_farm", path)
  assert len(every) == 805
  assert every[0].prompt == "Task 0 of selfinstruct.\n\nHere."
  # pinch's evaluation set: without the 188 that are OpenAssistant's, and with
  # the ids that they have in the whole.
  subset, bad = read_all("alpaca_farm", path, subset="no_oasst")
  assert len(subset) == 617
  assert subset == [x for x in every if x.extra["dataset"] != "oasst"]
  assert subset[-1].id == "alpaca_farm/804"
  assert bad == []
  with pytest.raises(UsageError, match="no subset 'koala'; it has all no_o"):
    read_all("alpaca_farm", path, subset="koala")
  odd = write("a.json", [{**_farm_rows()[0], "dataset": "new"}])
  assert read_all("alpaca_farm", odd) == ([], [(2, "wrong_value")])


def test_mt_bench(write, read_all, tmp_path):
  def row(number, turns, **more):
    return {"question_id": number, "category": "math", "turns": turns, **more}

  rows = [
      row(81, ["Why?", "And how?"]),
      row(111, ["1+1?", "Twice?"], reference=["2", "4"]),
      row(112, ["x?", "y?"], reference=["z", None]),
      row(113, ["x?", "y?"], reference=None),
      row(114, ["x?"]),
      row(115, ["x?", ""]),
      row(116, ["x?", "y?"], reference="z"),
      {"question_id": None, "category": "math", "turns": ["a", "b"]},
  ]
  path = write("question.jsonl", rows)
  found, bad = read_all("mt_bench", path, lang="heb_Hebr")
  assert found[0] == Instruction(
      "mt_bench/81", "he",
      (Message("user", "Why?"), Message("user", "And how?")),
      extra={"category": "math"},
  )
  assert [x.extra.get("reference") for x in found] == [
      None, ["2", "4"], ["z", ""], None,
  ]
  assert bad == [(5, "turns"), (6, "empty"), (7, "wrong_type"), (8, "empty")]
  for name in ("a/fi/question.jsonl", "b/question_fi.jsonl", "c/fi.jsonl"):
    write(name, rows[:1])
    found, _ = read_all("mt_bench", tmp_path / name[0])
    assert [(x.id, x.lang) for x in found] == [("mt_bench/81", "fi")]


def test_vicuna_old_and_new(write, read_all):
  old = {"question_id": 1, "text": "How?", "category": "generic"}
  new = {"question_id": 2, "turns": ["Why?"], "category": "generic"}
  found, bad = read_all("vicuna", write("question.jsonl", [old, new]))
  assert [(x.id, x.prompt) for x in found] == [
      ("vicuna/1", "How?"), ("vicuna/2", "Why?"),
  ]
  assert bad == []


def test_a_response_in_the_wrong_language_is_bad(write, read_all):
  english = "I am sorry, but I can only answer in English today."
  path = write("a.jsonl", [
      {"instruction": "Привет", "input": "", "output": "Привет! Как дела?"},
      {"instruction": "Кто ты?", "input": "", "output": english},
  ])
  found, bad = read_all("alpaca", path, lang="ru")
  assert [x.id for x in found] == ["alpaca/0"]
  assert bad == [(2, "wrong_language")]
  found, bad = read_all("alpaca", path, lang="ru", check_language=False)
  assert len(found) == 2
  # An identifier also tells languages of one script apart.
  path = write("b.jsonl", [_ALPACA[0], {**_ALPACA[0], "output": "Das ist es."}])
  found, bad = read_all(
      "alpaca", path, identify=lambda text: "deu" if "ist" in text else ""
  )
  assert bad == [(2, "wrong_language")]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"instruction": "a", "output": "b \ud83d"}], "surrogate"),
        ([{"instruction": "a\udc80", "output": "b"}], "surrogate"),
        ([{"output": "b"}], "missing_field"),
        (["instruction"], "wrong_type"),
        ([{"instruction": ["a"], "output": "b"}], "wrong_type"),
        ([{"instruction": "a", "input": 1, "output": "b"}], "wrong_type"),
        ([{"instruction": "a", "output": "\u200b \n"}], None),
        ([{"instruction": " \n", "output": "b"}], "empty"),
    ],
)
def test_bad_rows_name_their_reason(write, read_all, rows, reason):
  found, bad = read_all("alpaca", write("a.jsonl", rows))
  assert [r for _, r in bad] == ([reason] if reason else [])
  assert len(found) == (reason is None)


def test_without_a_limit_the_first_bad_row_is_fatal(write):
  path = write("a.json", _ALPACA)
  opened = sources.open_source("alpaca", path)
  assert next(opened).id == "alpaca/0"
  with pytest.raises(quality.BadRowsError, match="json:7: 'output' is empty"):
    next(opened)


def test_ten_percent_of_faults_are_all_counted(write, read_all):
  """Every kind of fault, its number known, in 2,000 rows of Bactrian-X."""
  import json

  lines, expected = [], collections.Counter()
  faults = {
      "not_json": lambda row: "{" + json.dumps(row),
      "wrong_type": lambda row: json.dumps({**row, "output": 3}),
      "empty": lambda row: json.dumps({**row, "output": ""}),
      "surrogate": lambda row: json.dumps({**row, "output": "\udfff"}),
      "duplicate_id": lambda row: json.dumps({**row, "id": "alpaca-0"}),
      "missing_field": lambda row: json.dumps({"id": row["id"]}),
      "wrong_language": lambda row: json.dumps({**row, "output": "да " * 20}),
      "too_long": lambda row: json.dumps({**row, "input": "x" * 1_100_000}),
  }
  for number in range(2000):
    row = {"instruction": "a", "input": "", "id": f"alpaca-{number}",
           "output": "An answer in a language of its own."}
    kind = [*faults][number // 10 % len(faults)] if number % 10 == 5 else ""
    if kind == "too_long" and expected[kind] == 3:
      kind = "empty"
    expected[kind] += 1
    lines.append(faults[kind](row) if kind else json.dumps(row))
  path = write("en.jsonl", "\n".join(lines))
  found, bad = read_all("bactrian", path)
  assert len(found) == expected.pop("") == 1800
  assert collections.Counter(reason for _, reason in bad) == expected
  assert [line for line, _ in bad] == list(range(6, 2000, 10))
