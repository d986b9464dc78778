"""A study directory as alpaca writes one, with made-up scores."""

import json

from mlit_jax import records

CODES, UNSEEN = ("en", "he"), ("ar",)
SYSTEMS = {
    "base": {"kind": "base", "size": "base"},
    "mono-en": {"kind": "monolingual", "language": "en", "size": "base"},
    "mono-he": {"kind": "monolingual", "language": "he", "size": "base"},
    "all": {"kind": "all", "size": "base"},
}
NUM = 4


def _rating(system: str, lang: str) -> int:
  """1 to 3, and never the same for two systems of a language."""
  return 1 + (list(SYSTEMS).index(system) + len(lang)) % 3


def results():
  """results.json."""
  asked = (*CODES, *UNSEEN)

  def score(system, lang):
    value = _rating(system, lang)
    return {
        "score": value, "sum": NUM * value, "n": NUM,
        "ci": [value - 0.5, value + 0.5], "ungated": {"sum": NUM * value},
    }

  def rates():
    row = {"value": 50.0, "n": NUM, "ci": [20.0, 80.0]}
    return {name: dict.fromkeys(asked, row) for name in SYSTEMS}

  ratings = {x: {lang: score(x, lang) for lang in asked} for x in SYSTEMS}
  budgets = {
      lang: {
          budget: {"system": name, **ratings[name][lang]}
          for budget, name in (
              ("base", "base"), ("main", "mono-en"), ("all", "all"),
          )
      }
      for lang in asked
  }
  systems = {
      name: system | (
          {} if name == "base"
          else {"counts": {"en": 640}, "steps": 10, "tokens": 1000}
      )
      for name, system in SYSTEMS.items()
  }
  return {
      "study": "alpaca", "preset": "pocket", "seed": 0, "version": "0.1.0",
      "judge": {"spec": "reference", "is_language_model": False, "note": "No."},
      "languages": list(CODES),
      "base": {
          "name": "base", "parameters": 711000, "vocab_size": 3000,
          "num_layers": 2, "embed_dim": 128, "tokens_seen": 1300000,
          "shares": {"en": 0.5, "he": 0.5},
      },
      "systems": systems,
      "order": {"systems": list(SYSTEMS)},
      "test_languages": {"seen": list(CODES), "unseen": list(UNSEEN)},
      "num_questions": NUM,
      "exact_match": rates(),
      "language_consistency": rates(),
      "ratings": ratings,
      "budgets": {"base": budgets},
      "sizes": {"base": 711000}, "families": {"base": "llama"},
      "growth": {"seen": {}, "unseen": {}},
      "robustness": {
          name: {"value": 0.5, "ci": [0.1, 2.0], "n": 8} for name in SYSTEMS
      },
  }


def write(directory, change=None):
  """Writes results.json, answers.jsonl and judgments.jsonl."""
  directory.mkdir(parents=True)
  study = results()
  if change is not None:
    change(study)
  records.write_json(directory / "results.json", study)
  answers, judgments = [], []
  for lang in (*CODES, *UNSEEN):
    for i in range(NUM):
      answers.append({
          "id": f"q{i}", "lang": lang, "prompt": "?", "reference": "!",
          "answers": {
              name: {
                  "text": f"{name} {lang} <i>{i}</i>", "found": lang,
                  "exact": i == 0,
              }
              for name in SYSTEMS
          },
      })
      judgments += [
          records.Judgment(
              f"q{i}", lang, "rating", "reference", name, "", "ab",
              f"Rating: [[{_rating(name, lang)}]]",
              score=float(_rating(name, lang)),
          )
          for name in SYSTEMS
      ]
  lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in answers)
  records.write_text(directory / "answers.jsonl", lines)
  records.write_records(directory / "judgments.jsonl", judgments)
  return directory
