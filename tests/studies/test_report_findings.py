"""The report's sentences say what the numbers show, and no more."""

import pytest

from mlit_jax.studies.report import findings, reading

FEW = ("en", "he", "sw")


def _titles(remarks):
  return [remark.title for remark in remarks]


def _study(make_study, change=None, **options):
  return reading.read(make_study(change, **options))


def test_no_transfer_is_said_plainly(make_study):
  study = _study(make_study, transfer=False)
  found = findings.findings(study)
  assert 3 <= len(found) <= 5
  assert _titles(found)[:2] == [
      "Tuning works in the model’s own language.",
      "No transfer between languages is seen.",
  ]
  text = found[1].text
  assert "In 0 of 132 pairs of languages the score lies clearly above" in text
  mean = findings.mean(x for _, _, x in findings.pairs_of_languages(study))
  assert f"scores {mean:.1f} on average" in text


def test_transfer_is_counted(make_study):
  title = _titles(findings.findings(_study(make_study, transfer=True)))[1]
  assert title == "Transfer between languages is seen in most pairs."

  def one(study):
    study["heat_map"]["mono-en"]["he"] |= {"score": 60.0, "ci": [48.0, 71.0]}

  remark = findings.findings(_study(make_study, one, name="one"))[1]
  assert remark.title.endswith("is seen in some pairs only.")
  assert "In 1 of 132 pairs of languages" in remark.text


def test_own_language_is_only_claimed_where_it_is_clear(make_study):
  def change(study):
    study["against_control"]["he"] |= {"score": 58.0, "ci": [49.0, 67.0]}

  remark = findings.findings(_study(make_study, change, codes=FEW))[0]
  assert remark.title == "Tuning does not clearly work in every language."
  assert "base in all 3 languages" in remark.text
  assert "answers in 2 of 3 languages" in remark.text


@pytest.mark.parametrize(
    "score, ci, title, words",
    [
        (30.0, [25.0, 35.0], "1% of other languages already helps them.",
         "a clear rise"),
        (11.0, [7.0, 15.0], "1% of other languages makes no difference that"
         " these data show.", "the intervals overlap"),
        (2.0, [1.0, 4.0], "1% of other languages does not help them.",
         "a clear fall"),
    ],
)
def test_a_pinch(make_study, score, ci, title, words):
  def change(study):
    start, first = study["curve"]
    start["others"] |= {"score": 8.0, "ci": [5.0, 11.0]}
    first["others"] |= {"score": score, "ci": ci}
    first["english"] |= {"score": 47.0, "ci": [38.0, 56.0]}

  study = _study(make_study, change, codes=FEW, percents=(0, 1))
  *_, pinch, english = findings.findings(study)
  assert pinch.title == title
  assert "(13 of 1,280)" in pinch.text and words in pinch.text
  assert f"from 8.0 to {score:.1f}" in pinch.text
  assert english.title == "No cost to English is seen."


def test_from_ten_percent_on_the_main_language_has_a_share(make_study):
  def change(study):
    study["systems"]["p10"]["counts"] = {"en": 46, "he": 2, "sw": 2}

  study = _study(make_study, change, codes=FEW, percents=(0, 10))
  pinch = findings.findings(study)[-2]
  assert pinch.text.startswith(
      "With 10% of the examples spread over all languages (4 of 50 in others"
      " than English), the average score in the others goes from"
  )


def test_empty_answers_are_a_caveat(make_study):
  study = _study(make_study, codes=FEW)
  assert findings.empty_answers(study, {"base": (10, 20)}) == []
  (found,) = findings.empty_answers(
      study, {"base": (11, 20), "mono-he": (0, 20), "p1": (20, 20)}
  )
  assert found.title == "Empty answers."
  assert "Untuned base 11 of 20, 1% mixture 20 of 20." in found.text


def test_cost_to_english(make_study):
  def change(study):
    for point, high in zip(study["curve"][1:], (56.0, 49.0, 44.0, 30.0)):
      point["english"] |= {"score": high - 8, "ci": [high - 16, high]}

  remark = findings.findings(_study(make_study, change, codes=FEW))[-1]
  assert remark.title == "English pays for it from 10% on."
  assert "3 of 4 mixtures score clearly below 50 in English" in remark.text
  assert "at 100% the score is 22.0 (14.0–30.0)" in remark.text


def test_caveats(make_study):
  found = findings.caveats(_study(make_study))
  assert _titles(found) == [
      "The judge is not a language model.", "The models are very small.",
      "Failures: none.", "One training run each.",
      "Many numbers, some wrong by chance.",
  ]
  assert "Each of the 2,880 judgments" in found[2].text

  def change(study):
    study["judge"] = {"spec": "gemini", "is_language_model": True, "note": ""}
    study["base"]["parameters"] = 7_000_000_000
    # Also of what is in none of the first three figures.
    study["failures"] = {"refused": 2, "unparsable": 1}

  found = findings.caveats(_study(make_study, change, name="b", codes=FEW))
  assert _titles(found) == [
      "The judge is a language model.", "Failures: 3 of 2,880 judgments.",
      "One training run each.",
  ]
  assert "refused 2, unparsable 1" in found[1].text
