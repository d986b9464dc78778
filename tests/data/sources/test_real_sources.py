"""Real public files (see ../shared/data/README.md), where they are."""

import collections
import pathlib

import pytest

_DATA = pathlib.Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def real():
  def one(name):
    path = _DATA / name
    if not path.exists() and not path.parent.is_dir():
      pytest.skip(f"needs the real data in {path}")
    return path

  if not _DATA.is_dir():
    pytest.skip(f"needs the real data in {_DATA}")
  return one


def _languages(found):
  return collections.Counter(x.lang for x in found)


def test_oasst(real, read_all):
  path = real("oasst1_en/en-validation.jsonl")
  found, bad = read_all("oasst", path)
  # 191 trees, three of them without their root.
  assert (len(found), bad) == (188, [])
  whole, bad = read_all("oasst", path, turns="all")
  assert (len(whole), bad) == (188, [])
  assert [x.id for x in whole] == [x.id for x in found]
  assert [x.messages[0] for x in whole] == [x.messages[0] for x in found]
  assert sum(len(x.messages) > 1 for x in whole) == 86


def test_mt_bench(real, read_all):
  found, bad = read_all("mt_bench", real("mt_bench"))
  assert bad == []
  assert _languages(found) == {
      "ru": 50, **dict.fromkeys("cs en es et fi hi it zh".split(), 80)
  }
  english = [x for x in found if x.lang == "en"]
  assert set(collections.Counter(x.extra["category"] for x in english).values()
             ) == {10}
  assert {x.id for x in found} == {f"mt_bench/{n}" for n in range(81, 161)}


def test_vicuna(real, read_all):
  found, bad = read_all("vicuna", real("vicuna80"))
  assert bad == []
  assert _languages(found) == dict.fromkeys("ar en es hi it zh".split(), 80)


def test_sib200(real, read_all):
  ids = {}
  for split, count in (("train", 701), ("dev", 99)):
    found, bad = read_all(
        "sib200", real("sib200"), documents=True, split=split
    )
    assert bad == []
    assert set(_languages(found).values()) == {count}
    assert len(_languages(found)) == 12
    ids[split] = {x.id for x in found}
    assert len(ids[split]) == count  # parallel
  assert ids["train"].isdisjoint(ids["dev"])


@pytest.mark.parametrize("lang", "ar cs es et fi he hi it ru sw zh".split())
def test_tatoeba(real, read_all, lang):
  found, bad = read_all(
      "moses", real(f"tatoeba/{lang}-en"), source_lang="en", target_lang=lang,
      direction="both", phrasing="mixed",
  )
  # Two sentences of the Arabic file are Spanish.
  wrong = [(910, "wrong_language"), (929, "wrong_language")]
  assert bad == (wrong if lang == "ar" else [])
  count = {"sw": 390, "ar": 998}.get(lang, 1000)
  assert _languages(found) == {lang: count, "en": count}
