"""Cloud Translation against a real local gRPC server that misbehaves."""

import asyncio
import collections
import random

import pytest
import stand_in

from mlit_jax import cache, pacing
from mlit_jax.errors import UsageError
from mlit_jax.translation import backends, google, translator


def _jobs(backend, texts, target="ru"):
  return [
      translator.Job(t, "en", target, translator.key(backend, t, "en", target))
      for t in texts
  ]


def _run(server, store, texts, target="ru", settings=None, **options):
  options.setdefault("timeout", 2.0)
  backend = google.Google(stand_in=server.address, **options)
  settings = settings or _settings()
  jobs = _jobs(backend, texts, target)
  running = translator.Translator(backend, store, settings)
  outcome = asyncio.run(running.run(jobs))
  return outcome, [store.get(job.key) for job in jobs]


def _settings(**options):
  options.setdefault("backoff", pacing.Backoff(base=0.01, seed=0))
  return translator.Settings(**options)


@pytest.fixture
def store(tmp_path):
  with cache.Cache(tmp_path / "replies.jsonl") as opened:
    yield opened


TEXTS = [f"there are {n} of them" for n in range(30)]


def test_replies_are_stored_and_asked_for_once(store):
  with stand_in.StandIn() as server:
    outcome, found = _run(server, store, [*TEXTS, *TEXTS], max_segments=8)
    assert outcome.segments == 30 and outcome.failed == {}
    assert outcome.requests == len(server.sizes) == 4
    assert outcome.characters == sum(map(len, TEXTS))
    _run(server, store, TEXTS)
    assert len(server.sizes) == 4
    _run(server, store, TEXTS[:1], "he")
    assert len(server.sizes) == 5
  assert [f["text"] for f in found[:30]] == [
      stand_in.translate(text, "ru") for text in TEXTS
  ]


def test_requests_keep_the_limits_of_the_api(store):
  texts = [f"{n} " + "word " * (n % 40) for n in range(3000)]
  with stand_in.StandIn() as server:
    _run(server, store, texts, max_segments=1024, max_characters=30_000)
    _run(server, store, [str(n) for n in range(2500)], max_segments=1024,
         max_characters=30_000)
    request = server.requests[0]
  assert max(size for _, size in server.sizes) <= 30_000
  assert max(count for count, _ in server.sizes) == 1024
  assert sum(count for count, _ in server.sizes) == 5500
  assert request.mime_type == "text/plain"
  assert request.source_language_code == "en"
  assert request.parent == "projects/stand-in/locations/global"
  assert request.model.endswith("/models/general/nmt")


@pytest.mark.parametrize(
    "options", [{"max_segments": 1025}, {"max_characters": 30_001},
                {"stand_in": "evil.example:80"}]
)
def test_limits_above_googles_are_refused(options):
  with pytest.raises(UsageError):
    google.Google("p", **options)


@pytest.mark.parametrize(
    "fault",
    ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED",
     "ABORTED", "hang", "half", "swap", "empty",
     "PERMISSION_DENIED:User Rate Limit Exceeded"],
)
def test_one_fault_costs_a_repeat_and_loses_nothing(store, fault):
  def faults(number, request):
    return fault if number == 0 else None

  with stand_in.StandIn(faults) as server:
    outcome, found = _run(
        server, store, TEXTS, timeout=0.3, max_segments=30,
        settings=_settings(concurrency=1, price=1e6),
    )
    assert set(server.answered.values()) == {1}
  size = sum(map(len, TEXTS))
  assert outcome.requests == 2 and outcome.repeated.total() == 1
  assert [f["text"] for f in found] == [
      stand_in.translate(text, "ru") for text in TEXTS
  ]
  # What may have been worked on is counted as spent.
  billed = {"hang": 2, "DEADLINE_EXCEEDED": 2, "half": 2, "swap": 2}
  if fault == "empty":
    assert outcome.cost == size + len(TEXTS[0])
  else:
    assert outcome.cost == size * billed.get(fault, 1)


def test_escaped_replies_are_unescaped(store):
  texts = ["Tom & Jerry's \"5 < 6\"", "&c. a &nothing"]
  with stand_in.StandIn(lambda n, r: "escape") as server:
    _, found = _run(server, store, texts, "de")
  assert [f["text"] for f in found] == [t.swapcase() for t in texts]
  assert google.unescape("&amp;#39;") == "'"


def test_a_glossary_gives_its_own_translation_and_key(store):
  with stand_in.StandIn() as server:
    options = {"location": "us-central1", "project": "p"}
    _run(server, store, ["word"], **options)
    _, found = _run(server, store, ["word"], glossaries={"ru": "g"}, **options)
    name = server.requests[0].glossary_config.glossary
    assert found[0]["text"] == "G " + stand_in.translate("word", "ru")
    assert name == "projects/p/locations/us-central1/glossaries/g"
    assert len(server.sizes) == 2


def test_a_text_that_is_refused_does_not_take_others_with_it(store):
  def faults(number, request):
    if any("7" in text for text in request.contents):
      return "INVALID_ARGUMENT:cannot do this one"

  with stand_in.StandIn(faults) as server:
    outcome, found = _run(server, store, TEXTS)
  missing = [t for t, f in zip(TEXTS, found) if f is None]
  assert missing == [t for t in TEXTS if "7" in t]
  assert len(outcome.failed) == len(missing) == 3
  assert "cannot do this one" in next(iter(outcome.failed.values()))


def test_a_service_that_refuses_everything_is_given_up(store):
  with stand_in.StandIn(lambda n, r: "INVALID_ARGUMENT:bad pair") as server:
    with pytest.raises(backends.BackendError, match="translates nothing"):
      _run(server, store, [f"word {n}" for n in range(500)])
    assert len(server.sizes) < 200


@pytest.mark.parametrize(
    ("fault", "words", "most"),
    [
        ("UNAVAILABLE:gone", "did not answer 3 times in a row", 24),
        ("PERMISSION_DENIED:no such key", "Google refuses", 8),
        ("UNAUTHENTICATED", "Google refuses", 8),
        ("PERMISSION_DENIED:Daily Limit Exceeded", "goes on from here", 8),
    ],
)
def test_a_service_that_cannot_be_used_stops_the_run(
    store, fault, words, most
):
  settings = _settings(
      backoff=pacing.Backoff(attempts=3, base=0.01), concurrency=8
  )
  with stand_in.StandIn(lambda n, r: fault) as server:
    with pytest.raises(backends.BackendError, match=words):
      _run(server, store, TEXTS, settings=settings, max_segments=1)
    assert len(server.sizes) <= most


def test_the_cap_stops_before_it_is_passed_and_the_rest_follows(store):
  size = sum(map(len, TEXTS))
  settings = _settings(price=1e6, max_cost=size / 2, concurrency=4)
  with stand_in.StandIn() as server:
    outcome, found = _run(server, store, TEXTS, settings=settings,
                          max_segments=3)
    assert outcome.stopped == translator.BUDGET
    assert size / 2 - 70 < outcome.cost <= size / 2
    num = sum(f is not None for f in found)
    assert num == outcome.segments > 0
    outcome, found = _run(server, store, TEXTS, max_segments=3)
    assert None not in found and outcome.segments == 30 - num
    assert set(server.answered.values()) == {1}


def test_rate_and_concurrency_are_bounded(store):
  settings = _settings(concurrency=3, per_minute=60_000)  # 1,000 a second
  texts = [f"{n:03}" + "x" * 97 for n in range(18)]
  with stand_in.StandIn(seconds=0.01) as server:
    loop_time = asyncio.new_event_loop().time
    began = loop_time()
    _run(server, store, texts, settings=settings, max_segments=1)
    # 1,800 characters: 1,000 at once, then 700 more before the last may go.
    assert loop_time() - began > 0.65
    assert server.most_under_way <= 3


def _faulty(rate, seed):
  chance = random.Random(seed)
  kinds = ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "half",
           "swap", "escape", "hang", "INTERNAL"]

  def faults(number, request):
    return chance.choice(kinds) if chance.random() < rate else None

  return faults


@pytest.mark.parametrize(
    ("num", "timeout"),
    [(2_000, 0.3), pytest.param(10_000, 1.0, marks=pytest.mark.slow)],
)
def test_many_segments_with_faults_lose_nothing(store, num, timeout):
  """One in ten requests goes wrong, each in another way."""
  texts = [f"item {n} has {n * 7} parts" for n in range(num)]
  with stand_in.StandIn(_faulty(0.1, seed=1)) as server:
    outcome, found = _run(
        server, store, texts, timeout=timeout, max_segments=10,
        settings=_settings(concurrency=16),
    )
    assert outcome.failed == {}
    assert outcome.repeated.total() > num / 10 * 0.05
    assert [f["text"] for f in found] == [
        stand_in.translate(text, "ru") for text in texts
    ]
    # No text was answered rightly twice: what was stored is never asked again.
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == num
    requests = len(server.sizes)
    _run(server, store, texts)
    assert len(server.sizes) == requests


def test_swapped_replies_are_told_by_markers_and_numbers():
  texts = ["put [[0]] here", "no mark", "take 5", "take 6 or [[0]]"]
  right = [stand_in.translate(t, "ru") for t in texts]
  assert not translator.misordered(texts, right)
  for order in ([1, 0, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3], [0, 1, 3, 2]):
    assert translator.misordered(texts, [right[i] for i in order])
  # One reply that drops or writes out a number is no swap.
  assert not translator.misordered(texts, [*right[:2], "возьми пять", right[3]])
  assert not translator.misordered(texts, [*right[:2], None, right[3]])
  native = [right[0], right[1], "٥", right[3]]
  assert not translator.misordered(texts, native)


def test_a_request_has_one_pair_of_languages(store):
  with stand_in.StandIn() as server:
    backend = google.Google(stand_in=server.address)
    jobs = _jobs(backend, TEXTS[:3], "ru") + _jobs(backend, TEXTS[:3], "he")
    asyncio.run(translator.Translator(backend, store, _settings()).run(jobs))
  langs = collections.Counter(r.target_language_code for r in server.requests)
  assert langs == {"ru": 1, "he": 1}


def test_a_segment_left_over_has_all_its_tries(store):
  """Its request has used its own tries up when the others have replies."""
  def faults(number, request):
    return "empty" if number < 4 else None

  with stand_in.StandIn(faults) as server:
    outcome, found = _run(server, store, TEXTS[:3],
                          settings=_settings(concurrency=1))
    assert [r.contents[0] for r in server.requests] == [TEXTS[0]] * 5
  assert None not in found and outcome.failed == {}
