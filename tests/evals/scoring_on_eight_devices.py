"""Scores on meshes of eight virtual devices; run as a script.

    python scoring_on_eight_devices.py COMMANDS.json

test_placed_scoring.py starts it: the devices of a process are fixed when JAX
starts. The file holds lists of words for `mlit`; [OUT, MODEL, CONTEXT,
CONTINUATION, FSDP, TENSOR] after "harness" is one log-likelihood, written to
OUT.
"""

import json
import pathlib
import sys

import jax

from mlit_jax import main


def harness(out, model, context, continuation, fsdp, tensor):
  from lm_eval.api.instance import Instance

  from mlit_jax.evals.harness import MlitLM

  ours = MlitLM(model, batch_size=3, fsdp=fsdp, tensor=tensor)
  row = context, continuation
  (found,) = ours.loglikelihood([Instance("loglikelihood", {}, row, 0)])
  shards = {
      str(shard.index)
      for shard in ours._model.params["embedding"].addressable_shards
  }
  pathlib.Path(out).write_text(json.dumps([*found, len(shards)]))


if __name__ == "__main__":
  assert jax.device_count() == 8
  for words in json.loads(pathlib.Path(sys.argv[1]).read_text()):
    if words[0] == "harness":
      harness(*words[1:])
    else:
      assert main.main(words) == 0, words
