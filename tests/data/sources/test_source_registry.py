"""The registry: every source says what it is and takes what it says."""

import inspect

import pytest

from mlit_jax.data import sources
from mlit_jax.data.sources import SourceError


def _options(reader):
  parameters = inspect.signature(reader).parameters.values()
  return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_every_source_is_described():
  for name, source in sources.SOURCES.items():
    assert source.name == name
    text = sources.describe(name)
    for part in (source.summary, source.files, source.licence):
      assert part and part in text
    readers = [x for x in (source.instructions, source.documents) if x]
    assert readers
    taken = set().union(*map(_options, readers))
    # Pairs hand the rest of their options on.
    rest = {"source_lang", "target_lang", "direction", "phrasing", "seed"}
    assert taken <= set(source.options) <= taken | rest
  assert len(sources.describe().splitlines()) == len(sources.SOURCES)


def test_a_missing_file_is_named_with_what_belongs_there(tmp_path):
  with pytest.raises(SourceError) as e:
    sources.open_source("lima", tmp_path / "lima.jsonl")
  assert str(e.value).startswith(
      f"{tmp_path}/lima.jsonl: there is no such file or folder; lima needs"
      " train.jsonl or test.jsonl of GAIR/lima with {conversations: "
  )
