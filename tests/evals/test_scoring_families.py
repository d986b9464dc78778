"""Log-likelihoods of the other families, against their logits in PyTorch."""

import pathlib
import sys

import pytest

from mlit_jax.evals import pairs, scoring

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

import small_tokenizers  # noqa: E402

sys.path.append(str(pathlib.Path(__file__).parents[1] / "models"))
import baichuan_reference as baichuan  # noqa: E402

LINES = [
    "The man opened the tap so the water flowed.",
    "El hombre abrió el grifo, así que el agua fluyó.",
    "顾客打开水龙头, 所以水流出来了。",
] * 9
# Two share a context.
PAIRS = [
    (LINES[0][:24], " so the water flowed."), (LINES[0][:24], " el agua"),
    (LINES[1][:22], LINES[1][22:]), (LINES[2][:7], "所以水流出来了。"),
    ("", "El hombre"),
]
SIZES = {
    "hidden_size": 24, "intermediate_size": 36, "num_hidden_layers": 2,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}
FAMILIES = {
    "mixtral": (
        "mistral", "MixtralConfig",
        SIZES | {
            "num_key_value_heads": 2, "num_local_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
    "qwen2": (
        "qwen", "Qwen2Config",
        SIZES | {
            "num_key_value_heads": 2, "use_sliding_window": True,
            "sliding_window": 5, "max_window_layers": 1,
        },
    ),
    "baichuan 7B": ("llama", "", SIZES),
    "baichuan 13B": (
        "llama", "",
        {k: v for k, v in SIZES.items() if "position" not in k}
        | {"model_max_length": 64},
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_references_logits(family, tmp_path):
  kind, name, fields = FAMILIES[family]
  small_tokenizers.write(kind, tmp_path, LINES)
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
  fields = fields | {
      "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id,
      "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None,
  }
  torch.manual_seed(0)
  if name:
    config = getattr(transformers, name)(**fields)
    network = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager"
    )
  else:
    network = baichuan.Model(fields)
  with torch.no_grad():
    for weight in network.parameters():
      weight.add_(0.2 * torch.randn_like(weight))
  network.eval()
  network.save_pretrained(tmp_path)
  model = scoring.LanguageModel(tmp_path, batch_size=4)
  found = model.score(PAIRS)
  for (context, continuation), score in zip(PAIRS, found):
    before, after = pairs.encode(model.tokenizer, context, continuation)
    with torch.no_grad():
      logits = network(torch.tensor([[*before, *after[:-1]]])).logits[0]
    logprobs = logits[len(before) - 1 :].log_softmax(-1)
    want = logprobs[range(len(after)), after]
    assert score.logprob == pytest.approx(float(want.sum()), rel=1e-5)
    assert score.num_tokens == len(after)
    assert score.is_greedy == (logprobs.argmax(-1).tolist() == after)
