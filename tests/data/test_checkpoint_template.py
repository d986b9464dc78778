"""A checkpoint's own chat template: text, ids, loss as transformers has them.

And limits that a hostile one cannot get around.
"""

import datetime
import json
import pickle
import shutil
import time

import chat_templates
import pytest
import small_tokenizers

from mlit_jax.data import chat, checkpoint_template, templates, tokenizers
from mlit_jax.data.checkpoint_template import CheckpointTemplate, TemplateError
from mlit_jax.errors import UsageError
from mlit_jax.records import Message

SYSTEM = Message("system", "Be  brief.\n")
HI, HELLO = Message("user", " Tere! <b>é</b>"), Message("assistant", "Hello.")
MORE, DONE = Message("user", "两只猫?\n"), Message("assistant", "猫\n猫")
CONVERSATIONS = {
    "one": [HI, HELLO],
    "two": [HI, HELLO, MORE, DONE],
    "system": [SYSTEM, HI, HELLO],
    "system two": [SYSTEM, HI, HELLO, MORE, DONE],
}


@pytest.fixture(scope="module")
def made(pocket_lines, tmp_path_factory):
  """name -> (directory, tokenizer, its template)."""
  root, found = tmp_path_factory.mktemp("chat"), {}
  for name, (family, source) in chat_templates.ALL.items():
    path = small_tokenizers.write(
        family, root / name, pocket_lines, chat_template=source
    )
    form = checkpoint_template.find("checkpoint", path)
    found[name] = path, tokenizers.load(path), form
  return found


def _dicts(messages):
  return [{"role": m.role, "content": m.content} for m in messages]


@pytest.mark.torch
@pytest.mark.parametrize("which", CONVERSATIONS)
@pytest.mark.parametrize("name", chat_templates.ALL)
def test_text_and_ids_are_those_of_transformers(name, which, made):
  transformers = pytest.importorskip("transformers")
  path, tokenizer, form = made[name]
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  messages = CONVERSATIONS[which]
  for turns, ask in ((messages, False), (messages[:-1], True)):
    text = theirs.apply_chat_template(
        _dicts(turns), tokenize=False, add_generation_prompt=ask
    )
    assert form.render(turns, ask) == text
    ids = theirs.apply_chat_template(
        _dicts(turns), add_generation_prompt=ask, return_dict=False
    )
    if ask:
      assert chat.encode_prompt(tokenizer, form, turns) == ids
    else:
      assert chat.encode_conversation(tokenizer, form, turns).ids == ids


@pytest.mark.torch
@pytest.mark.parametrize("name", chat_templates.ALL)
def test_an_answer_that_is_begun_is_cut_as_transformers_cuts_it(name, made):
  transformers = pytest.importorskip("transformers")
  path, tokenizer, form = made[name]
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  for begun in ("El hombre", "El hombre ", "猫\n"):
    messages = [HI, HELLO, MORE, Message("assistant", begun)]
    text = theirs.apply_chat_template(
        _dicts(messages), tokenize=False, continue_final_message=True
    )
    (segment,) = form.open_segments(tokenizer, messages)
    assert "".join(segment.pieces) == text


def test_an_answer_that_is_begun_must_be_in_the_text(made):
  _, tokenizer, _ = made["chatml"]
  form = CheckpointTemplate("{% for m in messages[:1] %}{{ m.content }}"
                            "{% endfor %}")
  with pytest.raises(TemplateError, match="leaves out an answer that is begun"):
    form.open_segments(tokenizer, [HI, HELLO])


@pytest.mark.torch
@pytest.mark.parametrize("which", CONVERSATIONS)
def test_the_loss_of_generation_parts_is_that_of_transformers(which, made):
  transformers = pytest.importorskip("transformers")
  path, tokenizer, form = made["chatml_generation"]
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  found = theirs.apply_chat_template(
      _dicts(CONVERSATIONS[which]), return_dict=True,
      return_assistant_tokens_mask=True,
  )
  ours = chat.encode_conversation(tokenizer, form, CONVERSATIONS[which])
  assert ours.ids == found["input_ids"]
  assert ours.loss_mask == found["assistant_masks"]


@pytest.mark.torch
def test_helpers_are_those_of_transformers(pocket_lines, tmp_path):
  transformers = pytest.importorskip("transformers")
  path = small_tokenizers.write("bloom", tmp_path, pocket_lines)
  theirs = transformers.AutoTokenizer.from_pretrained(path)
  source = chat_templates.TOOLS
  (path / "chat_template.jinja").write_text(source, encoding="utf-8")
  ours = checkpoint_template.find("checkpoint", path)
  # One user's messages in a row are one turn.
  messages = [HI, HELLO, MORE, DONE, HI]
  text = theirs.apply_chat_template(
      _dicts(messages), chat_template=source, tokenize=False
  )
  assert ours.render(messages) == text
  assert text.count("!") == 4 and "é<b>" in text  # one is in the message


@pytest.mark.parametrize("which", CONVERSATIONS)
@pytest.mark.parametrize("name", chat_templates.ALL)
def test_every_answer_is_learnt_with_its_end(name, which, made):
  _, tokenizer, form = made[name]
  messages = CONVERSATIONS[which]
  encoded = chat.encode_conversation(tokenizer, form, messages)
  answers, run = [], []
  for id_, learnt in zip(encoded.ids, [*encoded.loss_mask[:], 0]):
    if learnt:
      run.append(id_)
    elif run:
      answers.append(run)
      run = []
  answers += [run] if run else []
  said = [m.content for m in messages if m.role == "assistant"]
  assert [form.read(tokenizer.decode(a)) for a in answers] == said
  assert all(a[-1] == form.end_ids(tokenizer)[0] for a in answers)
  assert all(tokenizer.eos_id not in a[:-1] for a in answers)


@pytest.mark.parametrize("name", chat_templates.ALL)
def test_training_has_the_ids_that_decoding_begins_with(name, made):
  _, tokenizer, form = made[name]
  messages = [HI, Message("assistant", "\n\nHello. "), MORE, DONE]
  encoded = chat.encode_conversation(tokenizer, form, messages)
  starts = [
      n
      for n, (before, now) in enumerate(
          zip([0, *encoded.loss_mask], encoded.loss_mask)
      )
      if now > before
  ]
  assert len(starts) == 2
  for start, turns in zip(starts, (messages[:1], messages[:3])):
    prompt = chat.encode_prompt(tokenizer, form, turns)
    assert encoded.ids[:start] == prompt


@pytest.mark.parametrize("name", chat_templates.ALL)
def test_a_message_cannot_spell_a_special_token(name, made):
  _, tokenizer, form = made[name]
  spelt = "".join(tokenizer.specials) + " 7"
  plain = chat.encode_prompt(tokenizer, form, [Message("user", "x")])
  ids = chat.encode_prompt(tokenizer, form, [Message("user", spelt)])
  specials = set(tokenizer.specials.values()) - {tokenizer.unk_id}

  def special(ids):
    return [i for i in ids if i in specials]

  assert special(ids) == special(plain)
  assert spelt in form.render([Message("user", spelt)])


def test_a_template_that_treats_the_last_answer_otherwise(made):
  _, tokenizer, _ = made["chatml"]
  form = CheckpointTemplate(chat_templates.LAST_DIFFERS)
  # One answer can be learnt; in a longer conversation it is not clear.
  assert sum(chat.encode_conversation(tokenizer, form, [HI, HELLO]).loss_mask)
  with pytest.raises(TemplateError) as e:
    chat.encode_conversation(tokenizer, form, [HI, HELLO, MORE, DONE])
  assert str(e.value) == (
      "the chat template: a conversation does not begin as its first 2 turns"
      " do, so that an answer cannot be learnt as it would be decoded; use"
      " another --template"
  )
  # It can be read all the same.
  prompt = chat.encode_prompt(tokenizer, form, [HI, HELLO, MORE])
  assert prompt == chat.encode_prompt(
      tokenizer, CheckpointTemplate(chat_templates.CHATML_GENERATION),
      [HI, HELLO, MORE],
  )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            "no end token (<|im_end|>) behind an answer",
        ),
        (
            "{% for m in messages %}{% generation %}{{ m.content }}"
            "{% endgeneration %}{% endfor %}",
            "1 answers, but 2 parts between {% generation %}",
        ),
        (
            "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}Answer: {% endif %}",
            "does not begin as its first 2 turns do",
        ),
    ],
)
def test_a_template_that_one_cannot_learn_from(source, words, made):
  with pytest.raises(TemplateError) as e:
    chat.encode_conversation(
        made["chatml"][1], CheckpointTemplate(source), [HI, HELLO]
    )
  assert words in str(e.value)


def test_an_end_token_behind_the_generation_part_is_learnt_too(made):
  tokenizer = made["chatml"][1]
  source = chat_templates.CHATML_GENERATION
  close = "{% endgeneration %}"
  moved = source.replace(" + '<|im_end|>' -}}\n        " + close,
                         " -}}" + close + "{{ '<|im_end|>' }}")
  assert moved != source
  one, other = (
      chat.encode_conversation(tokenizer, CheckpointTemplate(s), [HI, HELLO])
      for s in (source, moved)
  )
  assert one == other


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ ''.__class__ }}", "access to attribute '__class__' of a str is"),
        ("{{ ''.__class__.__mro__ }}", "'__class__' of a str is forbidden"),
        ("{{ cycler.__init__.__globals__ }}", "'__init__' of a type is"),
        ("{{ messages.append(1) }}", "'append' of a list is forbidden"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ 'a' * 10**10 }}", "it needs too much memory"),
        ("{{ '%900000000000d' % 1 }}", "it needs too much memory"),
        ("{{ 'a' * 11000000 }}", "more than 10000000 characters come out"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "without end"),
        ("{% if %}", "line 1: Expected an expression"),
        ("a\n{{ 'b", "line 2: unexpected char"),
        ("{{ raise_exception('only\nusers') }}", "only users"),
        ("{{ 1 / 0 }}", "ZeroDivisionError division by zero"),
        ("{% include 'x' %}", "no loader for this environment"),
        ("{{ open('x') }}", "'open' is undefined"),
    ],
)
def test_a_hostile_template_fails_with_one_line(source, reason):
  with pytest.raises(TemplateError) as e:
    CheckpointTemplate(source, where="DIR/x.jinja").render([HI])
  assert str(e.value).startswith("DIR/x.jinja: cannot be rendered: ")
  assert reason in str(e.value) and "\n" not in str(e.value)


def test_time_is_limited_and_the_next_one_renders(monkeypatch):
  source = (
      "{% if messages[0].content == 'loop' %}{% for i in range(99999) %}"
      "{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}ok"
  )
  form = CheckpointTemplate(source, seconds=0.3)
  began = time.monotonic()
  with pytest.raises(TemplateError, match="takes longer than 0.3 seconds"):
    form.render([Message("user", "loop")])
  assert time.monotonic() - began < 10
  assert form.render([HI]) == "ok"


def test_the_process_has_no_secrets_and_ends_with_its_template(monkeypatch):
  monkeypatch.setenv("SOME_API_KEY", "secret")
  form = CheckpointTemplate("ok")
  form.render([HI])
  process = form._worker._process
  with open(f"/proc/{process.pid}/environ", "rb") as file:
    assert b"secret" not in file.read()
  del form
  assert process.poll() is not None


def test_a_template_can_be_sent_and_compared():
  form = CheckpointTemplate("{{ messages[0].content }}")
  assert form.render([MORE]) == MORE.content
  again = pickle.loads(pickle.dumps(form))
  assert again == form and again.render([MORE]) == MORE.content


def test_the_date_can_be_set():
  source = "{{ strftime_now('%Y-%m-%d') }}"
  fixed = CheckpointTemplate(source, now="2024-07-26")
  assert fixed.render([HI]) == "2024-07-26"
  today = datetime.date.today()
  found = CheckpointTemplate(source).render([HI])
  assert found in (str(today), str(datetime.date.today()))


@pytest.mark.parametrize("character", "\ufdd0\ufdd1")
def test_our_own_marks_are_no_text(character):
  with pytest.raises(TemplateError, match=r"U\+FDD[01] in a message"):
    CheckpointTemplate("x").render([Message("user", character)])


def test_where_a_template_is_found(tmp_path):
  config = tmp_path / "tokenizer_config.json"

  def render(value):
    config.write_text(json.dumps(value))
    return checkpoint_template.find("checkpoint", tmp_path).render([HI])

  with pytest.raises(TemplateError) as e:
    render({})
  assert str(e.value) == (
      f"{tmp_path}: the checkpoint ships no chat template (neither"
      " chat_template.jinja nor chat_template in tokenizer_config.json); choose"
      " one of plain, alpaca, llama2, chatml, gemma"
  )
  bos = {"content": "<s>"}
  assert render({"chat_template": "{{ bos_token }}", "bos_token": bos}) == "<s>"
  several = [
      {"name": "tool_use", "template": "tools"},
      {"name": "default", "template": "usual"},
  ]
  assert render({"chat_template": several}) == "usual"
  (tmp_path / "chat_template.jinja").write_text("file")
  assert render({"chat_template": several}) == "file"
  assert checkpoint_template.find("plain", tmp_path) is templates.PLAIN
  with pytest.raises(UsageError, match="unknown template 'vicuna'"):
    checkpoint_template.find("vicuna", tmp_path)


def test_the_fingerprint_is_of_what_a_checkpoint_says(made, tmp_path):
  """The same text elsewhere is the same template, an edited one is not."""
  found, said = {}, {}
  for path, _, form in made.values():
    print_ = checkpoint_template.fingerprint("checkpoint", path)
    text = form.source, *sorted(form.variables.items())
    assert found.setdefault(text, print_) == print_
    assert said.setdefault(print_, text) == text
  assert len(found) > 3
  path, _, form = made["chatml"]
  copy = shutil.copytree(path, tmp_path / "copy")
  named = f"checkpoint:{copy}"
  before = checkpoint_template.fingerprint("checkpoint", path)
  assert checkpoint_template.fingerprint(named, None) == before
  files = [p for p in copy.iterdir() if "chat_template" in p.read_text()]
  (file,) = [p for p in files if p.name == "tokenizer_config.json"]
  config = json.loads(file.read_text())
  config["chat_template"] += " "
  file.write_text(json.dumps(config))
  assert checkpoint_template.fingerprint(named, None) != before
