"""Anyone's rows: by their own columns, or by those that are named."""

import pytest

from mlit_jax import records
from mlit_jax.data import sources
from mlit_jax.errors import UsageError
from mlit_jax.records import Instruction, Message


def _said(row):
  return [(m.role, m.content) for m in row.messages], row.response


def test_our_own_rows_come_back_as_they_were(read_all, tmp_path):
  rows = [
      Instruction("lima/3", "he", (Message("user", "מה?"),), "זה.",
                  {"source": "wikihow", "score": 0.5}),
      Instruction("x/1", "zh-Hant", (
          Message("system", "s"), Message("user", "1"),
          Message("assistant", "2"), Message("user", "3"),
      )),
  ]
  path = tmp_path / "rows.jsonl"
  records.write_records(path, rows)
  assert read_all("rows", path) == (rows, [])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "response": "A"},
        {"prompt": "Q", "completion": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "input": None, "output": "A"},
        {"question": "Q", "answer": "A"},
        {"messages": [{"role": "user", "content": "Q"},
                      {"role": "assistant", "content": "A"}]},
        {"messages": {"role": ["user", "assistant"], "content": ["Q", "A"]}},
        {"messages": [{"role": "user", "content": "Q"}], "response": "A"},
        {"conversations": [{"from": "human", "value": "Q"},
                           {"from": "gpt", "value": "A"}]},
    ],
)
def test_columns_that_are_known(write, read_all, row):
  (found,), bad = read_all("rows", write("mine.v2.jsonl", [row]), lang="eng")
  assert (found.id, found.lang) == ("mine/0", "en")
  assert _said(found) == ([("user", "Q")], "A")
  assert found.extra == {}
  assert bad == []


def test_alpacas_input_stands_below_the_instruction(write, read_all):
  row = {"instruction": "Add.", "input": "1, 2", "output": "3", "topic": "sum"}
  (found,), _ = read_all("rows", write("a.jsonl", [row]), lang="en")
  assert _said(found) == ([("user", "Add.\n\n1, 2")], "3")
  assert found.extra == {"topic": "sum"}


def test_a_column_mapping_of_a_table(write, read_all):
  path = write(
      "a.csv", "uid,q,a,tongue,note\n7,Kuka?,Minä.,Finnish,x\n8,Who?,,en,y\n"
  )
  columns = {"id": "uid", "prompt": "q", "response": "a", "lang": "tongue"}
  found, bad = read_all("rows", path, columns=columns, prefix="quiz")
  assert found == [
      Instruction("quiz/7", "fi", (Message("user", "Kuka?"),), "Minä.",
                  {"note": "x"})
  ]
  assert bad == [(3, "empty")]
  text = ",".join(f"{key}={value}" for key, value in columns.items())
  assert read_all("rows", path, columns=text, prefix="quiz") == (found, bad)


def test_conversations(write, read_all):
  def turns(*roles):
    return {"id": "-".join(roles), "lang": "en", "messages": [
        {"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)
    ]}

  good = [
      turns("system", "user", "assistant", "user", "assistant"),
      turns("user", "assistant", "user"),
      turns("user"),
  ]
  bad_ones = [
      turns("assistant", "user"), turns("user", "user"), turns("system"),
      turns("user", "assistant", "assistant"), turns("user", "system"),
      turns("user", "assistant", "tool"), {**turns(), "id": "none"},
      {**turns("user"), "messages": [{"role": "user", "content": ""}]},
      {**turns("user"), "messages": ["user"]},
      {**turns("user"), "messages": {"role": ["user"], "content": []}},
  ]
  path = write("a.jsonl", good + bad_ones)
  found, bad = read_all("rows", path)
  assert [x.response for x in found] == ["assistant 4", "", ""]
  assert [len(x.messages) for x in found] == [4, 3, 1]
  assert [reason for _, reason in bad] == [
      "turns", "turns", "turns", "turns", "turns", "wrong_value",
      "wrong_type", "empty", "wrong_type", "turns",
  ]
  first, _ = read_all("rows", path, turns="first")
  assert [_said(x) for x in first] == [
      ([("system", "system 0"), ("user", "user 1")], "assistant 2"),
      ([("user", "user 0")], "assistant 1"),
      ([("user", "user 0")], ""),
  ]


def test_a_system_column(write, read_all):
  path = write("a.jsonl", [
      {"system": "Be brief.", "prompt": "Q", "response": "A", "lang": "en"},
      {"system": "", "prompt": "Q", "response": "A", "lang": "en"},
  ])
  found, _ = read_all("rows", path)
  assert [m.role for m in found[0].messages] == ["system", "user"]
  assert [m.role for m in found[1].messages] == ["user"]


def test_bad_rows(write, read_all):
  found, bad = read_all("rows", write("a.jsonl", [
      {"id": "a", "lang": "en", "prompt": "Q", "response": None},
      {"id": "a", "lang": "en", "prompt": "Q", "response": ""},
      {"id": "a", "lang": "engl", "prompt": "Q"},
      {"id": "a", "prompt": "Q"},
      {"id": "a", "lang": "en", "text": "Q"},
      {"id": "a", "lang": "en", "prompt": "Q", "response": "A"},
      {"id": "a", "lang": "EN", "prompt": "Q", "response": "A"},
      {"id": "a", "lang": "fi", "prompt": "Q", "response": "A"},
      {"id": 12, "lang": "fi", "prompt": "Q", "response": "A"},
      {"id": 1.5, "lang": "fi", "prompt": "Q", "response": "A"},
      {"id": "\ud800", "lang": "fi", "prompt": "Q", "response": "A"},
      {"id": "b", "lang": "fi", "prompt": "Q", "x": "\ud800"},
  ]))
  assert [(x.id, x.lang, x.extra) for x in found] == [
      ("a", "en", {}), ("a", "fi", {}), ("12", "fi", {}), ("b", "fi", {}),
  ]
  assert bad == [
      (1, "empty"), (2, "empty"), (3, "unknown_language"),
      (4, "missing_field"), (5, "missing_field"), (7, "duplicate_id"),
      (10, "wrong_type"), (11, "surrogate"),
  ]


def test_a_folder_of_languages(write, read_all, tmp_path):
  write("quiz/en.csv", "prompt,response\nQ,A\n")
  write("quiz/hin_Deva.jsonl", [{"prompt": "क्या", "response": "यह"}])
  found, _ = read_all("rows", tmp_path / "quiz")
  assert [(x.id, x.lang) for x in found] == [("quiz/0", "en"), ("quiz/0", "hi")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "prompt"}, "columns: 'prompt' = ''; expected some of"),
        ({"columns": {"promt": "q"}}, "columns: 'promt' = 'q'"),
        ({"lang": "engl"}, "unknown language 'engl'; did you mean"),
        ({"languages": ["xx"]}, "unknown language 'xx'"),
        ({"cols": "a"}, "rows has no option 'cols'; it has lang files split"),
    ],
)
def test_wrong_use_is_refused_at_once(write, options, message):
  path = write("a.jsonl", [{"prompt": "Q", "lang": "en"}])
  with pytest.raises(UsageError, match=message):
    list(sources.open_source("rows", path, **options))
