"""The fastText gate: script first, then the model, and abstaining."""

import pytest

from mlit_jax.errors import UsageError
from mlit_jax.judging import identification
from mlit_jax.judging.gate import ABSTAINED

GATE = identification.FastTextGate()
PINCH = ("ar", "zh", "cs", "en", "et", "fi", "he", "hi", "it", "ru", "es", "sw")
SENTENCES = {
    "en": "The committee has not yet decided when the new bridge will open.",
    "es": "El comité todavía no ha decidido cuándo se abrirá el nuevo puente.",
    "it": "Il comitato non ha ancora deciso quando aprirà il nuovo ponte.",
    "cs": "Výbor se ještě nerozhodl, kdy bude nový most otevřen.",
    "et": "Komisjon ei ole veel otsustanud, millal uus sild avatakse.",
    "fi": "Lautakunta ei ole vielä päättänyt, milloin uusi silta avataan.",
    "sw": "Kamati bado haijaamua ni lini daraja jipya litafunguliwa kwa umma.",
    "ru": "Комитет ещё не решил, когда откроется новый мост.",
    "he": "הוועדה עדיין לא החליטה מתי ייפתח הגשר החדש.",
    "hi": "समिति ने अभी तक तय नहीं किया है कि नया पुल कब खुलेगा।",
    "ar": "لم تقرر اللجنة بعد متى سيفتح الجسر الجديد.",
    "zh": "委员会尚未决定新桥何时开放。",
}


@pytest.mark.parametrize("code", PINCH)
def test_a_sentence_is_found_among_twelve(code):
  found = GATE.identify(SENTENCES[code], PINCH)
  assert found.lang == code
  assert 0.5 < found.confidence <= 1


def test_a_script_that_one_language_has_decides_however_short():
  assert GATE.identify("巴黎。", PINCH).lang == "zh"
  assert GATE.identify("פריז", PINCH).lang == "he"
  # A Latin word may be anybody's; a number nobody's.
  assert GATE.identify("Lima", PINCH) == ABSTAINED
  assert GATE.identify("42 = 6 × 7", PINCH) == ABSTAINED
  assert GATE.identify("", PINCH) == ABSTAINED


def test_code_addresses_and_quotes_do_not_count():
  code = "```python\nfor the_number in range(10):\n  print(the_number)\n```"
  assert GATE.identify(f"{SENTENCES['he']}\n{code}", PINCH).lang == "he"
  assert GATE.identify(code, PINCH) == ABSTAINED
  quoted = "\n".join(f"> {SENTENCES['en']}" for _ in range(3))
  assert GATE.identify(f"{quoted}\n{SENTENCES['es']}", PINCH).lang == "es"


def test_a_language_that_is_no_candidate_is_told():
  assert GATE.identify(SENTENCES["en"], ("he",)).lang == "en"
  assert GATE.identify(SENTENCES["ru"], ("en", "es")).lang == "ru"
  assert GATE.identify(SENTENCES["it"], ("es",)).lang == "it"


@pytest.mark.parametrize(
    "candidates", [("EN", "FI"), ("eng_Latn", "fin_Latn"), ("English", "fin")]
)
def test_any_spelling_of_a_language_is_its_own(candidates):
  # Another spelling would be another language: every rating would be 0.
  english, finnish = candidates
  assert GATE.identify(SENTENCES["en"], candidates).lang == english
  assert GATE.identify(SENTENCES["fi"], candidates).lang == finnish
  assert GATE.identify(SENTENCES["fi"], candidates[:1]).lang == "fi"


def test_a_file_that_is_no_model_is_told_at_once(tmp_path):
  path = tmp_path / "model.bin"
  path.write_text("no model")
  with pytest.raises(UsageError, match="model.bin: no fastText model"):
    identification.FastTextGate(path)


def test_wrong_use(tmp_path):
  with pytest.raises(UsageError, match="no such language identification model"):
    identification.FastTextGate(tmp_path / "none.ftz")
  with pytest.raises(ValueError, match="needs candidates"):
    GATE.identify("text", ())
