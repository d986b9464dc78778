"""Model directories with small, real tokenizers, put together as families do.

Each is trained by the `tokenizers` or `sentencepiece` library on given lines.
"""

import functools
import io
import json

import sentencepiece
import tokenizers as hf
from tokenizers import (
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

# For texts of benchmarks: one sentence in four languages.
DOORS = [
    "The door opened because somebody came in from the cold.",
    "Uks avanes, sest keegi tuli külma käest sisse.",
    "Mlango ulifunguka kwa sababu mtu aliingia.", "门开了，因为有人进来了。",
] * 9
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TURNS = ("<|im_start|>", "<|im_end|>")
BYTES = [f"<0x{n:02X}>" for n in range(256)]
FAMILIES = ("bloom", "neox", "qwen", "llama3", "gemma", "llama", "mistral")
# What tokenizer_config.json says.
_CONFIGS = {
    "bloom": {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "pad_token": "<pad>",
    },
    "neox": {
        "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    },
    "qwen": {
        "bos_token": None, "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "unk_token": None,
    },
    "llama3": {
        "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
    },
    "gemma": {
        "bos_token": {"content": "<bos>", "__type": "AddedToken"},
        "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>",
        "add_bos_token": True,
    },
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
}
_SPECIALS = {
    "bloom": ("<unk>", "<s>", "</s>", "<pad>"),
    "neox": ("<|endoftext|>", "<|padding|>"),
    "qwen": ("<|endoftext|>", *TURNS),
    "llama3": (
        "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
        "<|end_header_id|>", "<|eot_id|>",
    ),
    "gemma": (
        "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>",
    ),
    "llama": ("<unk>", "<s>", "</s>"),
    "mistral": ("<unk>", "<s>", "</s>"),
}


def write(family, directory, lines, **config):
  """Writes tokenizer.json and tokenizer_config.json of a family."""
  directory.mkdir(parents=True, exist_ok=True)
  content = _content(family, tuple(lines))
  (directory / "tokenizer.json").write_text(content, encoding="utf-8")
  _json(
      directory / "tokenizer_config.json",
      {
          "tokenizer_class": "PreTrainedTokenizerFast",
          "clean_up_tokenization_spaces": False, **_CONFIGS[family], **config,
      },
  )
  return directory


def _json(path, value):
  path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def sentencepiece_model(lines, **options):
  out = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(lines), model_writer=out, num_threads=1,
      minloglevel=2, hard_vocab_limit=False,
      **({"vocab_size": 1500} | options),
  )
  return out.getvalue()


@functools.cache
def _content(family, lines):
  if family in ("gemma", "llama", "mistral"):
    tokenizer = _with_byte_fallback(family, lines)
  else:
    tokenizer = _byte_level(family, lines)
  # What a fast tokenizer was last used with; it must not cut our text.
  tokenizer.enable_truncation(8)
  pad = _SPECIALS[family][0]
  tokenizer.enable_padding(
      length=8, pad_token=pad, pad_id=tokenizer.token_to_id(pad)
  )
  return tokenizer.to_str()


def _byte_level(family, lines):
  tokenizer = hf.Tokenizer(models.BPE(ignore_merges=family == "llama3"))
  if family in ("neox", "qwen"):
    tokenizer.normalizer = normalizers.NFC()
  if family == "neox":
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  else:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(hf.Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
  tokenizer.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
      vocab_size=1500, show_progress=False,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      special_tokens=list(_SPECIALS[family]) if family != "qwen" else [],
  )
  tokenizer.train_from_iterator(lines, trainer)
  if family == "qwen":  # whose special tokens stand behind the others
    tokenizer.add_special_tokens(list(_SPECIALS[family]))
    tokenizer.add_tokens(["<tool_call>"])
  if family == "llama3":
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        ),
    ])
  return tokenizer


def _with_byte_fallback(family, lines):
  specials = _SPECIALS[family]
  learner = hf.Tokenizer(models.BPE())
  learner.normalizer = normalizers.Replace(" ", "▁")
  learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
  learner.train_from_iterator(
      lines, trainers.BpeTrainer(vocab_size=1200, show_progress=False)
  )
  learnt = json.loads(learner.to_str())["model"]
  order = [*specials, *BYTES, *sorted(learnt["vocab"], key=learnt["vocab"].get)]
  vocab = {text: id_ for id_, text in enumerate(dict.fromkeys(order))}
  tokenizer = hf.Tokenizer(
      models.BPE(
          vocab=vocab, merges=[tuple(pair) for pair in learnt["merges"]],
          unk_token="<unk>", fuse_unk=True, byte_fallback=True,
      )
  )
  decoding = [
      decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
  ]
  if family == "gemma":
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
  elif family == "llama":
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    decoding.append(decoders.Strip(" ", 1, 0))
  else:
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="first", split=False
    )
    decoding.append(decoders.Strip(" ", 1, 0))
  tokenizer.decoder = decoders.Sequence(decoding)
  bos = "<bos>" if family == "gemma" else "<s>"
  tokenizer.add_special_tokens(list(specials))
  tokenizer.post_processor = processors.TemplateProcessing(
      single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
      special_tokens=[(bos, tokenizer.token_to_id(bos))],
  )
  return tokenizer
