"""Batch APIs: one job, paid for once, whatever happens."""

import pytest

from mlit_jax import cache
from mlit_jax.judging import (
    batch,
    gemini,
    gemini_batch,
    judges,
    openai_batch,
    openai_chat,
    pacing,
)

KEY = "a-secret-key"


@pytest.fixture(params=["openai", "gemini"])
def make(request, server, tmp_path):
  """Makes the same judge again, as a second run of a command does."""

  def make(**options):
    if request.param == "openai":
      jobs = openai_batch.OpenAIJobs(
          openai_chat.OpenAIChat("m", f"{server.url}/v1", key=KEY)
      )
    else:
      jobs = gemini_batch.GeminiJobs(
          gemini.Gemini("m", key=KEY, url=server.url)
      )
    limits = pacing.Limits(first_wait=0.01, **options)
    return batch.BatchJudge(
        "j", jobs, cache.Cache(tmp_path / "r.jsonl"), tmp_path / "jobs",
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
  server.control(always=["500", "429", "empty_choice", "refusal"])
  replies = make().judge(make_requests(5))
  assert [r.failure for r in replies] == [
      "transport", "transport", "", "refused", ""
  ]
  assert replies[2].text == ""
  assert all(r.text for r in make().judge(make_requests(5))[:2])
  asked = server.stats()["asked"]
  assert sorted(asked.values()) == [1, 1, 1, 2, 2]
  assert not (tmp_path / "jobs").exists()


class _StoppedError(Exception):
  pass


@pytest.mark.parametrize("before", ["created", "named", "collected", "torn"])
def test_a_job_is_never_handed_in_twice(
    server, make, make_requests, monkeypatch, tmp_path, before
):
  server.control(batch_polls=2)
  judge = make()

  def stop(*arguments, **about):
    raise _StoppedError

  if before in ("created", "torn"):
    # The job runs, but its name was not written down, or only half.
    write = judge._write_state
    monkeypatch.setattr(
        judge, "_write_state",
        lambda job: stop() if "batch" in job else write(job),
    )
  elif before == "named":
    monkeypatch.setattr(judge, "_collect", stop)
  else:
    monkeypatch.setattr(judge._store, "put_many", stop)
  with pytest.raises(_StoppedError):
    judge.judge(make_requests(4))
  if before == "torn":
    with open(tmp_path / "jobs", "ab") as file:
      file.write(b'{"digest": "12')
  assert server.stats()["batches"] == 1
  # More is asked by now, so the job could not be known by what is missing.
  replies = make().judge(make_requests(5))
  assert [r.failure for r in replies] == [""] * 5
  stats = server.stats()
  assert stats["batches"] == 2 and set(stats["asked"].values()) == {1}


def test_calls_that_fail_for_now_are_repeated(server, make, make_requests):
  server.control(batch_polls=1)
  judge = make()
  create = judge._jobs.create
  judge._jobs.create = lambda *about: (
      create(*about), server.control_calls("500", "429", "truncated")
  )[0]
  assert [r.failure for r in judge.judge(make_requests(3))] == [""] * 3


def test_handing_in_is_not_repeated(server, make, make_requests):
  judge = make()
  upload = judge._jobs.upload
  judge._jobs.upload = lambda lines: (
      upload(lines), server.control_calls("500")
  )[0]
  with pytest.raises(judges.JudgeError, match="500"):
    judge.judge(make_requests(3))
  assert server.stats()["batches"] == 0
  assert len(make().judge(make_requests(3))) == 3


def test_large_jobs_are_parted(server, make, make_requests, monkeypatch):
  judge = make()
  judge._jobs.max_requests = 4
  assert len(judge.judge(make_requests(10))) == 10
  assert server.stats()["batches"] == 3
  judge._jobs.max_bytes = 10  # smaller than any request
  assert len(judge.judge(make_requests(2, sample=1))) == 2
  assert server.stats()["batches"] == 5


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


def test_a_reply_of_unknown_cost_may_have_cost_the_most(
    server, make, make_requests
):
  server.control(tells_usage=False, always=["500"])
  judge = make(prices=(1e6, 1e6), max_cost=10000)
  requests = make_requests(5)
  assert [r.failure for r in judge.judge(requests)] == ["transport"] + 4 * [""]
  # Bytes are tokens at most, and a message has 8 more; what the provider did
  # not take costs nothing.
  size = sum(len(m.content) + 8 for r in requests[1:] for m in r.prompt)
  assert judge.spent == size + 4 * 1024
  with pytest.raises(pacing.CapReached, match="nothing was handed in"):
    judge.judge(make_requests(6, sample=1))


def test_a_job_that_failed_is_an_error_and_the_next_run_hands_in_anew(
    server, make, make_requests, tmp_path
):
  server.control(batch_fails=1)
  judge = make()
  judge._jobs.max_requests = 2
  with pytest.raises(judges.JudgeError, match="0: the job failed: "):
    judge.judge(make_requests(4))
  # What the others brought was kept.
  assert len(judge._store) == 2 and not (tmp_path / "jobs").exists()
  assert [r.failure for r in make().judge(make_requests(4))] == [""] * 4
  assert sorted(server.stats()["asked"].values()) == [1] * 4


def test_keys_are_in_no_file_and_no_error(
    server, make, make_requests, tmp_path
):
  server.control(secret="another")
  with pytest.raises(judges.JudgeError) as error:
    make().judge(make_requests(2))
  assert KEY not in str(error.value)
  server.control(always=["500"])
  make().judge(make_requests(2))
  for path in tmp_path.iterdir():
    assert KEY not in path.read_text()
