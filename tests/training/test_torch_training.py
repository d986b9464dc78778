"""Ten steps of training against transformers and torch.optim.AdamW."""

import grain
import jax
import numpy as np
import pytest

from mlit_jax import partitioning
from mlit_jax.models.config import DecoderConfig
from mlit_jax.models.interchange import huggingface
from mlit_jax.training import loop
from mlit_jax.training.optimizer import OptimizerConfig, learning_rate
from mlit_jax.training.step import Step, StepConfig

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

CONFIG = DecoderConfig(
    vocab_size=29, num_layers=1, embed_dim=16, num_heads=4, num_kv_heads=2,
    head_dim=6, mlp_dim=21, rope_base=300.0, tie_embeddings=True,
)
# The weights lie near 1, the gradients far above eps.
OPTIMIZER = OptimizerConfig(
    2e-2, "cosine", warmup_ratio=0.2, b1=0.8, b2=0.95, eps=1e-4,
    weight_decay=0.1, clip_norm=0.5,
)
STEPS, ROWS, LENGTH, LEARNT = 10, 3, 9, 4


def batch(rng):
  """Each row one example; some of its answer's places are padding."""
  tokens = rng.integers(0, CONFIG.vocab_size, (ROWS, LENGTH + 1), "int32")
  places = np.arange(LENGTH - LEARNT, LENGTH, dtype=np.int32)
  weights = np.ones((ROWS, LEARNT), np.float32)
  weights[0, 2:] = 0
  return {
      "inputs": tokens[:, :-1],
      "positions": np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1)),
      "segment_ids": np.ones((ROWS, LENGTH), np.int32),
      "loss_positions": np.tile(places, (ROWS, 1)),
      "targets": tokens[:, 1:][:, places],
      "weights": weights,
  }


@pytest.mark.long
def test_ten_steps_equal_torch(random_params, tmp_path):
  rng = np.random.default_rng(0)
  batches = [batch(rng) for _ in range(STEPS)]
  start = random_params(CONFIG)
  huggingface.save(tmp_path / "start", CONFIG, start, b"", bos_id=1, eos_id=2)

  seen = []
  step = Step(CONFIG, StepConfig(OPTIMIZER), partitioning.make_mesh())
  result = loop.run(
      step, step.start(start),
      grain.MapDataset.source(batches).to_iter_dataset(),
      loop.RunConfig((STEPS,)), report=seen.append,
  )

  model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "start")
  adam = torch.optim.AdamW(
      model.parameters(), betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1
  )
  losses, norms = [], []
  for number, rows in enumerate(batches):
    logits = model(torch.tensor(rows["inputs"])).logits[:, -LEARNT:]
    labels = np.where(rows["weights"] > 0, rows["targets"], -100)
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(labels).long().flatten()
    )
    adam.zero_grad()
    loss.backward()
    norms.append(
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item()
    )
    adam.param_groups[0]["lr"] = learning_rate(OPTIMIZER, number, STEPS)
    adam.step()
    losses.append(loss.item())

  assert max(norms) > 0.5  # clipped
  np.testing.assert_allclose([p.loss for p in seen], losses, rtol=1e-4)
  assert abs(losses[-1] - losses[0]) > 0.1
  model.save_pretrained(tmp_path / "end")
  _, expected = huggingface.load(tmp_path / "end")
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), expected, start)
  assert min(jax.tree.leaves(moved)) > 0.02
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
      jax.device_get(result.params), expected,
  )
