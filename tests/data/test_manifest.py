"""Manifests: hashes, files, joining, comparing."""

import hashlib
import json

import pytest

from mlit_jax.data import manifest as manifest_lib
from mlit_jax.data.manifest import Manifest, Row
from mlit_jax.errors import UsageError

A, B, C = Row("a", "en", "a"), Row("b", "he", "b"), Row("c", "sw", "c")


def test_the_hash_is_of_the_rows_as_json_lines():
  rows = (Row("a", "en", "a"), Row("é", "he", "b"))
  assert Manifest(rows, "partition", 0).hash == (
      # printf '["a", "en", "a"]\n["é", "he", "b"]\n' | sha256sum
      "89460d00e64c783689bf2e5aedc0b352fe66b0b19a024d784809a299e019b0f2"
  )
  assert Manifest((), "partition", 0).hash == hashlib.sha256(b"").hexdigest()
  # Order counts, and so do what is paired and its language.
  others = (Row("é", "he", "é"), Row("é", "he", "b", "en"))
  assert len({
      Manifest(r, "partition", 0).hash
      for r in (rows, rows[::-1], *((rows[0], other) for other in others))
  }) == 4


def test_a_manifest_goes_to_disk_and_back(tmp_path):
  rows = (A, Row("b", "he", "x"), Row("c", "sw", "c", "en"))
  manifest = Manifest(rows, "parallel", 7)
  manifest.write(tmp_path)
  assert manifest_lib.read(tmp_path) == manifest
  assert manifest_lib.read(tmp_path / "manifest.json") == manifest
  value = json.loads((tmp_path / "manifest.json").read_text())
  assert value["counts"] == {"en": 1, "he": 1, "sw": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["rows"].pop(), "not the ones its hash"),
        (lambda v: v["rows"].reverse(), "not the ones its hash"),
        (lambda v: v.pop("rows"), "not a manifest"),
        (lambda v: v["rows"].append(["a"]), "not a manifest"),
        (lambda v: v.update(rows=3), "not a manifest"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, change, words):
  value = Manifest((A, B), "partition", 0).to_json()
  change(value)
  path = tmp_path / "manifest.json"
  path.write_text(json.dumps(value))
  with pytest.raises(manifest_lib.ManifestError, match=words) as e:
    manifest_lib.read(tmp_path)
  assert str(path) in str(e.value)


def test_no_manifest(tmp_path):
  with pytest.raises(manifest_lib.ManifestError, match="cannot be read"):
    manifest_lib.read(tmp_path)
  (tmp_path / "manifest.json").write_text("{")
  with pytest.raises(manifest_lib.ManifestError, match="build it again"):
    manifest_lib.read(tmp_path)


def test_joining():
  one, two = Manifest((A, B), "partition", 3), Manifest((C,), "parallel", 3)
  joined = manifest_lib.join([one, two])
  assert joined == Manifest((A, B, C), "partition + parallel", 3)
  assert manifest_lib.join([one, Manifest((C,), "partition", 3)]).design == (
      "partition"
  )
  with pytest.raises(UsageError, match=r"1 examples stand in two parts"):
    manifest_lib.join([one, Manifest((B,), "parallel", 3)])
  with pytest.raises(UsageError, match="at least one part"):
    manifest_lib.join([])


def test_differences():
  a = Manifest((A, B, C), "partition", 0)
  moved = Row("b", "sw", "b")
  new = Row("d", "en", "d")
  found = manifest_lib.diff(a, Manifest((A, moved, C, new), "partition", 0))
  assert found.counts == {"en": (1, 2), "he": (1, 0), "sw": (1, 2)}
  assert found.only_a == (B,)
  assert found.only_b == (moved, new)
  assert found.moved == (("b", ("he",), ("sw",)),)
  assert not found.reordered
  assert found
  assert not manifest_lib.diff(a, a)
  turned = manifest_lib.diff(a, Manifest((B, A, C), "partition", 0))
  assert turned.reordered and not turned.only_a and not turned.counts
  twice = manifest_lib.diff(a, Manifest((A, B, C, C), "partition", 0))
  assert twice.only_b == (C,)
