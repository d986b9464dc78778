"""Judges behind an API, against a server that misbehaves."""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import time

import pytest

from mlit_jax import cache
from mlit_jax.judging import (
    gemini,
    judges,
    keys,
    openai_chat,
    pacing,
    remote,
)

KEY = "sk-very-secret-0123456789"
QUICK = {"first_wait": 0.01, "timeout": 5}


def _vendor(server, kind="openai", **options):
  if kind == "gemini":
    return gemini.Gemini("m", key=KEY, url=server.url, **options)
  return openai_chat.OpenAIChat("m", f"{server.url}/v1", key=KEY, **options)


@pytest.fixture
def store(tmp_path):
  with cache.Cache(tmp_path / "replies.jsonl") as store:
    yield store


@pytest.fixture(params=["openai", "gemini"])
def vendor(server, request):
  return _vendor(server, request.param)


def _judge(vendor, store, *, journal=None, **limits):
  return remote.RemoteJudge(
      "judge", vendor, store, pacing.Limits(**QUICK | limits), journal=journal
  )


def test_replies_come_in_order_and_are_asked_for_once(
    server, vendor, store, make_requests
):
  server.control(taste="longer")
  requests = make_requests(30)
  requests += requests[:5]
  judge = _judge(vendor, store)
  replies = judge.judge(requests)
  # Of "bb" and a number's digits the longer one wins.
  wanted = ["B"] * 10 + ["C"] * 20 + ["B"] * 5
  assert [r.text for r in replies] == [
      f"I have weighed it.\n[[{letter}]]" for letter in wanted
  ]
  assert replies[0] == judges.Reply(
      replies[0].text, "", "stop", "judge-of-today",
      {"input": 100, "output": 10},
  )
  assert server.stats()["requests"] == judge.sent == 30
  assert _judge(vendor, store).judge(requests) == replies
  assert server.stats()["requests"] == 30


@pytest.mark.parametrize("fault", ["429", "429_after", "500", "truncated",
                                   "hang"])
def test_what_fails_for_now_is_asked_again(
    server, vendor, store, make_requests, fault
):
  server.control(always=[fault])
  judge = _judge(vendor, store, timeout=1.5)
  (reply,) = judge.judge(make_requests(1))
  assert reply.text.endswith("[[B]]")
  assert (judge.sent, judge.retried) == (2, 1)
  assert sum(server.stats()["asked"].values()) == 2


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        ("empty_choice", judges.Reply("")),
        ("empty_text", judges.Reply("", finish_reason="stop")),
        ("cut", judges.Reply("I have weighed it.\n[[B]]",
                             finish_reason="length")),
        ("refusal", judges.Reply("I will not.", "refused")),
    ],
)
def test_a_reply_that_is_no_verdict_is_a_reply(
    server, vendor, store, make_requests, fault, reply
):
  server.control(always=[fault])
  (found,) = _judge(vendor, store).judge(make_requests(1))
  if fault == "refusal" and isinstance(vendor, gemini.Gemini):
    reply = judges.Reply("SAFETY", "refused")
  assert (found.text, found.failure, found.finish_reason) == (
      reply.text, reply.failure, reply.finish_reason
  )
  # It was paid for: it is not asked for again.
  assert _judge(vendor, store).judge(make_requests(1)) == [found]
  assert server.stats()["requests"] == 1


def test_what_fails_for_good_is_typed_and_not_stored(
    server, vendor, store, make_requests
):
  server.control(always=["500"] * 3)
  judge = _judge(vendor, store, attempts=3, concurrency=1)
  first, second = judge.judge(make_requests(2))
  assert first.failure == "transport" and "500" in first.text
  assert second.failure == ""
  assert len(store) == 1
  (again,) = judge.judge(make_requests(1))
  assert again.failure == ""
  server.control(always=["400"])
  (rejected,) = judge.judge(make_requests(1, system="other [[A]]"))
  assert rejected.failure == "transport" and "400" in rejected.text
  assert server.stats()["requests"] == 1


def test_a_wrong_key_stops_everything_at_once(
    server, vendor, store, make_requests
):
  server.control(secret="another key")
  judge = _judge(vendor, store, concurrency=4)
  with pytest.raises(judges.JudgeError, match="401") as e:
    judge.judge(make_requests(200))
  assert server.stats()["requests"] <= 8
  assert KEY not in str(e.value) and "[key]" in str(e.value)


def test_when_nothing_works_it_says_so(server, store, make_requests):
  server.control(faults={"400": 1})
  judge = _judge(_vendor(server), store, concurrency=4)
  with pytest.raises(judges.JudgeError, match="first 20 requests failed"):
    judge.judge(make_requests(500))
  assert server.stats()["requests"] < 30
  nobody = openai_chat.OpenAIChat("m", "http://127.0.0.1:9/v1")
  with pytest.raises(judges.JudgeError, match="ConnectError at http"):
    _judge(nobody, store, attempts=2, concurrency=20).judge(make_requests(40))


def test_retry_after_is_honoured(server, vendor, store, make_requests):
  server.control(always=["429_after"], retry_after="0.7")
  began = time.monotonic()
  _judge(vendor, store).judge(make_requests(1))
  assert time.monotonic() - began >= 0.7
  first, second = server.stats()["times"]
  assert second - first >= 0.7
  server.control(always=["429_after"], retry_after="3600")
  with pytest.raises(judges.JudgeError, match="asks to wait 3600 s"):
    _judge(vendor, store).judge(make_requests(1, system="other [[A]]"))


def test_retry_after_may_be_a_date():
  assert openai_chat.retry_after("12") == 12
  assert openai_chat.retry_after("-1") == 0
  assert openai_chat.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
  assert openai_chat.retry_after("Wed, 21 Oct 2093 07:28:00 GMT") > 1e9
  assert openai_chat.retry_after("soon") is None
  assert openai_chat.retry_after(None) is None


def test_waits_grow_and_differ():
  limits = pacing.Limits(first_wait=1, longest_wait=8)
  for attempt, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
    waits = {limits.wait(attempt, None) for _ in range(50)}
    assert len(waits) == 50
    assert longest / 2 <= min(waits) and max(waits) <= longest
  assert limits.wait(1, 5) >= 5.5


def test_concurrency_is_bounded(server, vendor, store, make_requests):
  server.control(latency=0.1, together=7)
  _judge(vendor, store, concurrency=7).judge(make_requests(60))
  assert server.stats()["most"] == 7


def test_rates_are_held(server, store, make_requests):
  judge = _judge(_vendor(server), store, requests_per_minute=3000)
  began = time.monotonic()  # the server's clock, too
  judge.judge(make_requests(50))
  # 50 a second: the last of fifty is sent 0.98 s after the first.
  assert server.stats()["times"][-1] - began >= 0.98
  # 110 tokens each at 220 a second: what the replies hold counts, too.
  server.control()
  judge = _judge(
      _vendor(server), store, tokens_per_minute=60 * 1100, concurrency=1
  )
  began = time.monotonic()
  judge.judge(make_requests(8, system="other [[A]]"))
  assert server.stats()["times"][-1] - began >= 0.55


def test_the_cap_is_not_passed_and_what_was_paid_is_kept(
    server, vendor, store, make_requests
):
  # 100 tokens in and 10 out: 120 a reply.
  prices = (1e6, 2e6)
  judge = _judge(
      vendor, store, prices=prices, max_cost=6000, concurrency=8
  )
  with pytest.raises(pacing.CapReached, match="the cap of 6000"):
    judge.judge(make_requests(100))
  asked = server.stats()["requests"]
  assert judge.spent == 120 * asked == 120 * len(store)
  # One reply may have 1,024 tokens: it stops short by less than that costs.
  assert 6000 - 2048 - 400 < judge.spent <= 6000
  judge = _judge(vendor, store, prices=prices, max_cost=1e6)
  assert len(judge.judge(make_requests(100))) == 100
  assert judge.spent == 120 * (100 - asked)


@pytest.mark.parametrize(
    "behaviour", [{"tells_usage": False}, {"faults": {"truncated": 1}}]
)
def test_a_reply_of_unknown_cost_may_have_cost_the_most(
    server, vendor, store, make_requests, behaviour
):
  server.control(**behaviour)
  judge = _judge(
      vendor, store, prices=(0, 1e6), max_cost=5 * 1024, attempts=2,
      concurrency=2,
  )
  with pytest.raises(pacing.CapReached):
    judge.judge(make_requests(20))
  assert judge.spent == 5 * 1024
  assert server.stats()["requests"] == 5


def test_a_plan_costs_nothing(server, store, make_requests):
  vendor = _vendor(server, max_tokens=50)
  requests = make_requests(10)
  _judge(vendor, store).judge(requests[:4])
  plan = remote.plan(
      vendor.identity, 50, store, pacing.Limits(prices=(2, 3)),
      [*requests, *requests],
  )
  assert (plan.requests, plan.stored, plan.output_tokens) == (10, 4, 300)
  # Four bytes a token: 31 of the system's words, 76 of the user's; 16 more.
  assert plan.input_tokens == 6 * (27 + 16)
  assert plan.cost == pytest.approx((2 * plan.input_tokens + 900) / 1e6)
  assert server.stats()["requests"] == 4


def test_everything_that_could_change_a_reply_is_in_its_key(make_requests):
  def names(vendor, requests):
    return {remote.name(vendor.identity, r) for r in requests}

  (request,) = make_requests(1)
  url = "http://h/v1"
  vendors = [
      openai_chat.OpenAIChat("m", url), openai_chat.OpenAIChat("n", url),
      openai_chat.OpenAIChat("m", url + "x"),
      openai_chat.OpenAIChat("m", url, temperature=1),
      openai_chat.OpenAIChat("m", url, max_tokens=2),
      openai_chat.OpenAIChat("m", url, options={"seed": 1}),
      gemini.Gemini("m"), gemini.Gemini("m", vertex=("p", "l")),
      gemini.Gemini("m", vertex=("p", "k")), gemini.Gemini("m", temperature=1),
  ]
  found = [names(vendor, [request]) for vendor in vendors]
  assert len(set.union(*found)) == len(vendors)
  # A key is no part of it.
  assert names(openai_chat.OpenAIChat("m", url, key="k"), [request]) == found[0]
  changed = [
      request, dataclasses.replace(request, order="ba"),
      dataclasses.replace(request, sample=1),
      dataclasses.replace(request, prompt=request.prompt[:1]),
  ]
  assert len(names(vendors[0], changed)) == 4
  # Who is judged is none: the same words get the same reply.
  assert len(names(vendors[0], [
      request, dataclasses.replace(request, id="x", systems=("y",))
  ])) == 1


def test_options_go_into_the_request(server, store, make_requests):
  vendor = _vendor(
      server, options={"max_tokens": None, "max_completion_tokens": 7}
  )
  body = vendor.body(make_requests(1)[0])
  assert "max_tokens" not in body and body["max_completion_tokens"] == 7
  assert body["messages"][0]["role"] == "system"
  # Google's client checks its own.
  bad = _vendor(server, "gemini", options={"colour": "red"})
  with pytest.raises(judges.JudgeError, match="colour"):
    _judge(bad, store).judge(make_requests(1))


def test_gemini_on_vertex(server, store, make_requests, monkeypatch):
  credentials = pytest.importorskip("google.oauth2.credentials")
  vendor = gemini.Gemini(
      "m", vertex=("project", "europe-west4"), url=server.url,
      credentials=credentials.Credentials(KEY),
  )
  (reply,) = _judge(vendor, store).judge(make_requests(1))
  assert reply.text.endswith("[[B]]")


def test_it_runs_inside_an_event_loop(server, store, make_requests):
  async def notebook():
    return _judge(_vendor(server), store).judge(make_requests(2))

  assert len(asyncio.run(notebook())) == 2


def test_keys_show_nowhere(
    server, vendor, store, make_requests, tmp_path, caplog, capfd
):
  caplog.set_level(logging.DEBUG)
  server.control(
      faults={"400": 0.2, "500": 0.2, "429": 0.1, "truncated": 0.1}, seed=3
  )
  journal = tmp_path / "journal"
  judge = _judge(vendor, store, journal=journal, attempts=2)
  replies = judge.judge(make_requests(60))
  failed = [r for r in replies if r.failure]
  assert failed and any("[key]" in r.text for r in failed)
  out = capfd.readouterr()
  texts = [
      caplog.text, out.out, out.err, repr(replies), repr(vendor.identity),
      (tmp_path / "replies.jsonl").read_text(),
  ]
  assert caplog.records
  assert not any(KEY in text for text in texts)


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
  path = tmp_path / "key"
  path.write_text(f"{KEY}\n")
  assert keys.read(["X_KEY"], path) == KEY
  monkeypatch.setenv("X_KEY", " other ")
  assert keys.read(["W_KEY", "X_KEY"], None) == "other"
  assert keys.read(["W_KEY"], None) == ""
  for text in ("", f"key = {KEY}", "ключ"):
    path.write_text(text)
    with pytest.raises(ValueError, match="expected one key") as e:
      keys.read([], path)
    assert KEY not in str(e.value)
  with pytest.raises(ValueError, match="cannot be read"):
    keys.read([], tmp_path / "nothing")
  for text in (f"{KEY} {KEY}", f"{KEY}\n{KEY}", "ключ", f"{KEY}\x01"):
    monkeypatch.setenv("X_KEY", text)
    with pytest.raises(ValueError, match="X_KEY: expected one key") as e:
      keys.read(["X_KEY"], None)
    assert KEY not in str(e.value)


def test_a_key_that_is_none_changes_no_reply(server, store, make_requests):
  server.control(taste="longer")
  requests = make_requests(1)
  vendor = openai_chat.OpenAIChat("m", f"{server.url}/v1", key="B")
  (reply,) = _judge(vendor, store).judge(requests)
  assert "[[B]]" in reply.text


def test_the_state_of_a_run_is_shown(server, store, make_requests):
  lines = []
  vendor = _vendor(server)
  remote.RemoteJudge(
      "j", vendor, store, pacing.Limits(prices=(1, 1)), show=lines.append
  ).judge(make_requests(120))
  told = [line.split(", cost ") for line in lines]
  assert [text for text, _ in told] == [
      f"{n}/120 replies, 0 asked again, 0 failed" for n in (50, 100, 120)
  ]
  assert told[-1][1] == "0.0132"


@pytest.mark.parametrize("secret", [None, "another key"])
def test_garbage_is_not_looked_for_among_old_objects(
    server, vendor, store, make_requests, secret
):
  """While replies come; and afterwards it is, also if none came."""
  server.control(secret=secret)
  entered, frozen = vendor.session, []

  @contextlib.asynccontextmanager
  async def session():
    async with entered() as ask:
      async def counted(request):
        frozen.append(gc.get_freeze_count())
        return await ask(request)
      yield counted

  vendor.session = session
  before = gc.get_freeze_count()
  with pytest.raises(judges.JudgeError) if secret else contextlib.nullcontext():
    _judge(vendor, store).judge(make_requests(3))
  assert min(frozen) > before + 10_000
  assert gc.get_freeze_count() == before


def test_what_another_run_stored_meanwhile_is_not_asked(
    server, store, make_requests
):
  """Nor does it matter that the other has taken the journal away."""
  journal = store.path.with_name("journal")
  requests = make_requests(6)
  vendor = _vendor(server)
  alike = {"limits": pacing.Limits(concurrency=1), "journal": journal}
  with cache.Cache(store.path) as other:
    second = remote.RemoteJudge("second", vendor, other, **alike)
    # At the first reply the other run does all that is left.
    first = remote.RemoteJudge("first", vendor, store, **alike)
    entered = vendor.session

    @contextlib.asynccontextmanager
    async def session():
      async with entered() as ask:
        async def slowly(request):
          reply = await ask(request)
          vendor.session = entered
          await asyncio.to_thread(second.judge, requests[1:])
          return reply
        yield slowly

    vendor.session = session
    replies = first.judge(requests)
  assert [bool(r.text) for r in replies] == [True] * 6
  assert first.sent == 1 and second.sent == 5
