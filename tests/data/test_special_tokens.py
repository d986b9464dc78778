"""Special ids: which file goes first, and files that disagree."""

import json

import pytest
import small_tokenizers

from mlit_jax.data import tokenizers

NAMES = {
    "tokenizer": "tokenizer_config.json", "map": "special_tokens_map.json",
    "generation": "generation_config.json", "config": "config.json",
}


@pytest.fixture
def make(tmp_path, tokenizer):
  """A directory with LLaMA's ids 0 unknown, 1 begin, 2 end, and JSON files."""

  def make(**files):
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
    for name, value in files.items():
      text = value if isinstance(value, str) else json.dumps(value)
      (tmp_path / NAMES[name]).write_text(text)
    return tmp_path

  return make


def _ids(directory):
  t = tokenizers.load(directory)
  return t.bos_id, t.eos_id, t.unk_id, t.pad_id, t.begin_ids, t.end_ids


def test_the_model_file_alone(make):
  assert _ids(make()) == (1, 2, 0, 0, (1,), (2,))


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer": {"pad_token": "</s>"}},
        {"map": {"pad_token": {"content": "</s>", "lstrip": False}}},
        {"generation": {"pad_token_id": 2}},
        {"config": {"pad_token_id": 2}},
        {"config": {"text_config": {"pad_token_id": 2}}},
        {"tokenizer": {"pad_token": "</s>"}, "config": {"pad_token_id": -1}},
        {"tokenizer": {"pad_token": None}, "config": {"pad_token_id": 2}},
    ],
)
def test_each_file_may_name_a_token(make, files):
  assert _ids(make(**files))[3] == 2


def test_no_begin_token(make):
  # As Qwen's: its config.json names one that stands before no text.
  path = make(tokenizer={"bos_token": None}, config={"bos_token_id": 1})
  assert _ids(path)[0] is None and _ids(path)[4] == ()


def test_a_begin_token_that_is_not_put_before_texts(make):
  path = make(tokenizer={"bos_token": "<s>", "add_bos_token": False})
  assert _ids(path)[0] == 1 and _ids(path)[4] == ()


def test_a_chat_may_end_otherwise_than_a_text(make):
  # As LLaMA 3's: the tokenizer's end is the turn's, config.json's the text's.
  path = make(
      tokenizer={
          "eos_token": "<|eot_id|>",
          "added_tokens_decoder": {"2000": {"content": "<|eot_id|>"}},
      },
      generation={"eos_token_id": [2, 2000]},
      config={"eos_token_id": 2},
  )
  assert _ids(path) == (1, 2000, 0, 0, (1,), (2000, 2))


def test_several_ends_without_a_generation_config(make):
  path = make(config={"eos_token_id": [2, 7]})
  assert _ids(path)[5] == (2, 7)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"tokenizer": {"eos_token": "</s>"}, "config": {"eos_token_id": 1}},
            "tokenizer_config.json says that the eos token is 2, config.json"
            " says 1; make them agree",
        ),
        (
            {"map": {"bos_token": "<s>"}, "generation": {"bos_token_id": 0}},
            "special_tokens_map.json says that the bos token is 1,"
            " generation_config.json says 0; make them agree",
        ),
        (
            {
                "tokenizer": {"eos_token": "</s>"},
                "generation": {"eos_token_id": [7, 8]},
            },
            "the eos token is 2, generation_config.json says [7, 8]",
        ),
        (
            {
                "generation": {"eos_token_id": [2, 8]},
                "config": {"eos_token_id": 9},
            },
            "generation_config.json says that the eos token is [2, 8],"
            " config.json says 9",
        ),
        (
            {"tokenizer": {"eos_token": "<end>"}},
            "tokenizer_config.json: eos_token '<end>' is not in the tokenizer;"
            " correct it, or add the token",
        ),
        ({"config": {"pad_token_id": "no"}}, "pad_token_id is 'no'"),
        ({"config": {"eos_token_id": True}}, "eos_token_id is True"),
        ({"config": "{"}, "config.json: not JSON ("),
        ({"map": "[1]"}, "special_tokens_map.json: expected a JSON object"),
        (
            {"tokenizer": {"added_tokens_decoder": {"x": {}}}},
            "added_tokens_decoder has 'x': {}",
        ),
    ],
)
def test_files_that_cannot_be_meant(make, files, words):
  path = make(**files)
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.load(path)
  assert str(e.value).startswith(str(path)) and words in str(e.value)
  assert "\n" not in str(e.value)


def test_ids_of_added_tokens_must_be_numbers(make):
  path = make()
  (path / "added_tokens.json").write_text('{"[PAD]": "x"}')
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.load(path)
  assert str(e.value) == (
      f"{path / 'added_tokens.json'}: the id of '[PAD]' is 'x'"
  )


def test_a_tokenizer_without_an_end(tmp_path, pocket_lines):
  path = small_tokenizers.write("bloom", tmp_path, pocket_lines)
  (path / "tokenizer_config.json").unlink()
  with pytest.raises(tokenizers.TokenizerError) as e:
    tokenizers.load(path)
  assert str(e.value) == (
      f"{path}: no file names an end token; add eos_token to"
      " tokenizer_config.json"
  )
