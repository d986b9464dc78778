"""`mlit judge` as a user runs it, against a local server and tiny models."""

import json
import pathlib
import subprocess
import sys

import pytest

from mlit_jax import main

JUDGE_SERVER = pathlib.Path(__file__).parents[1] / "judging/judge_server.py"
KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def url():
  process = subprocess.Popen(
      [sys.executable, str(JUDGE_SERVER)], stdout=subprocess.PIPE, text=True
  )
  try:
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def control(url):
  import urllib.request

  def control(**options):
    data = json.dumps(options).encode()
    urllib.request.urlopen(f"{url}/control", data).close()

  control()
  return control


def _write(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


@pytest.fixture
def files(tmp_path):
  """--prompts, --a and --b of six items in two languages."""
  prompts, answers = [], {"A": [], "B": []}
  for lang in ("en", "fi"):
    for i in range(3):
      prompts.append({
          "id": str(i), "lang": lang, "prompt": f"{lang} question {i}",
          "context": "some context",
      })
      for model, text in (("A", "good" if i else ""), ("B", "a long one")):
        answers[model].append({
            "id": str(i), "lang": lang, "model": model, "response": text,
            "finish_reason": "stop", "num_tokens": 1,
        })
  return {
      "prompts": _write(tmp_path / "P.jsonl", prompts),
      "a": _write(tmp_path / "A.jsonl", answers["A"]),
      "b": _write(tmp_path / "B.jsonl", answers["B"]),
  }


@pytest.fixture
def mlit(capsys, files, tmp_path):
  """Runs `mlit judge`; returns exit code, output, judgments and summary."""

  def mlit(protocol, judge, *options, b=False, output="J.jsonl"):
    path = tmp_path / output
    argv = ["judge", protocol, "--judge", judge, "--output", str(path)]
    given = dict(files)
    if not b:
      del given["b"]
    for name, value in given.items():
      if f"--{name}" not in options:
        argv += [f"--{name}", value]
    try:
      code = main.main([*argv, *options])
    except SystemExit as e:
      code = e.code
    out = capsys.readouterr()
    rows, summary = [], None
    if path.exists():
      rows = [json.loads(line) for line in path.read_text().splitlines()]
      summary = json.loads(path.with_suffix(".summary.json").read_text())
    return code, out.out + out.err, rows, summary

  return mlit


def test_side_by_side_goes_on_where_it_stopped(
    url, control, mlit, tmp_path, monkeypatch
):
  monkeypatch.setenv("OPENAI_API_KEY", KEY)
  control(secret=KEY, taste="good")
  judge = f"openai:m@{url}/v1"
  code, out, rows, summary = mlit("side_by_side", judge, b=True)
  assert (code, len(rows)) == (0, 12)
  assert rows[0]["prompt"] == "side_by_side-1.en"
  assert rows[0]["judge"] == judge and set(rows[0]["gate"]) == {"a", "b"}
  assert summary["fi"]["score"] == round(100 * (2 + 0.5) / 3, 6)
  assert summary["overall"]["n"] == 6 and "83.3 for" in out
  # Everything is stored: the provider may be gone.
  control(faults={"500": 1})
  assert mlit("side_by_side", judge, b=True)[2] == rows
  texts = [p.read_text() for p in tmp_path.iterdir() if p.is_file()]
  assert not any(KEY in text for text in [out, *texts])


def test_every_protocol_runs(url, control, mlit, tmp_path):
  judge = f"openai:m@{url}/v1"
  rubric = tmp_path / "rubric.txt"
  rubric.write_text("Kindness counts.")
  _, _, rows, summary = mlit("rating", judge, "--prompt_language",
                             "instruction")
  assert [r["score"] for r in rows] == [1, 2, 2] * 2
  assert rows[-1]["prompt"] == "rating-1.fi"
  assert summary["en"]["sum"] == 5 and summary["en"]["ungated"]["sum"] == 5
  _, _, rows, summary = mlit("correctness", judge)
  assert summary["overall"]["score"] == round(4 / 6, 6)
  _, _, rows, summary = mlit("score_pair", judge, b=True)
  assert rows[1]["scores"] == {"a": 1, "b": 10}
  assert summary["en"]["scores"] == {"a": round(11 / 3, 6), "b": 10}
  _, _, rows, _ = mlit("rubric", judge, "--rubric", str(rubric))
  assert {r["prompt"] for r in rows} == {"rubric-1.en"}
  _, _, rows, _ = mlit("mt_bench", judge)
  assert {r["protocol"] for r in rows} == {"mt_bench"}
  _, _, rows, _ = mlit("mt_bench", judge, b=True)
  assert {r["protocol"] for r in rows} == {"mt_bench_pair"}
  _, _, rows, _ = mlit("side_by_side", judge, "--samples", "3",
                       "--temperature", "1", b=True)
  assert [r.get("sample", 0) for r in rows[:6]] == [0, 1, 2] * 2
  _, _, again, _ = mlit("side_by_side", f"replay:{tmp_path / 'J.jsonl'}",
                        "--samples", "3", b=True, output="K.jsonl")
  drop = ("judge",)
  assert [{k: v for k, v in r.items() if k not in drop} for r in again] == [
      {k: v for k, v in r.items() if k not in drop} for r in rows
  ]


def test_fastchats_files(url, control, mlit, tmp_path):
  questions = _write(tmp_path / "question.jsonl", [
      {"question_id": 81, "category": "math", "turns": ["q1", "q2"]}
  ])
  answers = _write(tmp_path / "answer.jsonl", [{
      "question_id": 81, "model_id": "gpt",
      "choices": [{"index": 0, "turns": ["good", "bad"]}],
  }])
  judge, theirs = f"openai:m@{url}/v1", tmp_path / "theirs.jsonl"
  options = ("--prompts", questions, "--a", answers, "--fastchat_output",
             str(theirs))
  code, out, rows, summary = mlit("mt_bench", judge, "--lang", "German",
                                  *options)
  assert code == 0 and [r["lang"] for r in rows] == ["de", "de"]
  assert summary["de"]["turns"] == {"1": 2, "2": 1}
  assert "2 turns of coding, math, reasoning have no reference" in out
  (first, second) = map(json.loads, theirs.read_text().splitlines())
  assert (first["question_id"], second["turn"]) == (81, 2)
  assert first["user_prompt"].startswith("<judge:question>\nq1")
  code, out, *_ = mlit("mt_bench", judge, *options)
  assert code == 2 and "give --lang" in out


def test_a_dry_run_asks_nothing(url, control, mlit, tmp_path):
  control(faults={"500": 1})
  options = ("--dry-run", "--price", "1000,2000", "--max_tokens", "10")
  code, out, rows, _ = mlit("rating", f"openai:m@{url}/v1", *options)
  assert (code, rows) == (0, [])
  assert "6 requests, 0 of them answered before" in out
  assert "at most 60 out" in out and "cost: at most about" in out
  assert not (tmp_path / "replies.jsonl").exists()
  # No key is needed to know what it would cost.
  assert mlit("rating", "gemini:g", *options)[0] == 0


def test_the_cap_stops_it_and_a_second_run_goes_on(url, control, mlit):
  judge = f"openai:m@{url}/v1"
  options = ("--price", "1000000,1000000", "--concurrency", "1",
             "--max_tokens", "10")
  code, out, rows, _ = mlit("rating", judge, *options, "--max_cost", "1200")
  assert (code, rows) == (1, []) and "cap of 1200" in out
  assert out.count("\n") == 1
  code, out, rows, _ = mlit("rating", judge, *options, "--max_cost", "9000")
  assert (code, len(rows)) == (0, 6)
  assert "cost of this run:" in out and "660.0000" not in out


def test_failures_are_told(url, control, mlit):
  judge = f"openai:m@{url}/v1"
  control(always=["refusal", "empty_text", "empty_text", "wrong_language"])
  code, out, rows, summary = mlit(
      "rating", judge, "--concurrency", "1", "--no_ask_again"
  )
  assert [r["failure"] for r in rows] == [
      "refused", "empty", "empty", "unparsable", "", ""
  ]
  assert code == 0 and "4 of 6 judgments failed: empty 2, refused 1," in out
  assert summary["overall"]["parse_failure_rate"] == 0.5
  # Asked once more, in other words.
  code, out, rows, _ = mlit("rating", judge)
  assert [r["failure"] for r in rows] == ["refused"] + [""] * 5
  assert rows[1]["earlier"] == [""]
  control(faults={"refusal": 1})
  code, out, *_ = mlit("rubric", judge, "--rubric", __file__)
  assert code == 1 and "no score" in out


def test_reasons_of_transport_failures_are_told(url, control, mlit):
  control(always=["400", "400", "500", "500"])
  code, out, _, summary = mlit(
      "rating", f"openai:m@{url}/v1", "--concurrency", "1", "--attempts", "2"
  )
  told = "HTTP {} from 127.0.0.1: {{\"error\": {{\"code\": {}, \"message\": "
  assert code == 0 and "3 of 6 judgments failed: transport 3; run" in out
  for status, count in (("400", 2), ("500", 1)):
    start = told.format(status, status)
    assert f"\n  {count} x {start}" in out
    (found,) = (
        n for reason, n in summary["overall"]["transport_reasons"].items()
        if reason.startswith(start)
    )
    assert found == count
  assert sum(summary["en"]["transport_reasons"].values()) == 3
  assert "transport_reasons" not in summary["fi"]


def test_a_batch_job(url, control, mlit, tmp_path):
  code, _, rows, _ = mlit("rating", f"openai:m@{url}/v1", "--batch",
                          "--poll_seconds", "0.01")
  assert (code, len(rows)) == (0, 6)


@pytest.mark.parametrize(
    ("protocol", "judge", "options", "words"),
    [
        ("side_by_side", "gpt", (), "unknown judge 'gpt'"),
        ("side_by_side", "openai:m@http://h", (), "judges two systems"),
        ("side_by_side", "openai:m@http://h", ("--b", "A"),
         "both systems are called 'A'; give"),
        ("rating", "openai:m@ftp://h", (), "is no address"),
        ("rating", "openai:m@http://h", ("--samples", "2"), "--temperature"),
        ("rating", "openai:m@http://h", ("--samples", "0"), "at least 1"),
        ("rating", "openai:m@http://h", ("--max_cost", "1"), "--price"),
        ("rating", "openai:m@http://h", ("--max_cost", "-1"), "from 0 up"),
        ("rating", "openai:m@http://h", ("--price", "1"), "two numbers"),
        ("rating", "openai:m@http://h", ("--request_options", "x"), "JSON"),
        ("rating", "openai:m@http://h", ("--request_options",
         '{"x": {"Authorization": "k"}}'), "'Authorization' looks like"),
        ("rating", "openai:m@http://h", ("--request_options", '{"x": NaN}'),
         "--request_options: Out of range"),
        ("rubric", "openai:m@http://h", ("--rubric", "no"), "no: cannot be"),
        ("rubric", "openai:m@http://h", ("--rubric", "/bin/sh"),
         "cannot be read: UnicodeDecodeError"),
        ("rubric", "openai:m@http://h", ("--rubric", "/dev/null"),
         "the rubric is empty"),
        ("rating", "openai:m@http://h", ("--timeout", "0"), "--timeout"),
        ("rating", "local:d", ("--batch",), "--batch is for openai"),
        ("rating", "gemini:m@p/l", ("--batch",), "through Cloud Storage"),
        ("rating", "gemini:m", (), "GEMINI_API_KEY"),
        ("rating", "gemini:m", ("--prompt_language", "xx"), "'xx'"),
        ("rating", "gemini:m", ("--prompt_file", "none.txt"), "none.txt"),
        ("rating", "gemini:m", ("--rubric", "x"), "protocol rubric"),
        ("rubric", "openai:m@http://h", (), "no field 'rubric'"),
        ("rating", "openai:m@http://h", ("--lang", "de"), "FastChat's"),
        ("rating", "openai:m@http://h", ("--key_file", "no"), "no: cannot be"),
        ("rating", "reference", ("--dry-run",), "costs nothing"),
        ("rating", "openai:m@http://h", ("--cash",), "unknown argument"),
        ("rating", "gemini:m@p/l", ("--gate", "pocket", "--prompts", "xh"),
         "not xh"),
    ],
)
def test_wrong_use_is_one_line(
    mlit, tmp_path, monkeypatch, protocol, judge, options, words
):
  for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
    monkeypatch.delenv(name, raising=False)
  if "xh" in options:
    row = {"id": "1", "lang": "xh"}
    prompt = _write(tmp_path / "xh.jsonl", [row | {"prompt": "?"}])
    answer = _write(tmp_path / "a.jsonl", [row | {
        "model": "A", "response": "", "finish_reason": "stop", "num_tokens": 1,
    }])
    options = (*options[:-1], prompt, "--a", answer)
  if options == ("--b", "A"):
    options = ("--b", str(tmp_path / "A.jsonl"))
  code, out, rows, _ = mlit(protocol, judge, *options)
  assert (code, rows) == (2, []) and words in out
  assert out.count("\n") == 1
  assert not (tmp_path / "replies.jsonl").exists()


def test_no_input_is_written_over(mlit, files):
  path = pathlib.Path(files["a"])
  before = path.read_text()
  code, out, _, _ = mlit("rating", "openai:m@http://h", "--output", files["a"])
  assert code == 2 and "would be written over" in out
  assert path.read_text() == before


def test_stored_replies_are_not_written_over(url, mlit, tmp_path):
  judge = f"openai:m@{url}/v1"
  code, _, _, _ = mlit("mt_bench", judge)
  replies = tmp_path / "replies.jsonl"
  before = replies.read_bytes()
  assert code == 0 and before
  code, out, _, _ = mlit("mt_bench", judge, "--output", str(replies))
  assert code == 2 and "replies.jsonl would be written over" in out
  code, out, _, _ = mlit("mt_bench", judge, "--fastchat_output", str(replies))
  assert code == 2 and "replies.jsonl would be written over" in out
  assert replies.read_bytes() == before
  code, out, _, _ = mlit(
      "mt_bench", judge, "--fastchat_output", str(tmp_path / "J.summary.json")
  )
  assert code == 2 and "J.summary.json would be written twice" in out


def test_help_has_an_example_per_protocol(capsys):
  with pytest.raises(SystemExit):
    main.main(["judge", "--help"])
  out = capsys.readouterr().out
  for protocol in (
      "side_by_side", "rating", "mt_bench", "correctness", "score_pair",
      "rubric",
  ):
    assert f"mlit judge {protocol} --judge" in out
