"""Flags: each on what it is for, none on sound translations."""

import pytest

from mlit_jax.translation import flags

SOURCE = "The capital of Kenya is Nairobi, and its largest port is Mombasa."
SOUND = {
    "he": "בירת קניה היא ניירובי, והנמל הגדול ביותר שלה הוא מומבסה.",
    "ru": "Столица Кении — Найроби, а её крупнейший порт — Момбаса.",
    "sw": "Mji mkuu wa Kenya ni Nairobi, na bandari yake kubwa ni Mombasa.",
    "zh": "肯尼亚的首都是内罗毕，最大的港口是蒙巴萨。",
    "ja": "ケニアの首都はナイロビで、最大の港はモンバサです。",
    "ko": "케냐의 수도는 나이로비이고, 가장 큰 항구는 몸바사입니다.",
    "es": "La capital de Kenia es Nairobi y su mayor puerto es Mombasa.",
    "hi": "केन्या की राजधानी नैरोबी है और इसका सबसे बड़ा बंदरगाह मोम्बासा है।",
}


@pytest.mark.parametrize("lang", SOUND)
def test_a_sound_translation_has_no_flag(lang):
  assert flags.check(SOURCE, SOUND[lang], "en", lang) == ()
  assert flags.check(SOUND[lang], SOURCE, lang, "en") == ()


@pytest.mark.parametrize("lang", SOUND)
def test_the_sources_words_are_a_copy(lang):
  found = flags.check(SOURCE, SOURCE.upper(), "en", lang)
  assert found[0] == "untranslated"


@pytest.mark.parametrize(
    ("said", "written"),
    [("he", "ru"), ("ru", "he"), ("sw", "es"), ("es", "sw"), ("zh", "ja"),
     ("hi", "he"), ("ko", "ja"), ("ja", "ko")],
)
def test_another_language_is_noticed(said, written):
  if (said, written) == ("zh", "ja"):
    # Kana are no Han characters, but few of the letters here are not.
    assert "wrong_language" in flags.check(SOURCE, "ナイロビモンバサです" * 3,
                                           "en", "zh")
  else:
    found = flags.check(SOURCE, SOUND[written], "en", said)
    assert "wrong_language" in found


@pytest.mark.parametrize(
    ("translation", "lang", "is_off"),
    [
        ("Кения.", "ru", True), (SOUND["ru"] * 4, "ru", True), ("", "ru", True),
        (SOUND["ru"][:40], "ru", False), (SOUND["zh"] * 4, "zh", True),
        (SOUND["zh"][:3], "zh", True), (SOUND["zh"][:12], "zh", False),
    ],
)
def test_length(translation, lang, is_off):
  found = flags.check(SOURCE, translation, "en", lang)
  assert ("length_ratio" in found) == is_off


@pytest.mark.parametrize(
    ("source", "translation", "is_lost"),
    [
        ("Add {a} to `b`.", "Добавь `b` к {a}.", False),
        ("Add {a} to `b`.", "Добавь к {a}.", True),
        ("Add {a} to `b`.", "Добавь {a} и {a} к `b`.", True),
        ("Add {a} to it.", "Добавь [[0]] к этому.", True),
        ("It is 5 km.", "Это 5 км.", True),
        ("See [1] and [[0]].", "См. [[0]] и [1].", False),
        ("A word.", "Слово [[3]].", True),
    ],
)
def test_placeholders(source, translation, is_lost):
  found = flags.check(source, translation, "en", "ru")
  assert ("lost_placeholder" in found) == is_lost


@pytest.mark.parametrize(
    ("source", "translation", "is_broken"),
    [
        ("<b>a</b> c", "в <b>а</b>", False),
        ("<b>a</b> c", "в </b>а<b>", True),
        ("<p>a<br>b</p>", "<p>а<br>б</p>", False),
        ("- a\n- b", "- а\n- б", False),
        ("- a\n- b", "- а - б", True),
        ("1. a\n2. b", "1. а\n2. б", False),
        ("18 of them", "18. век", False),
        ("**a** c", "**а** в", False),
        ("**a** c", "** а* в", True),
        ("[a](b)", "[а] (b)", True),
        ("| a | b |\n| c | d |", "| а | б |\n| в | г |", False),
        ("| a | b |\n| c | d |", "| а | б | в | г |", True),
    ],
)
def test_markup(source, translation, is_broken):
  found = flags.check(source, translation, "en", "ru")
  assert ("broken_markup" in found) == is_broken
