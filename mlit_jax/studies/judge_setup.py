"""A judge from its specification, with everything it needs."""

import contextlib
import dataclasses
import importlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlit_jax import cache
from mlit_jax.errors import UsageError
from mlit_jax.judging import (
    judges,
    local,
    openai_batch,
    pacing,
    recorded,
    remote,
    specs,
)


@dataclasses.dataclass(frozen=True)
class Options:
  """How a judge is asked; each kind of judge takes what concerns it.

  Attributes:
    replies: the file of stored replies.
    journal: of what is under way (a provider's requests and jobs).
    key_file, temperature, max_tokens, request_options: see specs.make_vendor.
    limits: of a provider.
    batch: whether to use the provider's batch API.
    poll_seconds: how often to look after such a job.
    template, batch_size: of a local model.
  """

  replies: pathlib.Path
  journal: pathlib.Path
  key_file: str | None = None
  temperature: float = 0
  max_tokens: int = 1024
  request_options: Mapping[str, Any] | None = None
  limits: pacing.Limits = dataclasses.field(default_factory=pacing.Limits)
  batch: bool = False
  poll_seconds: float = 30
  template: str = "plain"
  batch_size: int = 16


@contextlib.contextmanager
def judge(
    spec: specs.Spec,
    options: Options,
    languages: Sequence[str],
    show: Callable[[str], None] = lambda text: None,
) -> Iterator[judges.Judge]:
  """The judge of a specification, for as long as its store is open.

  Args:
    spec: of the judge.
    options: how it is asked.
    languages: of the prompts; the reference judge knows the pocket world's.
    show: shows the progress.

  Raises:
    UsageError: the judge cannot be had, e.g. for want of a key.
  """
  if spec.kind == "reference":
    from mlit_jax.studies import comparisons

    yield comparisons.make_judge(spec.text, tuple(languages))
    return
  if spec.kind in ("replay", "human"):
    yield recorded.RecordedJudge(spec.text, spec.name)
    return
  if spec.kind == "local":
    made = _generator(spec, options)
    with cache.Cache(options.replies) as store:
      yield local.LocalJudge(spec.text, made, made.identity, store, show)
    return
  vendor = _vendor(spec, options)
  with cache.Cache(options.replies) as store:
    if options.batch:
      yield openai_batch.OpenAIBatch(
          spec.text, vendor, store, options.journal, options.limits,
          poll_seconds=options.poll_seconds, show=show,
      )
      return
    yield remote.RemoteJudge(
        spec.text, vendor, store, options.limits, journal=options.journal,
        show=show,
    )


def plan(
    spec: specs.Spec, options: Options, requests: Sequence[judges.Request]
) -> remote.Plan:
  """What asking would take; asks nothing and needs no key.

  Raises:
    UsageError: the judge is not asked anything that costs.
  """
  if not spec.is_language_model:
    raise UsageError(f"{spec.text} costs nothing; leave --dry-run out")
  if spec.kind == "local":
    made = _generator(spec, options)
    identity = {"protocol": "local", **made.identity}
  else:
    identity = _vendor(spec, options, need_key=False).identity
  with contextlib.ExitStack() as stack:
    store = frozenset()
    if options.replies.exists():
      store = stack.enter_context(cache.Cache(options.replies))
    return remote.plan(
        identity, options.max_tokens, store, options.limits, requests
    )


def _vendor(spec: specs.Spec, options: Options, need_key: bool = True):
  wanted = {"openai": "httpx", "gemini": "google.genai"}[spec.kind]
  try:
    importlib.import_module(wanted)
  except ImportError:
    raise UsageError(
        f"{spec.text} needs the package {wanted}: install mlit-jax[judges]"
    ) from None
  return specs.make_vendor(
      spec, key_file=options.key_file, temperature=options.temperature,
      max_tokens=options.max_tokens, options=options.request_options,
      need_key=need_key,
  )


def _generator(spec: specs.Spec, options: Options):
  from mlit_jax.studies import local_judge

  return local_judge.Generator(
      pathlib.Path(spec.name), template=options.template,
      temperature=options.temperature, max_tokens=options.max_tokens,
      batch_size=options.batch_size,
  )
