"""Tokenizers on their way out: files copied, SentencePiece for transformers.

transformers 5 reads LLaMA's `tokenizer.model` as if it were BPE; a unigram
model it would split otherwise than we do, without a word. So that one gets a
`tokenizer.json`, too.
"""

import json
import os
import pathlib
import shutil
from typing import Any

from google.protobuf import message
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_proto

from mlit_jax import records

# What a tokenizer and its chat template are made of; no code is among them.
FILES = (
    "tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.model",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja",
)
_MODELS = ("tokenizer.model", "spiece.model", "sentencepiece.model")
_UNIGRAM = sentencepiece_proto.TrainerSpec.UNIGRAM
_PIECE = sentencepiece_proto.ModelProto.SentencePiece
_SPACE = "▁"


def copy_files(
    source: str | os.PathLike, destination: str | os.PathLike
) -> list[str]:
  """Copies a tokenizer as it is; returns the names of its files.

  What transformers would read otherwise than we do is completed: a unigram
  model gets a tokenizer.json, and T5X's `sentencepiece.model` the name and the
  settings that T5 has in transformers. Another tokenizer in the destination is
  replaced.

  Raises:
    ValueError: a SentencePiece model or its settings are damaged.
    OSError: a file cannot be read or written.
  """
  source, destination = pathlib.Path(source), pathlib.Path(destination)
  names = [name for name in FILES if (source / name).is_file()]
  remove_files(destination)
  for name in names:
    shutil.copyfile(source / name, destination / name)
  models = [name for name in _MODELS if name in names]
  if models and "tokenizer.json" not in names:
    _complete(destination, models[0], "tokenizer_config.json" in names)
  return [name for name in FILES if (destination / name).exists()]


def remove_files(directory: str | os.PathLike) -> None:
  """Removes a tokenizer: parts of two would be read as one."""
  for name in FILES:
    (pathlib.Path(directory) / name).unlink(missing_ok=True)


def write_sentencepiece(directory: str | os.PathLike, model: bytes) -> None:
  """Writes a SentencePiece model of LLaMA's kind as transformers wants it.

  Raises:
    ValueError: the bytes are no SentencePiece model.
  """
  directory = pathlib.Path(directory)
  (directory / _MODELS[0]).write_bytes(model)
  _complete(directory, _MODELS[0], has_config=False)


def _complete(directory: pathlib.Path, name: str, has_config: bool) -> None:
  model = (directory / name).read_bytes()
  try:
    spec = _parse(model).trainer_spec
  except ValueError as e:
    raise ValueError(f"{name}: {e}") from None
  is_t5 = name != _MODELS[0] and spec.bos_id < 0
  if is_t5 and name != "spiece.model":
    (directory / name).rename(directory / "spiece.model")
  converted = None if is_t5 else convert(model, spec.bos_id)
  if converted is not None:
    text = json.dumps(converted, ensure_ascii=False)
    records.write_text(directory / "tokenizer.json", [text])
  path = directory / "tokenizer_config.json"
  config = _t5_config(model) if is_t5 else _llama_config(model)
  if has_config and converted is None:
    return
  if has_config:
    try:
      said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
      raise ValueError(f"{path.name}: not JSON ({e})") from None
    if not isinstance(said, dict):
      raise ValueError(f"{path.name}: expected a JSON object")
    config |= said
  if converted is not None:
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
  records.write_json(path, config)


def _llama_config(model: bytes) -> dict[str, Any]:
  return _tokens(model) | {
      "tokenizer_class": "LlamaTokenizer",
      "clean_up_tokenization_spaces": False,
      "add_bos_token": True,
      "add_eos_token": False,
      "legacy": False,
  }


def _t5_config(model: bytes) -> dict[str, Any]:
  # mT5's sentinels are pieces, T5's follow them.
  own = any(p.piece == "<extra_id_0>" for p in _parse(model).pieces)
  return _tokens(model) | {
      "tokenizer_class": "T5Tokenizer", "extra_ids": 0 if own else 100,
  }


def _tokens(model: bytes) -> dict[str, str]:
  proto = _parse(model)
  return {
      f"{role}_token": proto.pieces[id_].piece
      for role in ("bos", "eos", "unk", "pad")
      if 0 <= (id_ := getattr(proto.trainer_spec, f"{role}_id"))
      < len(proto.pieces)
  }


def convert(model: bytes, bos_id: int) -> dict[str, Any] | None:
  """The content of tokenizer.json.

  Args:
    model: a serialised SentencePiece model.
    bos_id: the token put before every text; -1 for none.

  Returns:
    None for a model that is no unigram model over plain text (as ours are);
    LLaMA's own, a BPE model, transformers reads rightly.

  Raises:
    ValueError: the bytes are no SentencePiece model.
  """
  proto = _parse(model)
  normalizer = proto.normalizer_spec
  plain = normalizer.add_dummy_prefix and normalizer.escape_whitespaces
  plain &= not normalizer.remove_extra_whitespaces
  plain &= not normalizer.precompiled_charsmap
  if proto.trainer_spec.model_type != _UNIGRAM or not plain:
    return None
  return {
      "version": "1.0",
      "truncation": None,
      "padding": None,
      "added_tokens": [
          _special(i, p.piece)
          for i, p in enumerate(proto.pieces)
          if p.type in (_PIECE.CONTROL, _PIECE.UNKNOWN)
      ],
      "normalizer": {
          "type": "Sequence",
          "normalizers": [
              {"type": "Prepend", "prepend": _SPACE},
              _replace(" ", _SPACE),
          ],
      },
      "pre_tokenizer": None,
      "post_processor": _begin(proto, bos_id),
      "decoder": {
          "type": "Sequence",
          "decoders": [
              _replace(_SPACE, " "),
              {"type": "ByteFallback"},
              {"type": "Fuse"},
              {"type": "Strip", "content": " ", "start": 1, "stop": 0},
          ],
      },
      "model": {
          "type": "Unigram",
          "unk_id": proto.trainer_spec.unk_id,
          "vocab": [[p.piece, p.score] for p in proto.pieces],
          "byte_fallback": proto.trainer_spec.byte_fallback,
      },
  }


def _parse(model: bytes) -> sentencepiece_proto.ModelProto:
  try:
    return sentencepiece_proto.ModelProto.FromString(model)
  except message.DecodeError as e:
    raise ValueError(f"not a SentencePiece model ({e})") from None


def _begin(proto, bos_id: int) -> dict[str, Any] | None:
  """Puts the begin token before every text, where there is one."""
  if bos_id < 0:
    return None
  bos = proto.pieces[bos_id].piece
  text, more = ({"Sequence": {"id": i, "type_id": 0}} for i in "AB")
  begin = {"SpecialToken": {"id": bos, "type_id": 0}}
  return {
      "type": "TemplateProcessing",
      "single": [begin, text],
      "pair": [begin, text, more],
      "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
  }


def _special(token: int, piece: str) -> dict[str, Any]:
  return {
      "id": token, "content": piece, "single_word": False, "lstrip": False,
      "rstrip": False, "normalized": False, "special": True,
  }


def _replace(old: str, new: str) -> dict[str, Any]:
  return {"type": "Replace", "pattern": {"String": old}, "content": new}
