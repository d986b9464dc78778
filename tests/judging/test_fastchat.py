"""FastChat's files: what they mean here; that they come out as they were."""

import json
import os
import pathlib

import pytest

from mlit_jax import records
from mlit_jax.judging import fastchat, protocols

# Real files, where a checkout has them beside it.
SHARED = os.environ.get("MLIT_SHARED", pathlib.Path(__file__).parents[3])
MT_BENCH = pathlib.Path(SHARED) / "shared" / "data" / "mt_bench"
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["q1", "q2"]},
    {"question_id": 101, "category": "math", "turns": ["m1", "m2"],
     "reference": ["r1", "r2"]},
]
ANSWER = {
    "question_id": 81, "answer_id": "x", "model_id": "gpt",
    "choices": [{"index": 0, "turns": ["a1", "a2"]}], "tstamp": 1.5,
}
PAIR = {
    "question_id": 81, "model_1": "alpaca", "model_2": "gpt",
    "g1_winner": "model_1", "g2_winner": "tie",
    "judge": ["gpt-4", "pair-v2"], "g1_user_prompt": "p1",
    "g1_judgment": "Hm [[A]]", "g2_user_prompt": "p2", "g2_judgment": "[[C]]",
    "turn": 1, "tstamp": 1687224998.2,
}
PAIRS = [
    PAIR,
    PAIR | {"turn": 2, "g1_winner": "error", "g1_judgment": "$ERROR$",
            "g2_winner": "model_1", "g2_judgment": "[[B]]"},
    PAIR | {"question_id": 82, "g1_winner": "error", "g1_judgment": "none",
            "g2_winner": "model_2", "g2_judgment": "[[A]]", "note": "kept"},
]
SINGLE = {
    "question_id": 81, "model": "gpt", "judge": ["gpt-4", "single-v1"],
    "user_prompt": "p", "judgment": "Rating: [[8]]", "score": 8, "turn": 1,
    "tstamp": 2.0,
}


def _write(path, rows, end="\n"):
  text = "\n".join(json.dumps(row) for row in rows) + end
  path.write_text(text, encoding="utf-8")
  return path


def _read(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_questions_and_answers(tmp_path):
  # Some of the files have no newline at their end.
  path = _write(tmp_path / "question.jsonl", QUESTIONS, end="")
  assert fastchat.is_fastchat(path)
  questions = fastchat.read_questions(path, "fi")
  assert questions[1].id == "101" and questions[1].lang == "fi"
  assert [m.content for m in questions[1].messages] == ["m1", "m2"]
  assert questions[1].extra["reference"] == ["r1", "r2"]
  fastchat.write_questions(tmp_path / "q.jsonl", questions)
  assert _read(tmp_path / "q.jsonl") == QUESTIONS

  answers = fastchat.read_answers(
      _write(tmp_path / "a.jsonl", [ANSWER, ANSWER | {"question_id": 9}]),
      questions,
  )
  (answer,) = answers
  assert (answer.model, answer.response) == ("gpt", "a2")
  assert [m.content for m in answer.messages] == ["q1", "a1", "q2"]
  fastchat.write_answers(tmp_path / "again.jsonl", answers)
  assert fastchat.read_answers(tmp_path / "again.jsonl", questions) == answers


def test_references_may_stand_in_a_file_of_their_own(tmp_path):
  path = _write(tmp_path / "question.jsonl", QUESTIONS)
  right = _write(tmp_path / "reference.jsonl", [ANSWER | {"question_id": 101}])
  questions = fastchat.read_questions(path, "en", right)
  assert questions[1].extra["reference"] == ["a1", "a2"]
  assert "reference" not in questions[0].extra


@pytest.mark.parametrize("rows", [PAIRS, [
    SINGLE, SINGLE | {"turn": 2, "score": -1, "judgment": "$ERROR$"},
    SINGLE | {"question_id": 82, "score": -1, "judgment": "nothing"},
]])
def test_judgments_come_out_as_they_went_in(tmp_path, rows):
  path = _write(tmp_path / "j.jsonl", rows)
  judgments = fastchat.read_judgments(path, "en")
  fastchat.write_judgments(tmp_path / "again.jsonl", judgments)
  assert _read(tmp_path / "again.jsonl") == rows
  # Through our own file, too.
  records.write_records(tmp_path / "ours.jsonl", judgments)
  ours = records.read_records(tmp_path / "ours.jsonl", records.Judgment)
  fastchat.write_judgments(tmp_path / "again.jsonl", ours)
  assert _read(tmp_path / "again.jsonl") == rows


def test_what_a_pair_means(tmp_path):
  judgments = fastchat.read_judgments(_write(tmp_path / "j", PAIRS), "en")
  assert [(j.id, j.turn, j.order, j.verdict, j.failure) for j in judgments] == [
      ("81", 1, "ab", "a", ""), ("81", 1, "ba", "tie", ""),
      ("81", 2, "ab", "", "transport"), ("81", 2, "ba", "a", ""),
      ("82", 1, "ab", "", "unparsable"), ("82", 1, "ba", "b", ""),
  ]
  assert (judgments[0].judge, judgments[0].prompt) == ("gpt-4", "pair-v2")
  assert protocols.reparse(judgments) == judgments
  # FastChat takes the first letter of the alphabet; the last verdict counts.
  odd = PAIR | {"g1_judgment": "[[A]] at first, but [[B]]"}
  read = fastchat.read_judgments(_write(tmp_path / "j", [odd]), "en")
  assert read[0].verdict == "a"
  assert protocols.reparse(read)[0].verdict == "b"


def test_ours_become_theirs(tmp_path):
  j = records.Judgment(
      "81", "en", "mt_bench", "openai:m", "gpt", "", "ab", "[[7.5]]",
      score=7.5, turn=2, prompt="mt_bench-turn2-1.en",
  )
  fastchat.write_judgments(
      tmp_path / "j", [j], {fastchat.prompt_key(j): "what was asked"}
  )
  assert _read(tmp_path / "j") == [{
      "question_id": 81, "model": "gpt", "turn": 2, "score": 7.5,
      "judge": ["openai:m", "mt_bench-turn2-1.en"], "judgment": "[[7.5]]",
      "user_prompt": "what was asked", "tstamp": 0.0,
  }]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([QUESTIONS[0], {"question_id": 1}], "q.jsonl:2: 'turns' must be"),
        ([{"turns": ["x"]}], "q.jsonl:1: the row has no 'question_id'"),
        ([QUESTIONS[0] | {"lang": "Klingon"}], "q.jsonl:1: .*Klingon"),
    ],
)
def test_wrong_questions_are_named(tmp_path, rows, words):
  with pytest.raises(records.RecordError, match=words):
    fastchat.read_questions(_write(tmp_path / "q.jsonl", rows), "en")


def test_wrong_files_are_named(tmp_path):
  questions = fastchat.read_questions(_write(tmp_path / "q", QUESTIONS), "en")
  path = tmp_path / "a.jsonl"
  _write(path, [ANSWER | {"choices": []}])
  with pytest.raises(records.RecordError, match=r"a.jsonl:1: .*choices"):
    fastchat.read_answers(path, questions)
  _write(path, [ANSWER | {"choices": [{"turns": ["x"]}]}])
  with pytest.raises(records.RecordError, match="1 answers to 2 turns"):
    fastchat.read_answers(path, questions)
  _write(path, [ANSWER | {"choices": [{"turns": ["x", "\ud800"]}]}])
  with pytest.raises(records.RecordError, match="a.jsonl:1: a lone surrogate"):
    fastchat.read_answers(path, questions)
  tokens = [{"turns": ["x", "y"], "num_tokens": "many"}]
  _write(path, [ANSWER | {"choices": tokens}])
  with pytest.raises(records.RecordError, match="a.jsonl:1: 'num_tokens'"):
    fastchat.read_answers(path, questions)
  _write(path, [SINGLE | {"judge": "gpt-4"}, {"question_id": 1}])
  with pytest.raises(records.RecordError, match=r"a.jsonl:1: no judgment"):
    fastchat.read_judgments(path, "en")
  path.write_text("{\n")
  with pytest.raises(records.RecordError, match=r"a.jsonl:1: not JSON"):
    fastchat.is_fastchat(path)
  with pytest.raises(records.RecordError, match="cannot be read"):
    fastchat.is_fastchat(tmp_path / "nothing")


@pytest.mark.skipif(not MT_BENCH.exists(), reason="no shared/data/mt_bench")
@pytest.mark.parametrize("lang", "cs en es et fi hi it ru zh".split())
def test_the_translated_mt_benches_load(lang):
  folder = MT_BENCH / lang
  questions = fastchat.read_questions(folder / "question.jsonl", lang)
  assert len(questions) == (50 if lang == "ru" else 80)
  assert {q.lang for q in questions} == {lang}
  (path,) = folder.glob("answers*.jsonl")
  answers = fastchat.read_answers(path, questions)
  asked = protocols.ask(protocols.PROTOCOLS["mt_bench"], True, questions,
                        answers)
  guided = [q for q in asked if q.item.guided]
  # Question 123 came without its reference, and 103, 108 and 110 without that
  # of the second turn, but for one translation.
  assert len(asked) == 2 * len(questions)
  assert len(guided) == {"ru": 0, "hi": 58}.get(lang, 55)
  assert len(questions[0].messages) == 2
