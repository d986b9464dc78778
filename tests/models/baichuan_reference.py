"""Baichuan 2 in PyTorch, from its report (arXiv 2309.10305, section 2).

transformers has no class of it. Both sizes: the 7B rotary, the 13B with ALiBi;
query, key and value packed in one map; an output head of rows of length 1.
Here the biases of ALiBi stand in a table, as Press et al. draw it, not as
slope times distance, and rotation is a product of complex numbers.
"""

import json
import pathlib
import types

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F


class Norm(nn.Module):

  def __init__(self, width, eps):
    super().__init__()
    self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

  def forward(self, x):
    return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Attention(nn.Module):

  def __init__(self, c):
    super().__init__()
    width = c["hidden_size"]
    self.heads = c["num_attention_heads"]
    self.rotary = "max_position_embeddings" in c
    self.W_pack = nn.Linear(width, 3 * width, bias=False)
    self.o_proj = nn.Linear(width, width, bias=False)

  def forward(self, x):
    batch, length, width = x.shape
    q, k, v = (
        part.view(batch, length, self.heads, -1).transpose(1, 2)
        for part in self.W_pack(x).split(width, dim=-1)
    )
    if self.rotary:
      q, k = self.turn(q), self.turn(k)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if not self.rotary:
      scores = scores + alibi_table(self.heads, length)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(batch, length, width)
    return self.o_proj(mixed)

  @staticmethod
  def turn(x):
    half = x.shape[-1] // 2
    speed = 10000.0 ** (-torch.arange(half) / half)
    turns = torch.polar(
        torch.ones(()), torch.arange(x.shape[-2])[:, None] * speed
    )
    turned = torch.complex(x[..., :half], x[..., half:]) * turns
    return torch.cat([turned.real, turned.imag], dim=-1)


def alibi_table(heads, length):
  """[heads, length, length]: 0 on the diagonal, falling to its left."""

  def slopes(n):
    if n & (n - 1) == 0:
      return [2 ** (-8 * (i + 1) / n) for i in range(n)]
    below = 1 << (n.bit_length() - 1)
    return slopes(below) + slopes(2 * below)[0::2][: n - below]

  left = torch.tensor(
      [[min(k - q, 0) for k in range(length)] for q in range(length)]
  )
  return torch.tensor(slopes(heads))[:, None, None] * left


class Layer(nn.Module):

  def __init__(self, c):
    super().__init__()
    width, eps = c["hidden_size"], c.get("rms_norm_eps", 1e-6)
    self.self_attn = Attention(c)
    self.input_layernorm = Norm(width, eps)
    self.post_attention_layernorm = Norm(width, eps)
    self.mlp = nn.ModuleDict({
        "gate_proj": nn.Linear(width, c["intermediate_size"], bias=False),
        "up_proj": nn.Linear(width, c["intermediate_size"], bias=False),
        "down_proj": nn.Linear(c["intermediate_size"], width, bias=False),
    })

  def forward(self, x):
    x = x + self.self_attn(self.input_layernorm(x))
    y, mlp = self.post_attention_layernorm(x), self.mlp
    return x + mlp.down_proj(F.silu(mlp.gate_proj(y)) * mlp.up_proj(y))


class Model(nn.Module):
  """The part of a transformers model's interface that the tests use."""

  def __init__(self, config):
    super().__init__()
    self.config, width = config, config["hidden_size"]
    self.model = nn.ModuleDict({
        "embed_tokens": nn.Embedding(config["vocab_size"], width),
        "layers": nn.ModuleList(
            Layer(config) for _ in range(config["num_hidden_layers"])
        ),
        "norm": Norm(width, config.get("rms_norm_eps", 1e-6)),
    })
    self.lm_head = nn.Linear(width, config["vocab_size"], bias=False)

  def forward(self, tokens):
    x = self.model.embed_tokens(tokens)
    for layer in self.model.layers:
      x = layer(x)
    x = self.model.norm(x)
    logits = F.linear(x, F.normalize(self.lm_head.weight))
    return types.SimpleNamespace(logits=logits)

  def generate(self, tokens, max_new_tokens, **options):
    del options
    logits = []
    with torch.no_grad():
      for _ in range(max_new_tokens):
        logits.append(self(tokens).logits[:, -1])
        tokens = torch.cat([tokens, logits[-1].argmax(-1)[:, None]], dim=1)
    return types.SimpleNamespace(sequences=tokens, logits=logits)

  def save_pretrained(self, directory):
    directory = pathlib.Path(directory)
    safetensors.torch.save_file(
        self.state_dict(), directory / "model.safetensors"
    )
    values = {"model_type": "baichuan"} | self.config
    (directory / "config.json").write_text(json.dumps(values))


def load(directory):
  directory = pathlib.Path(directory)
  model = Model(json.loads((directory / "config.json").read_text()))
  model.load_state_dict(
      safetensors.torch.load_file(directory / "model.safetensors")
  )
  return model
