"""OpenAssistant's trees: the best-ranked reply, and conversations."""

import itertools

import pytest

from mlit_jax.errors import UsageError

_NUMBERS = itertools.count()


def _message(role, text, replies=(), **more):
  return {
      "message_id": f"m{next(_NUMBERS)}", "text": text, "role": role,
      "lang": "en", "review_result": True, "deleted": False,
      "synthetic": False, "replies": list(replies), **more,
  }


def _ask(text, *replies, **more):
  return _message("prompter", text, replies, **more)


def _reply(text, *replies, rank=None, **more):
  return _message("assistant", text, replies, rank=rank, **more)


def _tree(prompt, name="t", state="ready_for_export"):
  return {"message_tree_id": name, "tree_state": state, "prompt": prompt}


def _flat(tree):
  """The messages of a tree as rows of their own, as in the other files."""
  rows = []

  def add(message, parent):
    row = {k: v for k, v in message.items() if k != "replies"}
    rows.append({
        **row, "parent_id": parent, "message_tree_id": tree["message_tree_id"],
        "tree_state": tree["tree_state"],
    })
    for reply in message["replies"]:
      add(reply, message["message_id"])

  add(tree["prompt"], None)
  return rows


def _branching():
  return _tree(
      _ask(
          "Q",
          _reply("second", _ask("of second", _reply("deep")), rank=1),
          _reply(
              "best",
              _ask("thanks"),  # the first of the unranked; nobody answered
              _ask("more?", _reply("yes", rank=0)),
              rank=0,
          ),
          _reply("third", rank=2),
      )
  )


def _said(found):
  return [([m.content for m in x.messages], x.response) for x in found]


@pytest.mark.parametrize("kind", ["trees", "messages"])
def test_the_best_ranked_reply(write, read_all, kind):
  tree = _branching()
  rows = [tree] if kind == "trees" else _flat(tree)
  (row,), bad = read_all("oasst", write(f"{kind}.jsonl", rows))
  assert (row.id, row.lang, row.prompt, row.response) == (
      "oasst/t", "en", "Q", "best"
  )
  assert bad == []


@pytest.mark.parametrize("kind", ["trees", "messages"])
def test_conversations_follow_the_best_ranked(write, read_all, kind):
  prompt = _ask(
      "Q",
      _reply("poor", _ask("x", _reply("y")), rank=1),
      _reply(
          "good",
          _ask("and?", _reply("worse", rank=1), _reply("better", rank=0)),
          rank=0,
      ),
  )
  trees = [_tree(prompt, "long"), {**_branching(), "message_tree_id": "cut"}]
  rows = trees if kind == "trees" else [r for t in trees for r in _flat(t)]
  found, _ = read_all("oasst", write(f"{kind}.jsonl", rows), turns="all")
  assert [x.id for x in found] == ["oasst/long", "oasst/cut"]
  assert _said(found) == [
      (["Q", "good", "and?"], "better"),
      # A question without an answer is no end of a conversation.
      (["Q"], "best"),
  ]
  assert [m.role for m in found[0].messages] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    "fault", [{"deleted": True}, {"synthetic": True}, {"review_result": False}]
)
def test_messages_that_are_left_out(write, read_all, fault):
  trees = [
      _tree(_ask("Q", _reply("bad", rank=0, **fault), _reply("next", rank=1)),
            "reply"),
      _tree(_ask("Q", _reply("A", rank=0), **fault), "root"),
      _tree(_ask("Q", _reply("bad", _ask("x", _reply("y")), **fault)), "only"),
      _tree(_ask("Q", _reply("A", _ask("x", _reply("y"), **fault))), "later"),
  ]
  path = write("trees.jsonl", trees)
  found, bad = read_all("oasst", path)
  assert [(x.id, x.response) for x in found] == [
      ("oasst/reply", "next"), ("oasst/later", "A"),
  ]
  whole, _ = read_all("oasst", path, turns="all")
  assert _said(whole) == [(["Q"], "next"), (["Q"], "A")]
  assert bad == []


def test_reviews_that_never_came_do_not_count_against(write, read_all):
  tree = _tree(_ask("Q", _reply("A", review_result=None), review_result=None))
  found, _ = read_all("oasst", write("t.jsonl", [tree]))
  assert _said(found) == [(["Q"], "A")]


def test_the_first_of_replies_without_rank(write, read_all):
  trees = [
      _tree(_ask("Q", _reply("first"), _reply("other")), "none"),
      _tree(_ask("Q", _reply("unranked"), _reply("ranked", rank=3)), "one"),
  ]
  found, _ = read_all("oasst", write("t.jsonl", trees))
  assert [x.response for x in found] == ["first", "ranked"]


def test_trees_that_are_not_for_export(write, read_all):
  trees = [
      _tree(_ask("Q", _reply("A")), "growing", "growing"),
      _tree(_ask("Q"), "unanswered"),
  ]
  assert read_all("oasst", write("t.jsonl", trees)) == ([], [])


def test_languages(write, read_all):
  trees = [
      _tree(_ask("P", _reply("R"), lang=lang), lang)
      for lang in ("pt-BR", "uk-UA", "nb-NO", "zh", "tlh")
  ]
  path = write("t.jsonl", trees)
  found, bad = read_all("oasst", path)
  assert [x.lang for x in found] == ["pt", "uk", "no", "zh"]
  assert bad == [(5, "unknown_language")]
  found, bad = read_all("oasst", path, languages=["pt"])
  assert [x.id for x in found] == ["oasst/pt-BR"]
  assert bad == []


def test_bad_messages(write, read_all):
  whole = _tree(_ask("Q", _reply("A", rank=1)), "whole")
  # A tree on one line is bad as a whole: what it lacks might be the best.
  broken = _tree(_ask("Q", _reply("A"), {"text": "no id"}), "broken")
  found, bad = read_all("oasst", write("t.jsonl", [
      broken, whole, {"prompt": _ask("Q")}, _tree("text", "text"),
      _tree(_ask("Q", _reply("A", rank="0")), "rank"),
      _tree(_ask("Q", _message("robot", "A")), "role"),
      _tree({**_ask("Q"), "replies": "none"}, "replies"),
  ]))
  assert [x.id for x in found] == ["oasst/whole"]
  assert bad == [
      (1, "missing_field"), (3, "missing_field"), (4, "wrong_type"),
      (5, "wrong_type"), (6, "wrong_value"), (7, "wrong_type"),
  ]
  # Of single messages only the bad one is left out.
  rows = _flat(_branching())
  best = next(n for n, row in enumerate(rows) if row["text"] == "best")
  rows[best]["rank"] = "first"
  found, bad = read_all("oasst", write("m.jsonl", rows))
  assert _said(found) == [(["Q"], "second")]
  assert bad == [(best + 1, "wrong_type")]


def test_a_tree_in_two_places_is_no_tree(write, read_all):
  first, second = _flat(_branching()), _flat(_tree(_ask("Q", _reply("A")), "u"))
  rows = [*first[:3], *second, *first[3:]]
  _, bad = read_all("oasst", write("m.jsonl", rows))
  assert bad == [(6, "duplicate_id")]


def test_wrong_use(write):
  from mlit_jax.data import sources

  path = write("t.jsonl", [])
  with pytest.raises(UsageError, match="turns is first or all, not 'best'"):
    list(sources.open_source("oasst", path, turns="best"))
