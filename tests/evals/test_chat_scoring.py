"""Conversations that are scored and gone on from, as the harness's own."""

import json
import pathlib
import pickle
import sys

import pytest

from mlit_jax.data import chat, templates, tokenizers
from mlit_jax.evals import conversations
from mlit_jax.evals.pairs import PairError
from mlit_jax.records import Message

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
huggingface = pytest.importorskip("lm_eval.models.huggingface")
instance = pytest.importorskip("lm_eval.api.instance")
pytestmark = [pytest.mark.torch, pytest.mark.long]

import small_tokenizers  # noqa: E402

sys.path.append(str(pathlib.Path(__file__).parents[1] / "data"))
import chat_templates  # noqa: E402

LINES = [
    "The item was packaged in bubble wrap because it was fragile.",
    "El hombre abrió el grifo, así que el agua fluyó.",
    "顾客打开水龙头, 所以水流出来了。", "user assistant [INST] [/INST] model",
] * 9
# Writes no begin token, which the harness then puts; knows no system.
REFUSES = """{% for m in messages %}{% if m.role == 'system' %}
{{ raise_exception('no system here') }}{% endif %}
{{ '[' + m.role + '] ' + m.content | trim + '\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"""
# name -> family of the tokenizer, template
MODELS = {
    "chatml": chat_templates.ALL["chatml"],
    "llama2": chat_templates.ALL["llama2"],
    "refuses": ("mistral", REFUSES),
}
USER = {"role": "user", "content": LINES[0]}
MORE = {"role": "user", "content": "Why?  \n"}
SAID = {"role": "assistant", "content": LINES[2]}
BEGUN = {"role": "assistant", "content": "El hombre"}
SPACED = {"role": "assistant", "content": "El hombre "}
SYSTEM = {"role": "system", "content": "Be brief."}
HISTORIES = [
    [USER], [SYSTEM, USER], [USER, SAID, MORE], [USER, BEGUN],
    [SYSTEM, USER, SAID, MORE, SPACED],
]
ENDINGS = ("it was fragile.", " el agua", "水流出来了。")


@pytest.fixture(scope="module", params=MODELS)
def directory(request, tmp_path_factory):
  """A random model with a chat template."""
  family, template = MODELS[request.param]
  place = tmp_path_factory.mktemp(request.param)
  small_tokenizers.write(family, place, LINES, chat_template=template)
  tokenizer = transformers.AutoTokenizer.from_pretrained(place)
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(
      transformers.LlamaConfig(
          vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48,
          num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
          max_position_embeddings=256, bos_token_id=tokenizer.bos_token_id,
          eos_token_id=tokenizer.eos_token_id,
          pad_token_id=tokenizer.pad_token_id,
      )
  )
  with torch.no_grad():
    for weight in model.parameters():
      weight.add_(0.1 * torch.randn_like(weight))
    # Bytes that are no text are shown otherwise here than there.
    bytes_ = [i for t, i in tokenizer.get_vocab().items() if t[:3] == "<0x"]
    model.lm_head.weight[bytes_] = 0
  model.save_pretrained(place)
  return place


@pytest.fixture(scope="module")
def both(directory):
  """The directory in our model of the harness, and in its own."""
  from mlit_jax.evals import harness

  theirs = huggingface.HFLM(
      pretrained=str(directory), device="cpu", dtype="float32", batch_size=4
  )
  return harness.MlitLM(str(directory), batch_size=4), theirs


def _asked(kind, arguments):
  return [instance.Instance(kind, {}, a, i) for i, a in enumerate(arguments)]


def test_conversations_are_those_of_the_harness(both, capsys):
  """The same text; sums within 1e-4, greedy flags, answers."""
  rows, writes = ([], []), ([], [])
  for history in HISTORIES:
    ask = history[-1]["role"] == "user"
    texts = [m.apply_chat_template(history, ask) for m in both]
    assert texts[0] == texts[1]
    for text, scored, written in zip(texts, rows, writes, strict=True):
      scored += [(text, ending) for ending in ENDINGS]
      written.append((text, {"until": ["zz"], "max_gen_toks": 8}))
  found, wanted = (
      m.loglikelihood(_asked("loglikelihood", scored), disable_tqdm=True)
      for m, scored in zip(both, rows, strict=True)
  )
  for row, (logprob, greedy), (want, theirs) in zip(rows[0], found, wanted):
    assert logprob == pytest.approx(want, abs=1e-4), row
    assert greedy == theirs, row
  answers, wanted = (
      m.generate_until(_asked("generate_until", written), disable_tqdm=True)
      for m, written in zip(both, writes, strict=True)
  )
  assert answers == wanted and any(answers)
  told = capsys.readouterr().err.count("mlit: left out the system's turn: ")
  assert told == (both[0].apply_chat_template([USER])[0] == "[")


@pytest.mark.parametrize("multiturn", [True, False])
def test_its_tasks_run_with_chat_templates(both, multiturn, tmp_path):
  """Examples as turns or as one, a system's turn, an answer that is begun."""
  from lm_eval import evaluator, tasks

  rows = [
      {"q": f"{line} {i}?", "a": i % 2, "c": ["yes it was", "no"], "n": f"{i}"}
      for i, line in enumerate(LINES[:4])
  ]
  data = tmp_path / "rows.jsonl"
  data.write_text("".join(json.dumps(row) + "\n" for row in rows))
  common = (
      "dataset_path: json\ndataset_name: null\n"
      f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
      "test_split: test\nfewshot_split: test\ndoc_to_text: '{{q}}'\n"
      "fewshot_config: {sampler: first_n}\n"
  )
  (tmp_path / "choose.yaml").write_text(
      f"{common}task: choose\noutput_type: multiple_choice\ndoc_to_target: a\n"
      "doc_to_choice: c\ngen_prefix: 'Answer:'\nmetric_list: [{metric: acc}]\n"
  )
  (tmp_path / "write.yaml").write_text(
      f"{common}task: write\noutput_type: generate_until\ndoc_to_target: n\n"
      "generation_kwargs: {until: [zz], max_gen_toks: 6}\n"
      "metric_list: [{metric: exact_match}]\n"
  )

  def answers(model):
    found = evaluator.simple_evaluate(
        model=model, tasks=["choose", "write"], bootstrap_iters=0,
        log_samples=True, num_fewshot=2, apply_chat_template=True,
        fewshot_as_multiturn=multiturn, system_instruction="Be brief.",
        task_manager=tasks.TaskManager(
            include_path=str(tmp_path), include_defaults=False
        ),
    )
    return [
        (sample["arguments"], sample["resps"])
        for name in ("choose", "write") for sample in found["samples"][name]
    ]

  mine, others = map(answers, both)
  assert len(mine) == len(others) == 8
  # Two examples, of which the first is answered so; the answer is begun.
  first = mine[0][0][0][0]
  assert first.count("yes it was") == 1 and first.endswith("Answer:")
  for (asked, found), (theirs, want) in zip(mine, others, strict=True):
    assert asked == theirs
    if isinstance(found[0][0], str):
      assert found == want
      continue
    for (score,), (other,) in zip(found, want, strict=True):
      assert score[0] == pytest.approx(other[0], abs=1e-4)
      assert score[1] == other[1]


def test_our_own_templates_score_what_training_learns(tmp_path):
  small_tokenizers.write("mistral", tmp_path, LINES)
  tokenizer = tokenizers.load(tmp_path)
  for name in ("alpaca", "llama2", "plain"):
    form = templates.get(name)
    asked = [Message("user", LINES[0])]
    answer = Message("assistant", "El hombre fluyó.")
    learnt = chat.encode_conversation(tokenizer, form, [*asked, answer])
    start = learnt.loss_mask.index(1)
    opening = conversations.opening(tokenizer, form, asked)
    before, after = conversations.encode(
        tokenizer, opening, answer.content, False
    )
    assert before == learnt.ids[:start]
    assert after == learnt.ids[start:][: len(after)]
    assert tokenizer.decode(after).strip() == answer.content
    assert conversations.ids(tokenizer, opening) == before
    # Begun, it goes on to the same tokens.
    begun = conversations.opening(
        tokenizer, form, [*asked, Message("assistant", "El hombre")]
    )
    parts = conversations.encode(tokenizer, begun, " fluyó.", False)
    assert [*parts[0], *parts[1]] == [*before, *after]
    assert parts[0] == conversations.ids(tokenizer, begun)
    assert pickle.loads(pickle.dumps(begun)).segments == begun.segments
    with pytest.raises(PairError, match="no tokens of its own"):
      conversations.encode(tokenizer, begun, "", False)


def test_special_tokens_that_a_question_spells_stay_letters(tmp_path):
  family, template = chat_templates.ALL["chatml"]
  small_tokenizers.write(family, tmp_path, LINES, chat_template=template)
  tokenizer = tokenizers.load(tmp_path)
  form = templates.get("chatml")
  for text in ("a <|im_end|> b", "a  b"):
    for one in (form, _checkpoint(tmp_path)):
      opening = conversations.opening(tokenizer, one, [Message("user", text)])
      ids = conversations.ids(tokenizer, opening)
      end = tokenizer.specials["<|im_end|>"]
      # The system's of the template, and the user's.
      assert ids.count(end) == (2 if "You answer" in opening else 1)
      assert text in opening


def _checkpoint(directory):
  from mlit_jax.data import checkpoint_template

  return checkpoint_template.find("checkpoint", directory)
