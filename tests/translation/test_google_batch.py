"""Asynchronous jobs, against a local service and a local Cloud Storage."""

import asyncio
import json

import pytest
import stand_in
import stand_in_batch

from mlit_jax import cache, main, pacing
from mlit_jax.translation import backends, google, google_batch, translator

TEXTS = [f"item {n}\tsays \"so\"\nand more" for n in range(20)]


@pytest.fixture(scope="module")
def shared_storage():
  # The storage driver keeps the address that it has seen first.
  with stand_in_batch.Storage() as server:
    yield server


@pytest.fixture
def storage(shared_storage, monkeypatch):
  shared_storage.objects.clear()
  monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", shared_storage.url)
  monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
  return shared_storage


@pytest.fixture
def store(tmp_path):
  with cache.Cache(tmp_path / "replies.jsonl") as opened:
    yield opened


def _run(server, store, texts=TEXTS, targets=("ru",), *, settings=None,
         glossaries=None, stop=None, **options):
  backend = google.Google(
      "p", "us-central1", stand_in=server.address, glossaries=glossaries
  )
  jobs = [
      translator.Job(t, "en", lang, translator.key(backend, t, "en", lang))
      for lang in targets for t in texts
  ]
  settings = settings or translator.Settings(
      backoff=pacing.Backoff(base=0.01), concurrency=2
  )
  batch = google_batch.Batch(
      backend, store, "gs://bucket/folder", settings, poll_seconds=0.01,
      **options,
  )
  if stop:
    batch.stop(stop)
  outcome = asyncio.run(batch.run(jobs))
  return outcome, [(store.get(j.key) or {}).get("text") for j in jobs]


def test_replies_come_by_id_and_are_paid_for_once(storage, store):
  with stand_in_batch.BatchStandIn(storage) as server:
    outcome, found = _run(server, store, [*TEXTS, *TEXTS], ("ru", "he"))
    assert found == [
        stand_in.translate(t, lang) for lang in ("ru", "he")
        for t in (*TEXTS, *TEXTS)
    ]
    assert outcome.segments == 40 and outcome.requests == 2
    assert outcome.characters == 2 * sum(map(len, TEXTS))
    _run(server, store, TEXTS, ("ru", "he"))
    assert len(server.batches) == 2
    request = server.batches[0]
  assert request.parent == "projects/p/locations/us-central1"
  assert request.input_configs[0].mime_type == "text/plain"
  assert set(server.answered.values()) == {1}


def test_large_amounts_are_several_jobs(storage, store):
  with stand_in_batch.BatchStandIn(storage) as server:
    _, found = _run(server, store, job_characters=3 * len(TEXTS[0]) + 2)
    # Threes from 0 to 11; then the numbers have two digits, and two fit.
    assert len(server.batches) == 4 + 4 and None not in found


def test_a_glossarys_column_is_taken(storage, store):
  with stand_in_batch.BatchStandIn(storage) as server:
    _, found = _run(server, store, ["word"], glossaries={"ru": "g"})
    config = server.batches[0].glossaries["ru"]
  assert found == ["G " + stand_in.translate("word", "ru")]
  assert config.glossary == "projects/p/locations/us-central1/glossaries/g"


def test_rows_with_errors_fail_alone_and_are_asked_again(storage, store):
  with stand_in_batch.BatchStandIn(storage) as server:
    server.bad = "item 7"
    outcome, found = _run(server, store)
    assert [t for t, f in zip(TEXTS, found) if f is None] == [TEXTS[7]]
    assert list(outcome.failed.values()) == ["cannot do this one"]
    server.bad = "\0"
    assert None not in _run(server, store)[1]
    assert set(server.answered.values()) == {1}


def test_a_killed_run_finds_its_job_again(storage, store):
  with stand_in_batch.BatchStandIn(storage, polls_needed=5) as server:
    # Stopped while it waits: the job runs on at Google's.
    backend_outcome = _stopped_after_start(server, store)
    assert backend_outcome.stopped == "SIGTERM"
    assert len(server.batches) == 1
    _, found = _run(server, store)
    assert None not in found and len(server.batches) == 1


def _stopped_after_start(server, store):
  backend = google.Google("p", "us-central1", stand_in=server.address)
  jobs = [
      translator.Job(t, "en", "ru", translator.key(backend, t, "en", "ru"))
      for t in TEXTS
  ]
  batch = google_batch.Batch(
      backend, store, "gs://bucket/folder", translator.Settings(),
      poll_seconds=0.01,
  )
  server.before_reply = lambda: batch.stop("SIGTERM")
  return asyncio.run(batch.run(jobs))


def test_a_job_whose_name_was_lost_is_not_paid_for_twice(
    storage, store, monkeypatch
):
  """The process dies after Google took the job and before it was stored."""
  put, lost = store.put, []

  def dies(name, value):
    if "operation" in value and not lost:
      lost.append(value)
      raise KeyboardInterrupt
    return put(name, value)

  monkeypatch.setattr(store, "put", dies)
  with stand_in_batch.BatchStandIn(storage) as server:
    with pytest.raises(KeyboardInterrupt):
      _run(server, store)
    with pytest.raises(backends.BackendError, match="folder in use"):
      _run(server, store)
    server.finish(0)
    _, found = _run(server, store)
    assert None not in found and len(server.batches) == 1


def test_a_job_that_failed_is_followed_by_another(storage, store):
  with stand_in_batch.BatchStandIn(storage) as server:
    server.broken = True
    with pytest.raises(backends.BackendError, match="told to break"):
      _run(server, store)
    server.broken = False
    assert None not in _run(server, store)[1]
    assert len(server.batches) == 2


def test_the_cap_starts_no_job(storage, store):
  size = sum(map(len, TEXTS))
  settings = translator.Settings(price=1e6, max_cost=size - 1)
  with stand_in_batch.BatchStandIn(storage) as server:
    outcome, _ = _run(server, store, settings=settings)
    assert outcome.stopped == translator.BUDGET and outcome.cost == 0
    assert server.batches == []


def test_the_command_uses_jobs(storage, tmp_path, capsys):
  rows = [{"id": str(n), "lang": "en", "prompt": f"say {n}"} for n in range(9)]
  (tmp_path / "in.jsonl").write_text("".join(json.dumps(r) + "\n"
                                             for r in rows))
  with stand_in_batch.BatchStandIn(storage, polls_needed=1) as server:
    argv = [
        "translate", str(tmp_path / "in.jsonl"), "--to", "ru", "--output",
        str(tmp_path / "out.jsonl"), "--cache", str(tmp_path / "c"),
        "--backend", f"google@{server.address}",
        "--batch", "gs://bucket/folder",
    ]
    assert main.main(argv) == 2
    assert "--location" in capsys.readouterr().err
    assert main.main([*argv, "--location", "us-central1"]) == 0
    assert len(server.batches) == 1 and not server.sizes
  assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 9
