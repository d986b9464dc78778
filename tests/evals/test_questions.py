"""XQuAD, MLQA and FLORES: what is asked and what an answer is worth."""

import importlib.util
import json
import pathlib

import pytest

from mlit_jax.evals import answer_matching, benchmarks, mt, qa
from mlit_jax.evals.items import BenchmarkError, Question

pytest.importorskip("lm_eval.tasks")
sacrebleu = pytest.importorskip("sacrebleu")
import lm_eval  # noqa: E402
import small_tokenizers  # noqa: E402
from sacrebleu import significance  # noqa: E402

THEIRS = pathlib.Path(lm_eval.__file__).parent / "tasks"
SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data"
ANSWERS = [
    ("The Broncos", "broncos."), ("a b c d", "the a B, c"), ("", "x"),
    ("308", "308 points"), ("la casa de él", "casa él"), ("El  «gato»", "gato"),
    ("二〇〇五年，北京", "北京 2005 年"), ("北京市", "“北京市”"),
    ("abc 北", "ABC北"),
    ("ein Haus und der Hund", "Haus und Hund"), ("những con mèo", "con mèo"),
    ("الكتاب والقلم", "كتاب والقلم"), ("هذا الكتاب", "هذا كتاب"),
    ("मकान।", "मकान"), ("x-y z", "xy z"), ("der der Hund", "Hund der"),
]


def _module(path):
  spec = importlib.util.spec_from_file_location("theirs", THEIRS / path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("lang", qa.MLQA_LANGUAGES)
def test_mlqas_rules_are_the_harnesss(lang):
  theirs = _module("mlqa/utils.py")
  for answer, reference in ANSWERS:
    for a, b in ((answer, reference), (reference, answer), (answer, answer)):
      ours = (a, [b], lang, answer_matching.mlqa_2026)
      assert answer_matching.exact_match(*ours) == float(
          theirs.exact_match_score(a, b, lang)
      )
      if a or b:  # two empty texts: F1 is theirs 0, exact match 1
        assert answer_matching.f1(*ours) == pytest.approx(
            theirs.f1_score(a, b, lang)
        )


def test_mlqas_first_version_deletes_the_arabic_article_anywhere():
  # By hand: ال stands inside of "والقلم" too.
  assert answer_matching.mlqa("الكتاب والقلم", "ar") == ["كتاب", "و", "قلم"]
  assert answer_matching.mlqa_2026("الكتاب والقلم", "ar") == ["كتاب", "والقلم"]


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("The Broncos", "broncos.", 1, 1),
        ("a b c d", "the a B, c", 0, 0.8),  # b c d and b c
        ("308", "308 points", 0, 2 / 3),
        ("«gato»", "gato", 0, 0),  # only ASCII punctuation goes
        ("el gato", "gato", 0, 2 / 3),  # only English articles go
        ("北京市", "北京", 0, 0),  # no spaces, one word
        ("x", "", 0, 0),
    ],
)
def test_squads_rules_by_hand(answer, reference, exact, f1):
  ours = (answer, [reference], "zh", answer_matching.squad)
  assert answer_matching.exact_match(*ours) == exact
  assert answer_matching.f1(*ours) == pytest.approx(f1)


def test_any_of_the_references_counts_and_is_found_in_the_answer():
  question = Question("q", "?", ("two", "2"), "")
  assert qa.xquad_scores(question, "It is TWO!", "en") == {
      "exact_match": 0.0, "f1": 0.5, "contains": 1.0
  }
  assert qa.mlqa_scores(question, "2.", "en") == {
      "exact_match": 1.0, "f1": 1.0, "exact_match_2026": 1.0, "f1_2026": 1.0,
      "contains": 1.0,
  }


def _squad(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps({"data": [{"paragraphs": [{
      "context": "Paris is in {{France}}.",
      "qas": [
          {"id": f"q{i}", "question": f"Where {i}?",
           "answers": [{"text": "France", "answer_start": 14}]}
          for i in range(2)
      ],
  }]}]}))


@pytest.mark.parametrize("lang", qa.XQUAD_LANGUAGES)
def test_xquad_asks_what_the_harness_asks(lang, tmp_path):
  _squad(tmp_path / "xquad" / f"xquad.{lang}.json")
  ours = list(benchmarks.BENCHMARKS["xquad"].items(tmp_path, lang))
  config = (THEIRS / "xquad" / f"xquad_{lang}.yaml").read_text()
  (text,) = (x for x in config.splitlines() if x.startswith("doc_to_text"))
  text = json.loads(text.partition(": ")[2])
  want = text.replace("{{context}}", "Paris is in {{France}}.").replace(
      "{{question}}", "Where 1?"
  )
  if lang == "ar":  # they leave a letter out
    want = want.replace("سيا:", "سياق:")
  assert ours[1].prompt == want
  assert ours[1].references == ("France",)
  assert ours[0].cluster == ours[1].cluster


def test_real_xquad_is_read_whole():
  if not (SHARED / "xquad").exists():
    pytest.skip("needs ../shared/data/xquad")
  by_lang = {
      lang: list(benchmarks.BENCHMARKS["xquad"].items(SHARED, lang))
      for lang in ("en", "es", "ru", "zh")
  }
  # 1,190 questions about 240 texts (Artetxe et al. 2020), parallel.
  for items in by_lang.values():
    assert len(items) == 1190
    assert len({item.cluster for item in items}) == 240
    assert [x.id for x in items] == [x.id for x in by_lang["en"]]
    assert [x.cluster for x in items] == [x.cluster for x in by_lang["en"]]
    assert all(x.references[0] in x.prompt for x in items)


def test_mlqa_is_found_under_its_names(tmp_path):
  name = "MLQA_V1/test/test-context-de-question-de.json"
  _squad(tmp_path / name)
  (first, _) = benchmarks.BENCHMARKS["mlqa"].items(tmp_path, "de")
  assert first.prompt.endswith("\n\nFrage: Where 0?\n\nAntwort:")
  (tmp_path / name).write_text('{"data": [{}]}')
  with pytest.raises(BenchmarkError, match="not of SQuAD's form .KeyError"):
    list(benchmarks.BENCHMARKS["mlqa"].items(tmp_path, "de"))
  with pytest.raises(BenchmarkError, match="put mlqa/test-context-hi-quest"):
    list(benchmarks.BENCHMARKS["mlqa"].items(tmp_path, "hi"))


def test_flores_in_both_directions(tmp_path):
  for folder, names in (
      ("flores200_dataset", ("eng_Latn", "zho_Hans")),
      ("flores101_dataset", ("eng", "swh")),
  ):
    place = tmp_path / "flores" / folder / "devtest"
    place.mkdir(parents=True)
    for name in names:
      text = "".join(f"{name} {i} {{x}}\n" for i in range(2))
      (place / f"{name}.devtest").write_text(text)
  out = list(benchmarks.BENCHMARKS["flores:from_en"].items(tmp_path, "zh"))
  back = list(benchmarks.BENCHMARKS["flores:to_en"].items(tmp_path, "zh"))
  assert out[1].prompt == (
      "Translate the following text from English into Chinese.\n\n"
      "eng_Latn 1 {x}"
  )
  assert (out[1].cue, back[1].cue) == ("\n\nChinese:", "\n\nEnglish:")
  assert out[1].references == (back[1].source,) == ("zho_Hans 1 {x}",)
  (item, _) = benchmarks.BENCHMARKS["flores:from_en"].items(tmp_path, "sw")
  assert item.references == ("swh 0 {x}",)
  place = tmp_path / "flores/flores200_dataset/devtest/zho_Hans.devtest"
  place.write_text("one line\n")
  for name in ("flores:from_en", "flores:to_en"):
    with pytest.raises(BenchmarkError, match="must be parallel"):
      list(benchmarks.BENCHMARKS[name].items(tmp_path, "zh"))


def test_translations_are_scored_as_sacrebleu_does(tmp_path, monkeypatch):
  monkeypatch.setattr("sacrebleu.utils.SACREBLEU_DIR", str(tmp_path))
  monkeypatch.setattr(
      "sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path)
  )
  references = [f"the cat number {i} sat on the mat" for i in range(30)]
  answers = [x.replace("cat", "dog") for x in references[:20]] + ["a"] * 10
  missing = mt.missing_tokenizers()
  assert len(missing) == 2
  assert f"{tmp_path}/models/sacrebleu_tokenizer_spm.model" in missing[0]
  assert mt.corpus_scores(answers, references).keys() == {"chrf++"}
  (tmp_path / "models").mkdir()
  (tmp_path / "models" / "sacrebleu_tokenizer_spm.model").write_bytes(
      small_tokenizers.sentencepiece_model(
          references, vocab_size=300, byte_fallback=True
      )
  )
  assert [m[:18] for m in mt.missing_tokenizers()] == ["spBLEU (flores200)"]
  found = mt.corpus_scores(answers, references)
  want = {
      "chrf++": sacrebleu.corpus_chrf(answers, [references], word_order=2),
      "spbleu_flores101": sacrebleu.corpus_bleu(
          answers, [references], tokenize="flores101"
      ),
  }
  assert found.keys() == want.keys()
  for name, entry in found.items():
    (low, high), score = entry["ci"], entry["score"]
    assert score == want[name].score
    assert 0 < low < score < high < 100
  version = sacrebleu.__version__
  assert found["chrf++"]["signature"] == (
      f"nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}"
  )
  assert found["spbleu_flores101"]["signature"] == (
      f"nrefs:1|case:mixed|eff:no|tok:flores101|smooth:exp|version:{version}"
  )
  # Against sacreBLEU's own test, where there are no ties.
  other = [x.replace("mat", "rug") for x in references[:22]] + ["the"] * 8
  ours = mt.paired(answers, other, references)
  _, theirs = significance.PairedTest(
      [("a", answers), ("b", other)], mt._metrics(), [references], "ar", 2000
  )()
  for name, (_, result) in zip(ours, list(theirs.values())[1:]):
    assert ours[name]["second"] == result.score
    assert ours[name]["p"] == pytest.approx(result.p_value, abs=0.04)
    low, high = ours[name]["ci"]
    assert low < ours[name]["difference"] < high
  # Two equal systems, and two that differ in one sentence alone: there every
  # exchange gives the same difference.
  for changed in ([], ["the cat"]):
    for name, entry in mt.paired(
        answers, changed + answers[len(changed) :], references
    ).items():
      assert entry["p"] == 1, name
  theirs = mt._metrics()["chrf++"].corpus_score(
      answers, [references], n_bootstrap=2000
  )
  low, high = found["chrf++"]["ci"]
  assert (high - low) / 2 == pytest.approx(float(theirs._ci), rel=0.1)
  # Nothing in common.
  nothing = mt.corpus_scores(["", "§"], references[:2])
  assert [(e["score"], e["ci"]) for e in nothing.values()] == [
      (0, [0, 0])
  ] * len(nothing)
