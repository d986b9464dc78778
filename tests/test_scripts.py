"""Scripts: the share of letters that are in a language's own."""

import pytest

from mlit_jax import languages, scripts


@pytest.mark.parametrize(
    ("text", "lang", "letters", "share"),
    [
        ("hello, мир", "en", 8, 5 / 8),
        ("hello, мир", "rus_Cyrl", 8, 3 / 8),
        ("东京 Tokyo", "zh", 7, 2 / 7),
        ("東京タワーです", "ja", 7, 1.0),
        # Vowel signs are marks and no letters.
        ("नमस्ते", "hi", 4, 1.0),
        ("12 + 3 = 15", "ar", 0, 1.0),
    ],
)
def test_share_of_letters(text, lang, letters, share):
  assert scripts.share(text, lang) == (letters, pytest.approx(share))


def test_code_formulas_and_addresses_are_in_no_language():
  text = """Так:
```python
print("hello")
```
`x = y` $$\\alpha + b$$ https://example.org/page me@example.org"""
  assert scripts.share(text, "ru") == (3, 1.0)
  # A fence that was not closed reaches to the end.
  assert scripts.share("да ```py\nprint(x)", "ru") == (2, 1.0)


def test_every_language_of_the_registry_has_a_known_script():
  # Modifier letters, as in oʻzbekcha, belong to none.
  for language in languages.all_languages():
    assert scripts.share(language.autonym, language.code)[1] > 0.8, language


def test_long_runs_without_spaces_are_gone_through_once():
  run = "文" * 1_000_000 + "x@" * 100_000
  assert scripts.share(run, "zh") == (4000, 1.0)
  assert scripts.share("a" * 3999, "en") == (3999, 1.0)
