"""Running texts, FLORES and SIB-200, in their published layouts."""

import gzip

import pytest

from mlit_jax.data import sources
from mlit_jax.data.sources import Document, SourceError
from mlit_jax.errors import UsageError


@pytest.fixture
def flores(write, tmp_path):
  texts = {
      "eng_Latn": ["One.", "Two."], "fin_Latn": ["Yksi.", "Kaksi."],
      "zho_Hant": ["一。", "二。"], "ace_Arab": ["x", "y"],
  }
  for code, (first, second) in texts.items():
    write(f"flores200_dataset/dev/{code}.dev", f"{first}\n{second}\n")
    write(f"flores200_dataset/devtest/{code}.devtest", f"{second}\n{first}\n")
  write("flores200_dataset/metadata_dev.tsv", "URL\tdomain\n")
  return tmp_path / "flores200_dataset"


def test_flores_as_texts(flores, read_all):
  found, bad = read_all("flores", flores, documents=True)
  assert found == [
      Document("flores/dev/0", "en", "One."),
      Document("flores/dev/1", "en", "Two."),
      Document("flores/dev/0", "fi", "Yksi."),
      Document("flores/dev/1", "fi", "Kaksi."),
      Document("flores/dev/0", "zh-Hant", "一。"),
      Document("flores/dev/1", "zh-Hant", "二。"),
  ]
  assert bad == []
  (one, _), _ = read_all(
      "flores", flores, documents=True, split="devtest", languages=["fin"]
  )
  assert one == Document("flores/devtest/0", "fi", "Kaksi.")


def test_flores_as_translations_that_are_parallel(flores, read_all):
  finnish, _ = read_all(
      "flores", flores, source_lang="en", target_lang="fi", direction="both"
  )
  assert [(x.id, x.lang, x.response) for x in finnish] == [
      ("flores/dev/0", "fi", "Yksi."), ("flores/dev/0", "en", "One."),
      ("flores/dev/1", "fi", "Kaksi."), ("flores/dev/1", "en", "Two."),
  ]
  chinese, _ = read_all(
      "flores", flores, source_lang="en", target_lang="zho_Hant"
  )
  assert [x.id for x in chinese] == ["flores/dev/0", "flores/dev/1"]
  assert [x.response for x in chinese] == ["一。", "二。"]


def test_flores_that_is_not_there(flores, read_all, tmp_path):
  with pytest.raises(SourceError, match="has no file for de; it has en fi zh-"):
    read_all("flores", flores, source_lang="en", target_lang="de")
  with pytest.raises(SourceError, match="has no files dev/<lang>.dev"):
    read_all("flores", flores / "dev", documents=True)
  with pytest.raises(UsageError, match="split is one of dev devtest, not 't"):
    read_all("flores", flores, documents=True, split="train")


def test_sib200(write, read_all, tmp_path):
  write(
      "annotated/eng_Latn/train.tsv",
      'index_id\tcategory\ttext\n431\tgeography\tA sea.\n'
      '403\tscience/technology\t"""Yes,"" she said\tthen."\n',
  )
  write(
      "annotated/swh_Latn/train.tsv",
      "index_id\tcategory\ttext\n431\tgeography\tBahari.\n431\tx\tBahari.\n",
  )
  write("annotated/swh_Latn/dev.tsv", "index_id\tcategory\ttext\n")
  found, bad = read_all("sib200", tmp_path / "annotated", documents=True)
  assert found == [
      Document("sib200/431", "en", "A sea.", {"category": "geography"}),
      Document("sib200/403", "en", '"Yes," she said\tthen.',
               {"category": "science/technology"}),
      Document("sib200/431", "sw", "Bahari.", {"category": "geography"}),
  ]
  assert bad == [(3, "duplicate_id")]
  with pytest.raises(SourceError, match="has no files <lang>/test.tsv"):
    read_all("sib200", tmp_path / "annotated", documents=True, split="test")


def test_lines_and_paragraphs(write, read_all):
  text = b"\xef\xbb\xbfOne\r\ntwo\n\n \nThree\xe9\nfour\n\nsix"
  path = write("wiki.txt", text)
  found, bad = read_all("text", path, documents=True, lang="en")
  assert [(x.id, x.text) for x in found] == [
      ("wiki/0", "One"), ("wiki/1", "two"), ("wiki/3", "four"),
      ("wiki/4", "six"),
  ]
  assert bad == [(5, "not_utf8")]
  found, bad = read_all(
      "text", path, documents=True, lang="en", unit="paragraph", prefix="w"
  )
  assert [(x.id, x.text) for x in found] == [
      ("w/0", "One\ntwo"), ("w/2", "six"),
  ]
  assert bad == [(5, "not_utf8")]


def test_texts_in_columns_and_by_language(write, read_all, tmp_path):
  write("mc4/ru.jsonl.gz", [{"text": "Да " * 20, "url": "u"}, {"url": "v"}])
  (tmp_path / "mc4/fi.txt.gz").write_bytes(gzip.compress("Kyllä\n".encode()))
  found, bad = read_all("text", tmp_path / "mc4", documents=True)
  assert found == [
      Document("mc4/0", "fi", "Kyllä"), Document("mc4/0", "ru", "Да " * 20)
  ]
  assert bad == [(2, "missing_field")]
  path = write("a.jsonl", [{"body": "Ja", "text": "no"}])
  (row,), _ = read_all("text", path, documents=True, lang="de", column="body")
  assert row == Document("a/0", "de", "Ja")


def test_wrong_use(write, flores):
  path = write("a.txt", "a\n")
  for name, options, message in (
      ("text", {}, "say its language with the option 'lang'"),
      ("text", {"lang": "en", "unit": "page"}, "unit is one of line paragraph"),
      ("lima", {}, "lima has instructions and no texts"),
      ("wikipedia", {}, "no source 'wikipedia'; there are rows lima"),
  ):
    with pytest.raises(UsageError, match=message):
      list(sources.open_documents(name, path, **options))
  with pytest.raises(UsageError, match="text has texts and no instructions"):
    sources.open_source("text", path)
