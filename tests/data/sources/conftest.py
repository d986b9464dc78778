"""Small files in the formats that people publish."""

import gzip
import json

import pytest

from mlit_jax.data import quality, sources


@pytest.fixture
def write(tmp_path):
  """Writes bytes, a text, a list (as JSON) or rows under a name."""

  def one(name, content):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = name.removesuffix(".gz")
    if isinstance(content, list) and stem.endswith(".json"):
      content = json.dumps(content, ensure_ascii=False, indent=2)
    elif isinstance(content, list):
      content = "".join(json.dumps(row) + "\n" for row in content)
    if isinstance(content, str):
      content = content.encode()
    if name.endswith(".gz"):
      content = gzip.compress(content)
    path.write_bytes(content)
    return path

  return one


@pytest.fixture
def read_all(tmp_path):
  """Everything of a source, and [(line, reason)] of its bad rows."""

  def one(name, path, documents=False, **options):
    file = tmp_path / "quarantine.jsonl"
    opened = sources.open_documents if documents else sources.open_source
    with quality.BadRows(file, max_bad=1000) as bad:
      found = list(opened(name, path, bad_rows=bad, **options))
    assert bad.num_good == len(found)
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return found, [(row["line"], row["reason"]) for row in rows]

  return one
