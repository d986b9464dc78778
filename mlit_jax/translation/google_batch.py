"""Google's asynchronous jobs (batchTranslateText), for large amounts of text.

A job reads a file of segments from Cloud Storage and writes files of replies
there. Its folder is named by what it translates, and the name of its operation
is in the store: a run that is started again finds the job and pays for none
twice. Google lets no two jobs write to one folder, which covers the moment
between the start of a job and the storing of its name.
"""

import asyncio
import csv
import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator

from mlit_jax import cache as cache_lib
from mlit_jax import pacing
from mlit_jax.translation import backends, google, translator

# Google takes up to 100 million code points a job.
_JOB_CHARACTERS = 50_000_000
_INPUT = "segments.tsv"


class Batch:
  """Runs jobs through batchTranslateText; `stop` leaves Google's running."""

  def __init__(
      self,
      backend: google.Google,
      store: cache_lib.Cache,
      folder: str,
      settings: translator.Settings,
      show: Callable[[translator.Outcome], None] = lambda outcome: None,
      *,
      job_characters: int = _JOB_CHARACTERS,
      poll_seconds: float = 10.0,
  ):
    """Starts nothing yet.

    Args:
      backend: the project, location, model and glossaries.
      store: where replies and the names of operations go.
      folder: gs://BUCKET/FOLDER.
      settings: price, cap, concurrency and backoff count here.
      show: shows the progress.
      job_characters: code points a job.
      poll_seconds: between questions whether a job is done.
    """
    self._backend, self._store = backend, store
    self._folder = folder.rstrip("/") + "/"
    self._settings, self._show = settings, show
    self._job_characters, self._poll_seconds = job_characters, poll_seconds
    self._budget = pacing.Budget(settings.max_cost)
    self.outcome = translator.Outcome()

  def stop(self, why: str) -> None:
    """Starts no more jobs and waits for none."""
    self.outcome.stopped = self.outcome.stopped or why

  async def run(self, jobs: Iterable[translator.Job]) -> translator.Outcome:
    """Gets a reply for every job that the store has none for.

    Raises:
      BackendError: Google refuses, or a job of its failed.
    """
    work = _packed(jobs, self._job_characters)
    try:
      await asyncio.gather(
          *(self._work(work) for _ in range(self._settings.concurrency))
      )
    finally:
      await self._backend.close()
    return self.outcome

  async def _work(self, work: Iterator[list[translator.Job]]) -> None:
    for jobs in work:
      if self.outcome.stopped:
        return
      # By all of its jobs, so that the name stays when some have replies.
      keys = "".join(job.key for job in jobs)
      name = hashlib.sha256(keys.encode()).hexdigest()[:32]
      if missing := [job for job in jobs if job.key not in self._store]:
        await self._translate(missing, name)

  async def _translate(self, jobs: list[translator.Job], name: str) -> None:
    for attempt in itertools.count(1):
      started, ended = (
          cache_lib.key(kind=f"batch {event}", name=name, attempt=attempt)
          for event in ("started", "ended")
      )
      if ended not in self._store:
        break
    folder = _Folder(f"{self._folder}{name}-{attempt}/")
    if not await self._take(jobs, folder):
      state = self._store.get(started) or await self._start(jobs, folder)
      if state is None:
        return
      self._store.put(started, state)
      if error := await self._wait(state["operation"]):
        self._store.put(ended, {"error": error})
        raise backends.BackendError(
            f"Google's job failed ({error}); the same command starts another"
        )
      if self.outcome.stopped:
        return
      if not await self._take(jobs, folder):
        raise backends.BackendError(
            f"Google's job is done but {folder.url} has no results"
        )
    self._store.put(ended, {"error": ""})

  async def _start(self, jobs, folder: "_Folder") -> dict | None:
    """Starts a job; returns what is stored of it, or None over the cap."""
    if await folder.names():
      raise backends.BackendError(
          f"a job whose name was lost writes to {folder.url}; the same command"
          " takes its results when it is done"
      )
    size = sum(len(job.text) for job in jobs)
    cost = size * self._settings.price / 1e6
    try:
      self._budget.reserve(cost)
    except pacing.OverBudget:
      self.stop(translator.BUDGET)
      return None
    self.outcome.cost = self._budget.spent
    source = await folder.write_input(jobs)
    client, parent = self._backend.connect()
    target = google.code(jobs[0].target)
    request = {
        "parent": parent,
        "source_language_code": google.code(jobs[0].source),
        "target_language_codes": [target],
        "models": {target: self._backend.model_name(parent)},
        "input_configs": [
            {"gcs_source": {"input_uri": source}, "mime_type": "text/plain"}
        ],
        "output_config": {
            "gcs_destination": {"output_uri_prefix": folder.url}
        },
    }
    if glossary := self._backend.glossary_name(parent, jobs[0].target):
      request["glossaries"] = {target: {"glossary": glossary}}

    async def start():
      job = await client.batch_translate_text(request)
      return job.operation.name

    self.outcome.requests += 1
    self.outcome.characters += size
    return {"operation": await self._patiently(start, is_repeatable=False)}

  async def _wait(self, name: str) -> str:
    """Waits for an operation; returns its error or ""."""
    client, _ = self._backend.connect()
    while not self.outcome.stopped:
      state = await self._patiently(
          lambda: client.get_operation({"name": name}), is_repeatable=True
      )
      if state.done:
        return state.error.message if state.HasField("error") else ""
      await asyncio.sleep(self._poll_seconds)
    return ""

  async def _patiently(self, ask, *, is_repeatable: bool):
    """Asks again where Google could not answer."""
    from google.api_core import exceptions

    backoff = self._settings.backoff
    for attempt in range(1, backoff.attempts + 1):
      try:
        return await ask()
      except exceptions.GoogleAPICallError as e:
        error = google.translated_error(e)
      if isinstance(error, backends.BackendError):
        raise error
      unclear = isinstance(error, backends.Transient) and error.was_sent
      if isinstance(error, backends.Rejected) or (
          unclear and not is_repeatable
      ):
        break
      self.outcome.repeated[str(error).partition(":")[0]] += 1
      await asyncio.sleep(backoff.delay(attempt, error.retry_after))
    raise backends.BackendError(
        f"Google's batch service: {error}; the same command goes on from here"
    )

  async def _take(self, jobs, folder: "_Folder") -> bool:
    """Stores a finished job's replies; False if it is not finished."""
    results = await folder.results()
    if results is None:
      return False
    replies, errors = results
    good = {}
    for job in jobs:
      source, reply = replies.get(job.key[:32], ("", ""))
      if reply and source == job.text:
        good[job.key] = {"text": google.unescape(reply)}
      else:
        reason = errors.get(job.key[:32], "the job's files have no reply")
        self.outcome.failed[job.key] = reason
    self._store.put_many(good)
    self.outcome.segments += len(good)
    self._show(self.outcome)
    return True


def _packed(
    jobs: Iterable[translator.Job], characters: int
) -> Iterator[list[translator.Job]]:
  """Every job once, by pair of languages and up to a size."""
  packed: dict[str, translator.Job] = {}
  size, pair = 0, ()
  for job in jobs:
    if job.key in packed:
      continue
    is_full = size + len(job.text) > characters
    if packed and (is_full or pair != (job.source, job.target)):
      yield list(packed.values())
      packed, size = {}, 0
    packed[job.key] = job
    pair = job.source, job.target
    size += len(job.text)
  if packed:
    yield list(packed.values())


class _Folder:
  """A job's files, in the layout that Google documents."""

  def __init__(self, url: str):
    self.url = url
    base, self._name, _ = url.rsplit("/", 2)
    self._base = f"{base}/"

  async def names(self) -> list[str]:
    """What stands in the folder."""
    names = await self._call(self.url, "list")
    return sorted(name.decode() for name in names)

  async def write_input(self, jobs: Iterable[translator.Job]) -> str:
    """Writes the segments beside the folder, which must be empty."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\r\n")
    writer.writerows((job.key[:32], job.text) for job in jobs)
    name = f"{self._name}.{_INPUT}"
    await self._call(self._base, "write", name, text.getvalue().encode())
    return f"{self._base}{name}"

  async def results(self) -> tuple[dict, dict] | None:
    """(id -> (source, reply), id -> error), or None while there are none.

    A file is complete once the index names it.
    """
    index = await self._rows("index.csv", ",")
    if not index:
      return None
    replies, errors = {}, {}
    for _, _, reply_file, error_file, *_ in index:
      for id_, source, *translated in await self._rows(reply_file, "\t"):
        # With a glossary, the last column is with it.
        replies[id_] = source, translated[-1]
      for id_, _, *reasons in await self._rows(error_file, "\t"):
        errors[id_] = next((r for r in reasons if r), "no reason given")
    return replies, errors

  async def _rows(self, name: str, delimiter: str) -> list[list[str]]:
    if not name:
      return []
    found = await self._call(self.url, "read", name.removeprefix(self.url))
    if found.state == "missing":
      return []
    text = io.StringIO(found.value.decode("utf-8"), newline="")
    return list(csv.reader(text, delimiter=delimiter))

  async def _call(self, url: str, method: str, *args):
    # It comes with Orbax, and speaks to Cloud Storage without another client.
    import tensorstore

    try:
      store = await tensorstore.KvStore.open(url)
      return await getattr(store, method)(*args)
    except (ValueError, OSError) as e:
      raise backends.BackendError(
          f"Cloud Storage: {url} cannot be used ({str(e)[:200]})"
      ) from None
