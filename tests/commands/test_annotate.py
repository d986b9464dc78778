"""Sheets out and in: blinded, checked, compared with a judge."""

import csv
import io
import json

import pytest

from mlit_jax import main, records

LANGS = {"he": "בירת צרפת היא פריז", "en": "Paris it is"}
N = 6


def _write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def _responses(model, text=""):
  return [
      {"id": str(i), "lang": lang, "model": model, "finish_reason": "stop",
       "response": f"{text or words} {i} of {model[-1]}", "num_tokens": 1}
      for i in range(N) for lang, words in LANGS.items()
  ]


@pytest.fixture
def files(tmp_path):
  prompts = [
      {"id": str(i), "lang": lang, "prompt": f"{words}?"}
      for i in range(N) for lang, words in LANGS.items()
  ]
  return {
      "prompts": _write(tmp_path / "P.jsonl", prompts),
      "one": _write(tmp_path / "one.jsonl", _responses("secret-x")),
      "two": _write(tmp_path / "two.jsonl", _responses("secret-y", "=1+1")),
  }


@pytest.fixture
def make(files, tmp_path):
  def make(protocol, *rest, a=("one",), b=None, into="sheets"):
    output = tmp_path / into
    argv = ["annotate", "make", protocol, "--prompts", files["prompts"],
            "--output", str(output), "--a", *(files[name] for name in a)]
    if b:
      argv += ["--b", files[b]]
    return main.main([*argv, *rest]), output

  return make


def _key(directory):
  return [row for _, row in records.read_jsonl(directory / "key.jsonl")]


def _cells(path):
  text = path.read_text(encoding="utf-8-sig")
  return list(csv.reader(io.StringIO(text, newline="")))


def _fill(directory, lang, rate, to=None, delimiter=","):
  """Fills a sheet in, as a spreadsheet does; `rate` gets the key's row."""
  head, *rows = _cells(directory / f"sheet-{lang}.csv")
  key = {row["item"]: row for row in _key(directory)}
  file = io.StringIO()
  writer = csv.writer(file, delimiter=delimiter)
  writer.writerow(head)
  for row in rows:
    writer.writerow([*row[:-2], rate(key[row[0]]), row[-1]])
  path = directory / (to or f"filled-{lang}.csv")
  path.write_text(file.getvalue(), encoding="utf-8")
  return str(path)


def test_sheets_hide_the_systems_and_shuffle(make):
  code, directory = make("rating", a=("one", "two"))
  assert code == 0
  for lang in LANGS:
    page = (directory / f"sheet-{lang}.html").read_text(encoding="utf-8")
    head, *rows = _cells(directory / f"sheet-{lang}.csv")
    assert "secret" not in page + str(rows) and "filename" not in page
    assert head[:3] == ["item", "question", "answer"] and len(rows) == 2 * N
    key = {row["item"]: row for row in _key(directory)}
    ids = [key[row[0]]["id"] for row in rows]
    # Those to one question stand together, in no order of the systems.
    assert ids[::2] == ids[1::2] and ids[::2] != sorted(ids[::2])
    assert len({key[row[0]]["system_a"] for row in rows[::2]}) == 2
    for row in rows:
      about = key[row[0]]
      assert row[2].endswith(f"{about['id']} of {about['system_a'][-1]}")
      # A spreadsheet would take it for a formula.
      assert not row[2].startswith("=")


def test_a_pair_stands_in_either_order_equally_often(make):
  _, directory = make("side_by_side", b="two")
  for lang in LANGS:
    key = [row for row in _key(directory) if row["lang"] == lang]
    assert [row["order"] for row in key].count("ab") == N // 2
    for row, about in zip(_cells(directory / f"sheet-{lang}.csv")[1:], key):
      shown = [cell[-1] for cell in row[2:4]]
      assert shown == ["x", "y"] if about["order"] == "ab" else ["y", "x"]


def test_both_orders_make_a_judge_of_people(make, files, tmp_path, capsys):
  _, directory = make("side_by_side", "--both_orders", b="two")
  key = [row for row in _key(directory) if row["lang"] == "he"]
  assert len(key) == 2 * N
  assert {row["id"] for row in key[:N]} == {row["id"] for row in key[N:]}

  def rate(row):  # one wins but of id 0, where whatever is shown first does
    return "1" if row["id"] == "0" else "12"["ab".index(row["order"][0])]

  sheets = [_fill(directory, lang, rate) for lang in LANGS]
  people = str(tmp_path / "people.jsonl")
  assert main.main([
      "annotate", "read", str(directory / "key.jsonl"),
      *(f"anna={sheet}" for sheet in sheets), "--output", people,
  ]) == 0
  assert "anna rated 12 of 12 items of x" in capsys.readouterr().out
  summary = json.loads((tmp_path / "people.summary.json").read_text())
  he = summary["he"]["systems"]["secret-x against secret-y"]
  assert he["score"] == round((N - 0.5) / N, 6) and he["n"] == N
  assert main.main([
      "judge", "side_by_side", "--judge", f"human:{people}", "--gate", "none",
      "--prompts", files["prompts"], "--a", files["one"], "--b", files["two"],
      "--output", str(tmp_path / "J.jsonl"),
  ]) == 0
  overall = json.loads((tmp_path / "J.summary.json").read_text())["overall"]
  assert (overall["win"], overall["tie"], overall["loss"]) == (10, 2, 0)


def test_ratings_come_back_and_meet_the_judge(make, files, tmp_path, capsys):
  _, directory = make("rating", a=("one", "two"))

  def score(row):
    return (int(row["id"]) + (row["system_a"] == "secret-y")) % 4

  anna = _fill(directory, "he", lambda row: score(row))
  # With the marks and digits of another country.
  ben = _fill(directory, "he", lambda row: "٠١٢٣"[score(row)], "ben.csv", ";")
  judged = [
      records.Judgment(
          row["id"], "he", "rating", "j", row["system_a"], "", "ab", "",
          score=float(max(1, score(row))),
          gate={"a": "he" if score(row) else "en"},
      )
      for row in _key(directory) if row["lang"] == "he" and row["id"] != "5"
  ]
  records.write_records(tmp_path / "J.jsonl", judged)
  assert main.main([
      "annotate", "read", str(directory / "key.jsonl"), f"anna={anna}", ben,
      "--output", str(tmp_path / "people.jsonl"),
      "--judge", str(tmp_path / "J.jsonl"),
  ]) == 0
  said = capsys.readouterr().out
  assert "2 answers that people rated have no judgment; left out" in said
  rows = records.read_records(tmp_path / "people.jsonl", records.Judgment)
  assert {(r.judge, len(r.raw)) for r in rows} == {
      ("human:anna", 5), ("human:ben", 5)
  }
  summary = json.loads((tmp_path / "people.summary.json").read_text())["he"]
  assert summary["raters"] == summary["agreement"]["items"]["kappa"]["value"]
  assert summary["raters"] == 1  # the judge's 1 is 0 by its gate
  ratings = (tmp_path / "people.ratings.csv").read_text()
  assert ratings.startswith("system,lang,item,human,judge\nsecret-")
  assert main.main(["agreement", str(tmp_path / "people.ratings.csv")]) == 0
  # People's 0 passes through a judge, too.
  one = [r for r in rows if r.judge == "human:anna"]
  records.write_records(tmp_path / "anna.jsonl", one)
  prompts = [json.loads(line) for line in (tmp_path / "P.jsonl").open()]
  he = _write(tmp_path / "he.jsonl", [p for p in prompts if p["lang"] == "he"])
  a = _write(tmp_path / "a.jsonl", [
      r for r in _responses("secret-x") if r["lang"] == "he"
  ])
  assert main.main([
      "judge", "rating", "--judge", f"human:{tmp_path / 'anna.jsonl'}",
      "--prompts", he, "--a", a, "--output", str(tmp_path / "K.jsonl"),
      "--gate", "none",
  ]) == 0
  overall = json.loads((tmp_path / "K.summary.json").read_text())["overall"]
  assert (overall["n"], overall["failed"], overall["sum"]) == (6, 0, 7)


def test_draws_the_same_prompts_in_every_language(make):
  _, directory = make("rating", "--number", "3")
  ids = {lang: {row["id"] for row in _key(directory) if row["lang"] == lang}
         for lang in LANGS}
  assert len(ids["he"]) == 3 and ids["he"] == ids["en"]
  _, again = make("rating", "--number", "3", into="again")
  assert (again / "key.jsonl").read_bytes() == (
      directory / "key.jsonl"
  ).read_bytes()
  _, other = make("rating", "--number", "3", "--seed", "1", into="other")
  assert _key(other) != _key(directory)


@pytest.mark.parametrize("change, told", [
    (lambda row: "5", "rating '5' of x"),
    (lambda row: "good", "is not one of 0 1 2 3"),
    (lambda row: "1.5", "is not one of 0 1 2 3"),
    (lambda row: "", "the sheets hold no ratings"),
])
def test_wrong_ratings_name_their_place(make, tmp_path, capsys, change, told):
  _, directory = make("rating")
  sheet = _fill(directory, "en", change)
  code = main.main(["annotate", "read", str(directory / "key.jsonl"), sheet,
                    "--output", str(tmp_path / "people.jsonl")])
  said = capsys.readouterr()
  assert code in (1, 2) and told in said.err and said.err.count("\n") == 1
  assert not (tmp_path / "people.jsonl").exists()


def test_sheets_that_do_not_fit_are_refused(make, tmp_path, capsys):
  _, directory = make("rating")
  _, other = make("rating", "--number", "3", into="other")
  sheet = _fill(directory, "en", lambda row: 1)
  output = str(tmp_path / "people.jsonl")

  def read(key, *sheets):
    code = main.main(["annotate", "read", str(key), *sheets, "--output",
                      output])
    assert code in (1, 2)
    return capsys.readouterr().err

  key = directory / "key.jsonl"
  assert "is it the key of this sheet?" in read(other / "key.jsonl", sheet)
  assert "anna rated x" in read(key, f"anna={sheet}", f"anna={sheet}")
  assert "not what a sheet's page exports" in read(key, str(key))
  assert "cannot be read" in read(key, "ben=nothing.csv")
  assert "no row of a key" in read(tmp_path / "P.jsonl", sheet)
  doubled = tmp_path / "doubled.jsonl"
  doubled.write_bytes(2 * key.read_bytes())
  assert "for the second time" in read(doubled, sheet)
  empty = tmp_path / "empty.csv"
  empty.write_text("")
  assert "no column 'item'" in read(key, str(empty))
  copy = tmp_path / "people.jsonl"
  copy.write_bytes((directory / "sheet-en.csv").read_bytes())
  assert "people.jsonl would be written over" in read(key, str(copy))
  copy.unlink()
  binary = tmp_path / "sheet.xlsx"
  binary.write_bytes(b"PK\x03\x04\xff\xfe")
  assert "not UTF-8" in read(key, str(binary))
  judge = tmp_path / "J.jsonl"
  judge.write_text("")
  assert "judged by nothing, people by rating" in read(
      key, sheet, "--judge", str(judge)
  )


@pytest.mark.parametrize("rest, told", [
    (("rating", "--both_orders"), "which has no order"),
    (("rating", "--number", "7"), "only 6 prompts"),
    (("rating", "--number", "-1"), "must not be negative"),
    (("correctness",), "no field 'context'"),
])
def test_wrong_use_of_make(make, capsys, rest, told):
  code, directory = make(*rest)
  assert code == 2 and told in capsys.readouterr().err
  assert not directory.exists()


def test_make_refuses_what_would_overwrite_or_escape(
    make, files, tmp_path, capsys
):
  make("rating")
  assert make("rating")[0] == 2
  assert "holds sheets already" in capsys.readouterr().err
  assert make("rating", a=("one", "two"), b="two", into="x")[0] == 2
  assert make("rating", a=("one", "one"), into="x")[0] == 2
  assert "two files of one system" in capsys.readouterr().err
  assert make("side_by_side", b="one", into="x")[0] == 2
  assert "both files are of secret-x" in capsys.readouterr().err
  files["short"] = _write(tmp_path / "short.jsonl", _responses("z")[:-1])
  assert make("rating", a=("one", "short"), into="x")[0] == 2
  assert "file 2 of a: system a: no response to 5 en" in (
      capsys.readouterr().err
  )
  files["prompts"] = _write(
      tmp_path / "P2.jsonl", [{"id": "0", "lang": "../x", "prompt": "?"}]
  )
  files["one"] = _write(
      tmp_path / "A2.jsonl", [{**_responses("s")[0], "lang": "../x"}]
  )
  assert make("rating", into="x")[0] == 2
  assert "no language code" in capsys.readouterr().err
  assert not (tmp_path / "x").exists()


def test_two_turns_are_shown_as_a_conversation(tmp_path):
  questions = _write(tmp_path / "q.jsonl", [
      {"question_id": 81, "category": "math", "turns": ["one?", "two?"],
       "reference": ["1!", "2!"]},
  ])
  answers = _write(tmp_path / "a.jsonl", [
      {"question_id": 81, "model_id": "m", "choices": [
          {"index": 0, "turns": ["first", "second"]}]},
  ])
  output = tmp_path / "sheets"
  assert main.main([
      "annotate", "make", "mt_bench", "--prompts", questions, "--lang", "de",
      "--a", answers, "--output", str(output),
  ]) == 0
  _, *rows = _cells(output / "sheet-de.csv")
  row = max(rows, key=lambda row: len(row[1]))
  assert row[1] == (
      "Question, turn 1:\none?\n\nQuestion, turn 2:\ntwo?\n\n"
      "Reference answer, turn 1:\n1!\n\nReference answer, turn 2:\n2!"
  )
  assert row[2] == "Answer, turn 1:\nfirst\n\nAnswer, turn 2:\nsecond"


@pytest.mark.parametrize("protocol, given, total", [
    ("correctness", "101010", 3), ("mt_bench", ["10", *"12345"], 25),
    ("rubric", "123451", 16),
])
def test_people_judge_by_every_protocol(
    files, make, tmp_path, protocol, given, total
):
  prompts = [
      {"id": str(i), "lang": "en", "prompt": "?", "context": "c", "rubric": "r"}
      for i in range(N)
  ]
  files["prompts"] = _write(tmp_path / "en.jsonl", prompts)
  files["one"] = _write(tmp_path / "en-one.jsonl", [
      row for row in _responses("secret-x") if row["lang"] == "en"
  ])
  code, directory = make(protocol)
  assert code == 0
  shown = _cells(directory / "sheet-en.csv")[1][1]
  words = {"correctness": "Context:\nc", "rubric": "Rubric:\nr"}
  assert words.get(protocol, "?") in shown
  sheet = _fill(directory, "en", lambda row: given[int(row["id"])])
  people = tmp_path / "people.jsonl"
  assert main.main(["annotate", "read", str(directory / "key.jsonl"), sheet,
                    "--output", str(people)]) == 0
  assert main.main([
      "judge", protocol, "--judge", f"human:{people}", "--gate", "none",
      "--prompts", files["prompts"], "--a", files["one"],
      "--output", str(tmp_path / "J.jsonl"),
  ]) == 0
  overall = json.loads((tmp_path / "J.summary.json").read_text())["overall"]
  assert (overall["n"], overall["sum"]) == (N, total)
