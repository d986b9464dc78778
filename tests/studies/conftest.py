"""A study directory like the ones a study writes, with scores to choose."""

import copy
import functools
import json
import random

import large_study as large_study_lib
import pages
import pytest
import small_studies

from mlit_jax import records
from mlit_jax.analysis import judgments as judgments_lib
from mlit_jax.data import tokenizers
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.studies.report import page

CODES = "ar zh cs en et fi he hi it ru es sw".split()
QUESTIONS = {
    "ar": ("ما هي عاصمة فرنسا؟", "عاصمة فرنسا هي باريس."),
    "zh": ("法国的首都是哪里？", "法国的首都是巴黎。"),
    "cs": ("Jaké je hlavní město Francie?", "Hlavní město Francie je Paříž."),
    "en": ("What is the capital of France?", "The capital of France is Paris."),
    "et": ("Mis on Prantsusmaa pealinn?", "Prantsusmaa pealinn on Pariis."),
    "fi": ("Mikä on Ranskan pääkaupunki?", "Ranskan pääkaupunki on Pariisi."),
    "he": ("מהי בירת צרפת?", "בירת צרפת היא פריז."),
    "hi": ("फ़्रांस की राजधानी क्या है?", "फ़्रांस की राजधानी पेरिस है।"),
    "it": ("Qual è la capitale della Francia?",
           "La capitale della Francia è Parigi."),
    "ru": ("Какой город является столицей Франции?",
           "Столица Франции — Париж."),
    "es": ("¿Cuál es la capital de Francia?",
           "La capital de Francia es París."),
    "sw": ("Mji mkuu wa Ufaransa ni upi?", "Mji mkuu wa Ufaransa ni Paris."),
}
LONG = "so on and " * 500
HOSTILE = (
    "<script>document.title = 'owned'; alert(1)</script>",
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"quotes\" & 'apostrophes' <!-- <b>bold</b> \\u003c \u2028 end",
    "שלום <b>עולם</b> \u202e!",
    LONG,
    "",
)


def summary(win, tie, loss, failed=0):
  """A summary as analysis.judgments makes it, of that many pairs."""
  return copy.deepcopy(_summary(win, tie, loss, failed))


@functools.cache
def _summary(win, tie, loss, failed):
  verdicts = [("a", "a")] * win + [("b", "b")] * loss
  # Every other tie is a verdict that changed with the order.
  verdicts += [(("tie", "tie"), ("a", "b"))[i % 2] for i in range(tie)]
  verdicts += [None] * failed
  rows = []
  for i, verdict in enumerate(verdicts):
    for k, order in enumerate(("ab", "ba")):
      rows.append(
          records.Judgment(
              f"{i}", "en", "side_by_side", "reference", "a", "b", order, "",
              verdict=verdict[k] if verdict else "",
              failure="" if verdict else "unparsable",
              gate={"a": "en", "b": "en"},
          )
      )
  return judgments_lib.summarise(rows)["overall"]


def rate(percent, n=60):
  half = min(12, percent, 100 - percent)
  return {"value": percent, "n": n, "ci": [percent - half, percent + half]}


def pair(percent, rng=None, n=60, failed=0):
  """A summary whose score is near `percent`."""
  percent = percent + (rng.uniform(-4, 4) if rng else 0)
  points = round(2 * n * min(100, max(0, percent)) / 100)
  tie = min(points, 2 * n - points, 9)
  tie -= (points - tie) % 2
  win = (points - tie) // 2
  return summary(win, tie, n - win - tie, failed)


def average(summaries):
  scores = [s["score"] for s in summaries]
  if not scores:
    return {"score": None, "ci": [None, None], "n": 0}
  mean = sum(scores) / len(scores)
  return {
      "score": round(mean, 6), "ci": [max(0, mean - 3), min(100, mean + 3)],
      "n": sum(s["n"] for s in summaries),
  }


def results(codes=CODES, transfer=False, percents=(0, 1, 10, 50, 100), seed=0):
  """results.json of a study in which transfer is seen, or is not."""
  rng = random.Random(seed)
  others = [c for c in codes if c != "en"]
  systems = {"base": {"kind": "base"}}
  for code in codes:
    row = {"language": code, "counts": {code: 1280}, "steps": 220,
           "tokens": 61440}
    systems[f"mono-{code}"] = {"kind": "monolingual", **row}
    systems[f"control-{code}"] = {"kind": "control", **row}
  for percent in percents[1:]:
    moved = round(1280 * percent / 100)
    counts = {c: moved // len(others) + (i < moved % len(others))
              for i, c in enumerate(others)}
    counts["en"] = 1280 - moved
    systems[f"p{percent}"] = {
        "kind": "mixture", "percent": percent, "counts": counts, "steps": 220,
        "tokens": 61440,
    }
  heat_map = {
      f"mono-{row}": {
          column: pair(24 if transfer else 3, rng)
          for column in codes if column != row
      }
      for row in codes
  }
  curve = []
  for percent in percents:
    system = f"p{percent}" if percent else "mono-en"
    scores = {
        c: pair(3 + 3.6 * percent**0.5, rng) for c in others
    }
    if percent:
      scores["en"] = english = pair(50 - 2.5 * percent**0.5, rng)
      english = {k: english[k] for k in ("score", "ci", "n")}
    else:
      scores["en"] = None
      english = {"score": 50.0, "ci": [50.0, 50.0], "n": 0}
    curve.append({
        "percent": percent, "system": system, "languages": scores,
        "english": english,
        "others": average([scores[c] for c in others]),
        "average": average([s or summary(0, 60, 0) for s in scores.values()]),
    })
  exact, consistency = {}, {}
  for system in systems:
    kind, _, own = system.partition("-")
    asked = [own] if kind == "control" else codes
    exact[system] = {
        c: rate(rng.randint(52, 80) if kind == "mono" and c == own else
                rng.randint(0, 4)) for c in asked
    }
    consistency[system] = {
        c: rate(rng.randint(95, 100) if c == own or kind.startswith("p") else
                rng.randint(5, 30)) for c in asked
    }
  return {
      "study": "pinch", "preset": "pocket", "seed": seed, "version": "0.1.0",
      "judge": {
          "spec": "reference", "is_language_model": False,
          "note": "It compares each answer with one right answer, letter by"
                  " letter, after checking its language.",
      },
      "languages": list(codes),
      "base": {
          "name": "base", "parameters": 711000, "vocab_size": 3000,
          "num_layers": 2, "embed_dim": 128, "tokens_seen": 1300000,
          "shares": {c: round(1 / len(codes), 3) for c in codes},
      },
      "systems": systems,
      "heat_map": heat_map,
      "curve": curve,
      "against_base": {c: pair(96, rng) for c in codes},
      "against_control": {c: pair(90, rng) for c in codes},
      "exact_match": exact,
      "language_consistency": consistency,
      "exact_match_by_task": {
          "capital": rate(71, 144), "day_after": rate(33, 12),
          "yes_no": rate(58, 60),
      },
      "judgments": 2880, "failures": {},
      "learning": {"against_base_floor": 65.0},
  }


def answers(study):
  """answers.jsonl: plain and hostile answers in every language."""
  rows = []
  for code in study["languages"]:
    prompt, reference = QUESTIONS.get(code, ("?", "!"))
    for i, hostile in enumerate((None, *HOSTILE)):
      given = {}
      for name, system in study["systems"].items():
        own = system.get("language")
        if system["kind"] == "control" and own != code:
          continue
        if name == "base" and hostile is not None:
          given[name] = {"text": hostile, "found": "", "exact": False}
        elif own and own != code:
          text = QUESTIONS[own][1]
          given[name] = {"text": text, "found": own, "exact": False}
        else:
          given[name] = {"text": reference, "found": code, "exact": True}
      rows.append({
          "id": f"capital/france-paris/{i}", "lang": code, "prompt": prompt,
          "reference": reference, "answers": given,
      })
  return rows


# Of the seven questions, what the judge said when the first system's answer
# stood first, and when it stood second; None where its reply had no verdict.
VERDICTS = (
    ("a", "a"), ("b", "b"), ("a", "b"), ("tie", "tie"), ("a", None),
    ("b", "b"), ("b", "tie"),
)


def judgments(study):
  """judgments.jsonl: each system against a language's own, and ratings."""
  def row(id_, lang, system, other, order, verdict):
    said = verdict or "<b>I cannot say</b> \u202e"
    return records.Judgment(
        id_, lang, "side_by_side", "reference", system, other, order,
        f"{order}: <script>alert(1)</script> {said}", verdict=verdict or "",
        failure="" if verdict else "unparsable", gate={"a": lang, "b": lang},
    ).to_row()

  rows = []
  for lang in study["languages"]:
    for name, system in study["systems"].items():
      other = f"mono-{lang}"
      if name == other or system["kind"] == "control":
        continue
      for i, verdicts in enumerate(VERDICTS):
        id_ = f"capital/france-paris/{i}"
        for order, verdict in zip(("ab", "ba"), verdicts):
          rows.append(row(id_, lang, name, other, order, verdict))
  for i in range(len(VERDICTS)):
    for name, score in (("mono-en", 3.0), ("control-en", 1.0)):
      rows.append(
          records.Judgment(
              f"capital/france-paris/{i}", "en", "rating", "reference", name,
              "", "ab", f"Rating: [[{score}]]", score=score,
          ).to_row()
      )
  return rows


def write(directory, change=None, **options):
  """Writes a study directory; `change` alters the results in place."""
  directory.mkdir()
  study = results(**options)
  if change is not None:
    change(study)
  records.write_json(directory / "results.json", study)
  for name, rows in (("answers", answers), ("judgments", judgments)):
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(study))
    records.write_text(directory / f"{name}.jsonl", lines)
  return directory


@pytest.fixture(scope="session")
def write_study():
  """`write` for tests that share what it writes."""
  return write


@pytest.fixture
def make_study(tmp_path):
  """Writes a study directory of some name; takes what `write` takes."""

  def make(change=None, name="study", **options):
    return write(tmp_path / name, change, **options)

  return make


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
  """A study in four languages."""
  directory = tmp_path_factory.mktemp("studies") / "study"
  return write(directory, codes=("en", "he", "ar", "sw"))


@pytest.fixture(scope="module")
def large_study(tmp_path_factory):
  """A study of a paper's size; takes some seconds to write."""
  directory = tmp_path_factory.mktemp("large")
  large_study_lib.write(directory, results())
  return directory


@pytest.fixture(scope="session")
def small_page(made_once):
  """Finds the page of a small study by name."""

  def fill(directory):
    page.write_report(small_studies.write(directory, directory.name))

  return lambda name: made_once(name, fill) / "report.html"


@pytest.fixture(scope="session")
def save_base(random_params):
  """Writes a tiny random model with a tokenizer made of some texts."""

  def save(directory, texts, vocab_size, **change):
    tokenizer = tokenizers.train_sentencepiece(texts, vocab_size)
    shape = {
        "num_layers": 1, "embed_dim": 16, "num_heads": 2, "num_kv_heads": 2,
        "head_dim": 8, "mlp_dim": 16, "max_length": 256,
    }
    config = DecoderConfig(tokenizer.vocab_size, **shape | change)
    huggingface.save(
        directory, config, random_params(config), tokenizer.model,
        bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id,
    )

  return save


@pytest.fixture(scope="module")
def given(save_base, tmp_path_factory):
  """A tiny random base, and rows of one's own in three languages."""
  directory = tmp_path_factory.mktemp("given")
  words = {"en": "one two three", "es": "uno dos tres", "bn": "এক দুই তিন"}
  save_base(directory / "base", [*words.values()] * 9, 330)
  for name, number in (("train", 12), ("questions", 3)):
    rows = [
        {"id": f"{name}/{i}", "lang": lang, "prompt": f"{text} {i}?",
         "response": text}
        for i in range(number) for lang, text in words.items()
    ]
    (directory / f"{name}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
  return directory


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  """Headless Chromium."""
  driver = pages.start(tmp_path_factory.mktemp("profile"))
  yield driver
  driver.quit()
