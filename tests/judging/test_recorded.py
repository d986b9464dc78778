"""Judges that are files: recorded judgments, people's, a local model's."""

import dataclasses

import pytest

from mlit_jax import cache, records
from mlit_jax.judging import judges, local, protocols, recorded, specs

PROMPTS = [
    records.Instruction(str(i), "en", (records.Message("user", f"q{i}"),))
    for i in range(3)
]


def _answers(model):
  return [
      records.Response(str(i), "en", model, f"{model}{i}", "stop", 1)
      for i in range(3)
  ]


class _Letters:
  name = "letters"
  reads_prompt = True

  def judge(self, requests):
    replies = ["[[A]]", "[[8, 3]]", "[[2]]"]
    place = {"side_by_side": 0, "score_pair": 1, "rating": 2}
    return [
        judges.Reply("No.", "refused") if r.id == "2"
        else judges.Reply(replies[place[r.protocol]], usage={"input": 3})
        for r in requests
    ]


def _run(judge, spec, protocol="side_by_side"):
  protocol = protocols.PROTOCOLS[protocol]
  b = _answers("B") if protocol.paired else None
  return protocols.judge(protocol, judge, spec, PROMPTS, _answers("A"), b)


@pytest.mark.parametrize("protocol", ["side_by_side", "score_pair", "rating"])
def test_a_replay_gives_the_same_judgments(tmp_path, protocol):
  path = tmp_path / "j.jsonl"
  first = _run(_Letters(), "openai:m", protocol)
  records.write_records(path, first)
  judge = recorded.RecordedJudge("replay", path)
  assert _run(judge, "openai:m", protocol) == first


@pytest.mark.parametrize("protocol", ["side_by_side", "score_pair", "rating"])
def test_people_need_no_words(tmp_path, protocol):
  path = tmp_path / "j.jsonl"
  first = _run(_Letters(), "x", protocol)
  records.write_records(
      path, [dataclasses.replace(j, raw="", usage={}) for j in first]
  )
  found = _run(recorded.RecordedJudge("human", path), "x", protocol)
  assert [(j.verdict, j.score, j.scores, j.failure) for j in found] == [
      (j.verdict, j.score, j.scores, j.failure) for j in first
  ]


def test_what_the_file_lacks_is_named(tmp_path):
  path = tmp_path / "j.jsonl"
  first = _run(_Letters(), "x")
  records.write_records(path, first[:-1])
  with pytest.raises(
      judges.JudgeError, match=r"no judgment of 2 en.*order ba.*--both_orders"
  ):
    _run(recorded.RecordedJudge("r", path), "x")
  other = [dataclasses.replace(j, system_a="C") for j in first]
  records.write_records(path, other)
  with pytest.raises(judges.JudgeError, match=r"A against B"):
    _run(recorded.RecordedJudge("r", path), "x")
  records.write_records(path, [*first, first[0]])
  with pytest.raises(judges.JudgeError, match="two judgments of 0 en"):
    recorded.RecordedJudge("r", path)


def test_a_local_model_is_asked_once_and_as_one_batch(tmp_path):
  batches = []

  def generate(prompts, seeds):
    batches.append((prompts, seeds))
    for i in reversed(range(len(prompts))):
      failed = "q2" in prompts[i][-1].content
      yield i, judges.Reply(
          "too long" if failed else f"[[A]] {prompts[i][-1].content}",
          "transport" if failed else "",
      )

  with cache.Cache(tmp_path / "r") as store:
    judge = local.LocalJudge("local:x", generate, {"model": "1"}, store)
    first = _run(judge, "local:x")
    assert len(batches) == 1 and len(batches[0][0]) == 6
    assert len(set(batches[0][1])) == 6
    assert [j.verdict for j in first] == ["a", "b", "a", "b", "", ""]
    assert [j.failure for j in first[4:]] == ["transport"] * 2
    assert all("q0" in j.raw for j in first[:2])
    assert _run(judge, "local:x") == first
    assert [len(prompts) for prompts, _ in batches] == [6, 2]
    # The same question has the same seed, whoever its neighbours are.
    assert batches[1][1] == batches[0][1][4:]
    other = local.LocalJudge("local:x", generate, {"model": "2"}, store)
    _run(other, "local:x")
    assert len(batches[2][0]) == 6


@pytest.mark.parametrize(
    ("text", "kind", "name", "address"),
    [
        ("openai:gpt", "openai", "gpt", ""),
        ("openai:org/m@1@http://h:8000/v1", "openai", "org/m@1",
         "http://h:8000/v1"),
        ("gemini:g", "gemini", "g", ""),
        ("gemini:g@p/europe-west4", "gemini", "g", "p/europe-west4"),
        ("gemini:g@https://h", "gemini", "g", "https://h"),
        ("local:runs/m", "local", "runs/m", ""),
        ("reference", "reference", "", ""),
        ("replay:J.jsonl", "replay", "J.jsonl", ""),
        ("human:J.jsonl", "human", "J.jsonl", ""),
    ],
)
def test_specifications(text, kind, name, address):
  assert specs.parse(text) == specs.Spec(text, kind, name, address)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpt-4", "unknown judge 'gpt-4'; known: openai:MODEL"),
        ("openai:", "unknown judge"),
        ("reference:x", "unknown judge"),
        ("openai:@http://h", "names no model"),
        ("openai:m@http://user:pw@h/v1", "address of h holds more"),
        ("openai:m@https://h/v1?key=abc", "address of h holds more"),
        ("openai:m@https://h/v1#abc", "address of h holds more"),
        ("openai:m@http:///v1", "is no address"),
        ("openai:m@http://h:99999/v1", "is no address"),
        ("openai:m@http://user:pw@h:99999/v1?abc", "'h:99999/v1' is no"),
        ("openai:http://h/v1", "names no model: openai:MODEL@URL"),
        ("openai:http://user:pw@h/v1", "address of h holds more"),
        ("gemini:g@nowhere", "PROJECT/LOCATION"),
    ],
)
def test_wrong_specifications(text, words):
  with pytest.raises(ValueError, match=words) as e:
    specs.parse(text)
  assert "pw" not in str(e.value) and "abc" not in str(e.value)


def test_a_key_is_needed_where_one_is(monkeypatch):
  for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
    monkeypatch.delenv(name, raising=False)
  for text in ("openai:m", "gemini:m"):
    spec = specs.parse(text)
    with pytest.raises(ValueError, match="needs an API key: set"):
      specs.make_vendor(spec)
    assert specs.make_vendor(spec, need_key=False).identity
  own = specs.parse("openai:m@http://127.0.0.1:1/v1")
  assert specs.make_vendor(own).headers == {}
  monkeypatch.setenv("OPENAI_API_KEY", "k")
  assert specs.make_vendor(own).headers == {"Authorization": "Bearer k"}
  vertex = specs.make_vendor(specs.parse("gemini:m@p/l"))
  assert vertex.identity["vertex"] == ["p", "l"]
