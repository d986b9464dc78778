"""OpenAI's batch API: one job, paid for once, whatever happens."""

import pytest

from mlit_jax import cache
from mlit_jax.judging import judges, openai_batch, openai_chat, pacing


@pytest.fixture
def make(server, tmp_path):
  """Makes the same judge again, as a second run of a command does."""

  def make(**options):
    vendor = openai_chat.OpenAIChat("m", f"{server.url}/v1", key="k")
    limits = pacing.Limits(first_wait=0.01, **options)
    return openai_batch.OpenAIBatch(
        "j", vendor, cache.Cache(tmp_path / "r.jsonl"), tmp_path / "jobs",
        limits, poll_seconds=0.01,
    )

  return make


def test_replies_are_those_of_single_requests(server, make, make_requests):
  server.control(taste="longer", batch_polls=3)
  requests = make_requests(12)
  replies = make().judge([*requests, requests[0]])
  assert [r.text[-2:] for r in replies] == ["]]"] * 13
  assert replies[0] == replies[12] == judges.Reply(
      "I have weighed it.\n[[B]]", "", "stop", "judge-of-today",
      {"input": 100, "output": 10},
  )
  assert make().judge(requests) == replies[:12]
  assert server.stats()["batches"] == 1


def test_what_failed_is_handed_in_again_and_nothing_else(
    server, make, make_requests, tmp_path
):
  server.control(always=["500", "429", "empty_choice"])
  replies = make().judge(make_requests(5))
  assert [r.failure for r in replies] == ["transport"] * 2 + [""] * 3
  assert replies[2].text == ""
  assert all(r.text for r in make().judge(make_requests(5))[:2])
  asked = server.stats()["asked"]
  assert sorted(asked.values()) == [1, 1, 1, 2, 2]
  assert not (tmp_path / "jobs").exists()


class _StoppedError(Exception):
  pass


@pytest.mark.parametrize("before", ["created", "named", "collected"])
def test_a_job_is_never_handed_in_twice(
    server, make, make_requests, monkeypatch, before
):
  server.control(batch_polls=2)
  judge = make()

  def stop(*arguments, **about):
    raise _StoppedError

  if before == "created":
    # The job runs, but its name was not written down.
    write = judge._write_state
    monkeypatch.setattr(
        judge, "_write_state",
        lambda job: stop() if "batch" in job else write(job),
    )
  else:
    where = "_collect" if before == "named" else "_take"
    monkeypatch.setattr(judge, where, stop)
  with pytest.raises(_StoppedError):
    judge.judge(make_requests(4))
  assert server.stats()["batches"] == 1
  replies = make().judge(make_requests(4))
  assert [r.failure for r in replies] == [""] * 4
  assert server.stats()["batches"] == 1


def test_large_jobs_are_parted(server, make, make_requests, monkeypatch):
  monkeypatch.setattr(openai_batch, "_MAX_REQUESTS", 4)
  assert len(make().judge(make_requests(10))) == 10
  assert server.stats()["batches"] == 3


def test_the_cap_holds_before_anything_is_handed_in(
    server, make, make_requests
):
  judge = make(prices=(1e6, 1e6), max_cost=5000)
  with pytest.raises(pacing.CapReached, match="nothing was handed in"):
    judge.judge(make_requests(5))
  assert server.stats()["batches"] == 0
  judge = make(prices=(1e6, 1e6), max_cost=10000)
  judge.judge(make_requests(5))
  assert judge.spent == 5 * 110
