"""`mlit translate` as it is typed: rows, plans, caps, kills, wrong use."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import stand_in

from mlit_jax import cache, main, records

ROWS = [
    {
        "id": "a", "lang": "en", "topic": "x",
        "messages": [{"role": "user", "content": "Add {n} to 5 km."}],
        "response": "Done:\n```\nx = {n}\n```\nSee https://a.org/b.",
    },
    {
        "id": "b", "lang": "en",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "First question"},
            {"role": "assistant", "content": "First answer"},
            {"role": "user", "content": "Second question"},
        ],
    },
    {"id": "c", "lang": "en", "prompt": "Second question"},
]


def _write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
  return str(path)


def _read(path):
  return [row for _, row in records.read_jsonl(path)]


@pytest.fixture
def mlit(capsys, tmp_path, monkeypatch):
  """Runs `mlit translate` in tmp_path; gives (exit code, out, err)."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("MLIT_REPLIES", str(tmp_path / "replies"))
  _write(tmp_path / "in.jsonl", ROWS)

  def run(*argv, to="he,ru", output="out.jsonl", rows="in.jsonl"):
    try:
      code = main.main(
          ["translate", rows, "--to", to, "--output", output, *argv]
      )
    except SystemExit as e:
      code = e.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err

  return run


def _google(server):
  return "--backend", f"google@{server.address}"


def test_rows_keep_ids_roles_fields_and_spans(mlit, tmp_path):
  with stand_in.StandIn() as server:
    code, out, _ = mlit(*_google(server))
    assert code == 0 and "6 rows" in out
    # One text comes twice; it is sent once a language.
    assert sum(server.answered.values()) == 2 * 7
  rows = _read(tmp_path / "out.jsonl")
  assert [(r["lang"], r["id"]) for r in rows] == [
      (lang, id_) for lang in ("he", "ru") for id_ in "abc"
  ]
  for row in rows:
    lang, source = row["lang"], ROWS["abc".index(row["id"])]
    if "messages" in source:
      for ours, theirs in zip(row["messages"], source["messages"]):
        assert ours["role"] == theirs["role"]
    assert row["translation"]["source"] == "en"
    assert row["translation"]["backend"] == "google"
    assert records.Instruction.from_row(row).lang == lang
  first = rows[3]
  assert first["topic"] == "x"
  add = stand_in.translate("Add", "ru")
  assert first["messages"][0]["content"].startswith(f"{add} {{n}} ")
  assert "5 km" in first["messages"][0]["content"]
  assert "```\nx = {n}\n```\n" in first["response"]
  assert first["response"].endswith(" https://a.org/b.")
  assert first["translation"]["flags"] == []
  summary = json.loads((tmp_path / "out.summary.json").read_text())
  assert summary["overall"]["rows"] == 6
  assert summary["languages"]["he"]["failed"] == 0
  assert not (tmp_path / "out.failed.jsonl").exists()


def test_a_second_study_pays_nothing_and_gets_the_same_bytes(mlit, tmp_path):
  with stand_in.StandIn() as server:
    mlit(*_google(server))
    requests = len(server.sizes)
    first = [(tmp_path / f"out.{e}").read_bytes()
             for e in ("jsonl", "summary.json")]
    assert mlit(*_google(server), output="two/out.jsonl")[0] == 0
    assert len(server.sizes) == requests
  assert first == [(tmp_path / "two" / f"out.{e}").read_bytes()
                   for e in ("jsonl", "summary.json")]


def test_prompts_only_leaves_responses_out(mlit, tmp_path):
  with stand_in.StandIn() as server:
    mlit(*_google(server), "--prompts_only")
  assert all("response" not in row for row in _read(tmp_path / "out.jsonl"))


def test_a_dry_run_tells_the_cost_and_makes_nothing(mlit, tmp_path):
  before = sorted(p.name for p in tmp_path.iterdir())
  code, out, _ = mlit("--dry-run", "--price", "20")
  assert code == 0
  # Seven texts a language; "See [[0]]." and "Done:" are two of them.
  texts = ["Add [[0]] to [[1]].", "Done:", "See [[0]].", "Be brief.",
           "First question", "First answer", "Second question"]
  size = sum(map(len, texts))
  he = next(line for line in out.splitlines() if line.startswith("he"))
  assert he.split() == ["he", "7", "0", "7", str(size), "0.00"]
  assert sorted(p.name for p in tmp_path.iterdir()) == before
  _, out, _ = mlit("--dry-run", "--price", "20", "--json")
  plan = json.loads(out)
  assert plan["overall"]["cost"] == pytest.approx(2 * size * 20 / 1e6)
  with stand_in.StandIn() as server:
    mlit(*_google(server), to="he")
    plan = json.loads(mlit("--dry-run", "--json")[1])
  assert plan["languages"]["he"]["missing"] == 0
  assert plan["languages"]["ru"]["missing"] == 7
  assert "cost" not in plan["overall"]


def test_the_cap_ends_the_run_with_words_on_how_to_go_on(mlit, tmp_path):
  with stand_in.StandIn() as server:
    options = (*_google(server), "--max_segments", "1", "--price", "1000000")
    code, _, err = mlit(*options, "--max_cost", "60")
    assert code == 1
    assert "cap of 60" in err and "the same command goes on" in err
    assert not (tmp_path / "out.jsonl").exists()
    assert mlit(*options)[0] == 0
    assert set(server.answered.values()) == {1}


def test_rows_without_a_translation_are_listed_not_dropped(mlit, tmp_path):
  def faults(number, request):
    if any("Second" in text for text in request.contents):
      return "INVALID_ARGUMENT:not this"

  with stand_in.StandIn(faults) as server:
    code, _, err = mlit(*_google(server), to="ru")
    assert code == 1 and "2 rows have no translation" in err
    failed = _read(tmp_path / "out.failed.jsonl")
    assert [(f["id"], f["lang"]) for f in failed] == [("b", "ru"), ("c", "ru")]
    assert "not this" in failed[0]["reason"]
    assert [r["id"] for r in _read(tmp_path / "out.jsonl")] == ["a"]
    server.faults = lambda number, request: None
    assert mlit(*_google(server), to="ru")[0] == 0
    assert set(server.answered.values()) == {1}
  assert not (tmp_path / "out.failed.jsonl").exists()
  assert len(_read(tmp_path / "out.jsonl")) == 3


def test_translations_made_elsewhere_are_checked_too(mlit, tmp_path):
  elsewhere = [
      {"id": "a", "lang": "ru", "prompt": "Прибавь {n} к 5 км.",
       "response": "Готово:\n```\nx = {n}\n```\nСм. https://a.org/b."},
      {"id": "b", "lang": "ru", "prompt": "Второй вопрос"},
  ]
  _write(tmp_path / "else.jsonl", elsewhere)
  code, _, err = mlit("--from-file", "else.jsonl", to="ru")
  assert code == 1 and "2 rows have no translation" in err
  row, = _read(tmp_path / "out.jsonl")
  assert row["translation"] == {
      "source": "en", "backend": "file", "flags": ["lost_placeholder"]
  }
  reasons = [f["reason"] for f in _read(tmp_path / "out.failed.jsonl")]
  assert "other turns" in reasons[0] and "no such row" in reasons[1]


def test_back_translation_is_scored(mlit, tmp_path):
  rows = [{"id": str(n), "lang": "en", "prompt": f"item {n} is here"}
          for n in range(20)]
  _write(tmp_path / "many.jsonl", rows)
  with stand_in.StandIn() as server:
    # The stand-in turns cases in German, and turns them back in English.
    options = (*_google(server), "--back_translate", "5")
    assert mlit(*options, to="de", rows="many.jsonl")[0] == 0
    back = [r for r in server.requests if r.target_language_code == "en"]
    assert sum(len(r.contents) for r in back) == 5
    summary = json.loads((tmp_path / "out.summary.json").read_text())
    scored = summary["languages"]["de"]["back_translation"]
    assert (scored["n"], scored["chrf"]) == (5, 100.0)
    requests = len(server.sizes)
    assert mlit(*options, to="de", rows="many.jsonl")[0] == 0
    assert len(server.sizes) == requests


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "he,xx9"), "unknown language 'xx9'"),
        (("--to", "he,iw"), "each language once"),
        (("--to", "en"), "is in en already"),
        (("--backend", "gogle"), "unknown back end 'gogle'"),
        (("--backend", "openai:gpt"), "openai:MODEL@URL"),
        (("--backend", "openai:m@https://user:pw@h/v1"), "must hold no user"),
        (("--backend", "google@h.example:1"), "must be local"),
        (("--backend", "local:nowhere"), "no model is there"),
        (("--max_cost", "5"), "--max_cost needs --price"),
        (("--price", "-1"), "0 or more"),
        (("--concurrency", "0"), "greater than 0"),
        (("--max_segments", "4000"), "1 to 1024"),
        (("--glossary", "he"), "LANG=ID"),
        (("--glossary", "he=g"), "--location"),
        (("--key_file", "none.txt", "--backend", "openai:m@http://h/v1"),
         "key file none.txt"),
        (("--from-file", "in.jsonl", "--dry-run"), "nothing to plan"),
        (("--wat",), "unknown argument"),
    ],
)
def test_wrong_use_is_one_line_and_makes_nothing(
    mlit, tmp_path, arguments, words
):
  before = sorted(tmp_path.rglob("*"))
  code, _, err = mlit(*arguments)
  assert code == 2
  assert words in err and err.count("\n") == 1
  assert "pw" not in err
  assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("row", "words", "expected"),
    [
        ({"id": "a"}, "in.jsonl:1: the row has no 'lang'", 1),
        (ROWS[0] | {"lang": "qq"}, "unknown language", 2),
        (None, "has no rows", 2),
    ],
)
def test_bad_rows_are_named(mlit, tmp_path, row, words, expected):
  _write(tmp_path / "in.jsonl", [row] if row else [])
  code, _, err = mlit("--dry-run")
  assert code == expected and words in err and err.count("\n") == 1


def test_no_credentials_is_one_line_without_a_secret(
    mlit, tmp_path, monkeypatch
):
  key = tmp_path / "key.json"
  key.write_text('{"type": "service_account", "private_key": "SECRET"}')
  monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
  code, out, err = mlit()
  assert code == 2
  assert "no Google credentials" in err and "SECRET" not in out + err


def _start(tmp_path, server, *options):
  return subprocess.Popen(
      [sys.executable, "-m", "mlit_jax.main", "translate", "many.jsonl",
       "--to", "ru", "--output", "out.jsonl", "--max_segments", "5",
       *_google(server), *options],
      cwd=tmp_path, stderr=subprocess.PIPE, text=True,
      env=os.environ | {"MLIT_REPLIES": str(tmp_path / "replies")},
  )


def _wait_for(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)


def _stored(tmp_path):
  with cache.Cache(tmp_path / "replies" / "translations.jsonl") as store:
    return len(store)


def test_after_a_kill_only_what_was_in_flight_is_asked_again(tmp_path):
  num = 600
  _write(tmp_path / "many.jsonl", [
      {"id": str(n), "lang": "en", "prompt": f"item {n}"} for n in range(num)
  ])
  with stand_in.StandIn(seconds=0.02) as server:
    process = _start(tmp_path, server)
    _wait_for(lambda: len(server.sizes) > 40)
    process.kill()
    process.communicate()
    _wait_for(lambda: server.under_way == 0)
    asked, stored = server.answered.total(), _stored(tmp_path)
    assert 0 < stored < num
    assert asked - stored <= 8 * 5  # eight requests of five segments
    process = _start(tmp_path, server)
    _, err = process.communicate()
    assert process.returncode == 0
    told = re.search(r"(\d+) requests \((\d+) segments, (\d+) char", err)
    assert int(told[1]) <= 8
    # Exactly those that were answered and not stored were asked for again.
    repeated = [k for k, count in server.answered.items() if count > 1]
    assert len(repeated) == asked - stored <= int(told[2])
    assert set(server.answered.values()) <= {1, 2}
    assert len(server.answered) == num
  assert len(_read(tmp_path / "out.jsonl")) == num
  # Told once.
  with stand_in.StandIn() as server:
    _, err = _start(tmp_path, server).communicate()
  assert "in flight" not in err and not server.sizes


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)]
)
def test_a_signal_waits_for_what_is_paid_for(tmp_path, number, code):
  _write(tmp_path / "many.jsonl", [
      {"id": str(n), "lang": "en", "prompt": f"item {n}"} for n in range(600)
  ])
  with stand_in.StandIn(seconds=0.05) as server:
    process = _start(tmp_path, server)
    _wait_for(lambda: len(server.sizes) > 10)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert "the same command goes on from here" in err
    assert server.answered.total() == _stored(tmp_path) < 600
  assert not (tmp_path / "out.jsonl").exists()
  assert [p.name for p in (tmp_path / "replies").iterdir()] == [
      "translations.jsonl"
  ]


@pytest.mark.slow
def test_ten_thousand_segments_survive_faults_and_kills(tmp_path):
  """One request in ten goes wrong, and the process is killed three times."""
  num, chance = 10_000, random.Random(3)
  kinds = ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "half", "swap", "escape",
           "hang", "INTERNAL", "empty"]
  _write(tmp_path / "many.jsonl", [
      {"id": str(n), "lang": "en", "prompt": f"item {n}"} for n in range(num)
  ])

  def faults(number, request):
    return chance.choice(kinds) if chance.random() < 0.1 else None

  options = ("--timeout", "1", "--concurrency", "16")
  told = 0
  with stand_in.StandIn(faults, seconds=0.005) as server:
    for kill in range(4):
      process = _start(tmp_path, server, *options)
      if kill < 3:
        goal = len(server.sizes) + 300
        _wait_for(lambda goal=goal: len(server.sizes) > goal)
        process.kill()
      _, err = process.communicate()
      found = re.search(r"(\d+) requests \((\d+) segments", err)
      told += int(found[2]) if found else 0
      assert not found or int(found[1]) <= 16
    assert process.returncode == 0, err
    repeated = server.answered.total() - num
    assert len(server.answered) == num  # nothing lost
  # Nothing that reached the disk was asked for again: what was answered twice
  # was in flight at a kill, and was told.
  assert repeated <= told <= 3 * 16 * 5
  rows = _read(tmp_path / "out.jsonl")
  assert [r["messages"][0]["content"] for r in rows] == [
      stand_in.translate(f"item {n}", "ru") for n in range(num)
  ]
