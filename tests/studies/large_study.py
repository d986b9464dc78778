"""Writes a study directory of a paper's size, to try its report with.

  python tests/studies/large_study.py DIR

12 languages, 12 systems, 617 questions, answers of 300 characters out of each
language's own words, every system judged in both orders against every
language's own model.
"""

import json
import pathlib
import random
import sys
import unicodedata

from mlit_jax import records
from mlit_jax.data.pocket import text

NUM_QUESTIONS, LENGTH, REPLY = 617, 300, 150


def write(
    directory: pathlib.Path, study, num_questions: int = NUM_QUESTIONS
) -> int:
  """Writes the three files; returns the number of answers.

  Args:
    directory: where.
    study: results.json of a study in every language; its monolingual models
      answer.
    num_questions: per language.
  """
  rng, codes = random.Random(0), study["languages"]
  names = [f"mono-{code}" for code in codes]
  words = {
      code: [w for s in text.statements(code) for w in _words(s.text)]
      for code in codes
  }

  def speak(code: str, length: int) -> str:
    found, size = [], 0
    while size <= length:
      found.append(rng.choice(words[code]))
      size += len(found[-1]) + 1
    return " ".join(found)[:length]

  records.write_json(directory / "results.json", study)

  def answers():
    for code in codes:
      for i in range(num_questions):
        given = {
            name: {
                "text": speak(code, LENGTH), "found": code,
                "exact": rng.random() < 0.3,
            }
            for name in names
        }
        row = {
            "id": f"q{i}", "lang": code, "prompt": speak(code, 120),
            "reference": speak(code, LENGTH), "answers": given,
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"

  def judgments():
    for code in codes:
      for name in names:
        if name == f"mono-{code}":
          continue
        for i in range(num_questions):
          for order in records.ORDERS:
            verdict = rng.choice(("a", "b", "tie"))
            yield records.Judgment(
                f"q{i}", code, "side_by_side", "reference", name,
                f"mono-{code}", order,
                f"{speak('en', REPLY)}\nVerdict: {verdict}", verdict=verdict,
                gate={"a": code, "b": code},
            )

  records.write_text(directory / "answers.jsonl", answers())
  records.write_records(directory / "judgments.jsonl", judgments())
  return len(codes) * len(names) * num_questions


def _words(line: str) -> list[str]:
  """Words, or characters of a script that is written without spaces."""
  if any(unicodedata.name(c, "").startswith("CJK") for c in line):
    return list(line)
  return line.split()


if __name__ == "__main__":
  sys.path.insert(0, str(pathlib.Path(__file__).parent))
  import conftest

  number = write(pathlib.Path(sys.argv[1]), conftest.results())
  print(f"{number:,} answers")
