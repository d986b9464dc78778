"""Parallel corpora: Moses, tables, TMX, and the words that ask for them."""

import collections
import tracemalloc

import pytest

from mlit_jax import languages, scripts
from mlit_jax.data import sources
from mlit_jax.data.sources import SourceError, translation
from mlit_jax.errors import UsageError

_PAIR = {"source_lang": "en", "target_lang": "fi"}
_EN = ["The cat sleeps.", "Who is there?", "It rains {source}."]
_FI = ["Kissa nukkuu.", "Kuka siellä?", "Sataa {text}."]


def _lines(texts, end="\n"):
  return "".join(text + end for text in texts)


@pytest.fixture
def moses(write):
  write("news.en-fi.en", _lines(_EN))
  return write("news.en-fi.fi", _lines(_FI, "\r\n")).with_name("news.en-fi")


def test_moses_forward_and_backward(read_all, moses):
  forward, bad = read_all("moses", moses, **_PAIR)
  assert bad == []
  assert [x.response for x in forward] == _FI
  assert [x.id for x in forward] == [f"news.en-fi/en-fi/{n}" for n in range(3)]
  assert {x.lang for x in forward} == {"fi"}
  assert forward[0].extra == {
      "task": "translation", "source_lang": "en", "target_lang": "fi"
  }
  backward, _ = read_all("moses", moses, direction="backward", **_PAIR)
  assert [x.response for x in backward] == _EN
  assert {x.lang for x in backward} == {"en"}
  both, _ = read_all("moses", moses, direction="both", **_PAIR)
  assert both == [x for xs in zip(forward, backward) for x in xs]
  # The same pairs with the languages' roles swapped.
  swapped, _ = read_all(
      "moses", moses, source_lang="fin_Latn", target_lang="eng"
  )
  assert swapped == backward


def test_the_text_stands_whole_in_the_prompt(read_all, moses):
  for row, text in zip(read_all("moses", moses, **_PAIR)[0], _EN):
    assert row.prompt.count(text) == 1
    rest = row.prompt.replace(text, "")
    assert "{" not in rest
    assert "Finnish" in rest


def test_sides_by_other_names(write, read_all):
  write("c.eng.txt", _lines(_EN))
  path = write("c.fin_Latn.txt.gz", _lines(_FI)).with_name("c")
  found, _ = read_all("moses", path, corpus="wiki", **_PAIR)
  assert [x.id for x in found] == [f"wiki/en-fi/{n}" for n in range(3)]


def test_sides_that_do_not_fit(write, read_all, moses):
  write("a.en", _lines(_EN))
  path = write("a.fi", _lines(_FI[:2])).with_name("a")
  with pytest.raises(
      SourceError, match=r"a.fi: ends after 2 lines, but .*a.en goes on: the tw"
  ):
    read_all("moses", path, **_PAIR)
  with pytest.raises(SourceError, match=r"no Estonian side; .*a.et is missing"):
    read_all("moses", path, source_lang="en", target_lang="et")


def test_bad_pairs_give_nothing_in_either_direction(write, read_all):
  english = ["One.", "", "Three.", "Four.", "Это не английский язык совсем."]
  finnish = [b"Yksi.", b"Kaksi.", b"\xe4", b" ", b"Viisi."]
  write("a.en", _lines(english))
  path = write("a.fi", b"\n".join(finnish)).with_name("a")
  found, bad = read_all("moses", path, direction="both", **_PAIR)
  assert [x.id for x in found] == ["a/en-fi/0"] * 2
  assert bad == [
      (2, "empty"), (3, "not_utf8"), (4, "empty"), (5, "wrong_language"),
  ]


def test_tables_of_pairs(write, read_all):
  text = '1.1\tThe "cat\tKissa\n0.9\tDog\tKoira\textra\nonly\tone\n'
  path = write("wiki.en-fi.tsv", text)
  found, bad = read_all("tsv", path, columns="1,2", **_PAIR)
  assert [x.response for x in found] == ["Kissa", "Koira"]
  assert '"cat' in found[0].prompt
  assert bad == [(3, "columns")]
  assert [x.id for x in found] == ["wiki/en-fi/0", "wiki/en-fi/1"]
  with pytest.raises(UsageError, match="give two numbers, from 0"):
    read_all("tsv", path, columns="first,second", **_PAIR)


_TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4">
  <header srclang="en-US" datatype="plaintext" segtype="sentence"/>
  <body>
    <tu tuid="1">
      <tuv xml:lang="en-US"><seg>The &lt;b&gt; tag &amp; more</seg></tuv>
      <tuv xml:lang="FI"><seg>Tunniste &lt;b&gt; ym.</seg></tuv>
      <tuv xml:lang="tlh"><seg>qagh</seg></tuv>
    </tu>
    <tu>
      <tuv lang="fi"><seg>Se on <bpt i="1">&lt;i></bpt>hyvä<ept i="1">&lt;/i>
</ept><hi>sana</hi>.</seg></tuv>
      <tuv lang="en"><seg>It is <ph>%s</ph> a <hi type="x">good</hi>
word.</seg></tuv>
    </tu>
    <tu><tuv xml:lang="en"><seg>Alone</seg></tuv></tu>
    <tu><tuv xml:lang="en"><seg>E</seg></tuv>
      <tuv xml:lang="fi"><seg/></tuv></tu>
  </body>
</tmx>
"""


@pytest.mark.parametrize("name", ["memory.tmx", "memory.tmx.gz"])
def test_tmx(write, read_all, name):
  found, bad = read_all("tmx", write(name, _TMX), direction="both", **_PAIR)
  assert [x.response for x in found] == [
      "Tunniste <b> ym.", "The <b> tag & more",
      "Se on hyväsana.", "It is  a good\nword.",
  ]
  assert [x.id for x in found] == [
      "memory/en-fi/0", "memory/en-fi/0", "memory/en-fi/1", "memory/en-fi/1",
  ]
  assert bad == [(3, "missing_field"), (4, "empty")]


def test_tmx_in_utf16_and_with_a_namespace(write, read_all):
  text = _TMX.replace("UTF-8", "UTF-16").replace(
      "<tmx ", '<tmx xmlns="tmx" '
  )
  found, _ = read_all("tmx", write("a.tmx", text.encode("utf-16")), **_PAIR)
  assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_TMX[:700], "damaged: unclosed token"),
        (
            _TMX.replace(
                'SYSTEM "tmx14.dtd"',
                '[<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]',
            ),
            "refused: EntitiesForbidden",
        ),
        (
            _TMX.replace(
                'SYSTEM "tmx14.dtd"',
                '[<!ENTITY a SYSTEM "file:///etc/hostname">]',
            ),
            "refused: EntitiesForbidden",
        ),
        ("no XML", "damaged: syntax error"),
    ],
)
def test_tmx_that_cannot_be_trusted(write, read_all, text, message):
  with pytest.raises(SourceError, match=message):
    read_all("tmx", write("a.tmx", text), **_PAIR)


@pytest.mark.long
def test_memory_does_not_grow_with_the_memory(write):
  unit = (
      f'<tu><tuv xml:lang="en"><seg>{"x" * 900}</seg></tuv>'
      f'<tuv xml:lang="fi"><seg>{"y" * 900}</seg></tuv></tu>\n'
  )
  path = write("a.tmx", f"<tmx><body>{unit * 3000}</body></tmx>")
  tracemalloc.start()
  try:
    count = sum(1 for _ in sources.open_source("tmx", path, **_PAIR))
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert count == 3000
  assert peak < 3e6  # of 5.7 MB


# Phrasings.


def test_phrasings_are_in_their_language():
  known = translation.phrasings()
  wanted = {*languages.SETS["pinch"], *languages.SETS["xllama"], "en"}
  assert known.keys() >= wanted
  for lang, ways in known.items():
    assert len(set(ways)) == len(ways) >= 6
    for way in ways:
      assert way.count("{text}") == 1
      words = way
      for field in ("{text}", "{source}", "{target}"):
        words = words.replace(field, "")
      assert "{" not in words
      assert words.count("}") == 0
      assert scripts.share(words, lang) == (scripts.share(words, lang)[0], 1.0)
      assert ("{target}" in way) == (lang == "en")


def test_the_choice_is_the_ids_alone():
  pairs = translation.Pairs("en", "fi")
  made = [next(pairs.instructions(f"c/{n}", "A", "B")) for n in range(4000)]
  counts = collections.Counter(x.prompt for x in made)
  # 8 phrasings of 500 each; four standard deviations of a fair draw.
  assert len(counts) == 8
  assert all(abs(count - 500) < 84 for count in counts.values())
  # Literals: the same on every platform, in every process.
  assert [x.prompt for x in made[:3]] == [
      "Give the Finnish translation of this text:\n\nA",
      "A\n\nPut the English text above into Finnish.",
      "Write the following in Finnish: A",
  ]
  other = translation.Pairs("en", "fi", seed=1)
  changed = [next(other.instructions(x.id, "A", "B")) for x in made]
  assert 0.8 < sum(a != b for a, b in zip(made, changed)) / 4000 < 0.95


def test_phrasings_by_language():
  def prompts(**options):
    pairs = translation.Pairs(**_PAIR, direction="both", **options)
    return {
        lang: {
            x.prompt
            for n in range(300)
            for x in pairs.instructions(f"c/{n}", "A", "A")
            if x.lang == lang
        }
        for lang in ("en", "fi")
    }

  english, target, mixed = (
      prompts(phrasing=x) for x in ("en", "target", "mixed")
  )
  assert {k: len(v) for k, v in english.items()} == {"en": 8, "fi": 8}
  assert {k: len(v) for k, v in target.items()} == {"en": 8, "fi": 6}
  assert target["en"] == english["en"]
  assert target["fi"].isdisjoint(english["fi"])
  assert mixed == {"en": english["en"], "fi": english["fi"] | target["fi"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_lang": "en"}, "pairs need both languages"),
        ({"source_lang": "en", "target_lang": "eng"}, "both .* are en"),
        ({**_PAIR, "direction": "up"}, "direction is one of forward backward"),
        ({**_PAIR, "phrasing": "fi"}, "phrasing is one of en target mixed"),
        (
            {"source_lang": "en", "target_lang": "sk", "phrasing": "target"},
            "no phrasings in sk; use phrasing=en",
        ),
        ({**_PAIR, "target_lang": "xx"}, "unknown language 'xx'"),
    ],
)
def test_wrong_use(moses, options, message):
  with pytest.raises(UsageError, match=message):
    list(sources.open_source("moses", moses, **options))
