"""Writes T5X checkpoints of every layout, as T5X does; for tests."""

import flax.serialization
import flax.traverse_util
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

D, N, H, F, V, R = 6, 2, 5, 7, 11, 8
LAYERS = {"encoder": 3, "decoder": 2}


def make(scanned=False, apart=False, tied=False):
  """{path: array} as T5X names and shapes them.

  Args:
    scanned: layers in one array, on axis 1; a position bias per layer.
    apart: kernels of attention have their heads apart.
    tied: T5 1.0: no head, no gate.
  """
  rng = np.random.default_rng(0)
  tree = {}

  def add(name, *shape):
    tree[name] = rng.standard_normal(shape).astype(np.float32)

  inward, outward = (D, N * H), (N * H, D)
  if apart:
    inward, outward = (D, N, H), (N, H, D)
  add("token_embedder/embedding", V, D)
  if not tied:
    add("decoder/logits_dense/kernel", D, V)
  for stack, layers in LAYERS.items():
    add(f"{stack}/{stack}_norm/scale", D)
    if not scanned:
      add(f"{stack}/relpos_bias/rel_embedding", N, R)
    own = ["attention"] if stack == "encoder" else [
        "self_attention", "encoder_decoder_attention"
    ]
    norms = [*own, "mlp"] if stack == "encoder" else [
        "self_attention", "cross_attention", "mlp"
    ]
    for i in range(layers):
      layer = f"{stack}/layers_{i}"
      if scanned:
        add(f"{layer}/relpos_bias/rel_embedding", N, R)
      for attention in own:
        for kernel in ("query", "key", "value"):
          add(f"{layer}/{attention}/{kernel}/kernel", *inward)
        add(f"{layer}/{attention}/out/kernel", *outward)
      for norm in norms:
        add(f"{layer}/pre_{norm}_layer_norm/scale", D)
      for kernel in ("wi",) if tied else ("wi_0", "wi_1"):
        add(f"{layer}/mlp/{kernel}/kernel", D, F)
      add(f"{layer}/mlp/wo/kernel", F, D)
  return tree


def scan(tree):
  """The layers of each stack in one array, on axis 1."""
  found = {k: v for k, v in tree.items() if "/layers_" not in k}
  for stack, layers in LAYERS.items():
    first = f"{stack}/layers_0/"
    for name in [k for k in tree if k.startswith(first)]:
      rest = name.removeprefix(first)
      found[f"{stack}/{stack}/{rest}"] = np.stack(
          [tree[f"{stack}/layers_{i}/{rest}"] for i in range(layers)], axis=1
      )
  return found


def write(directory, tree, version=3, driver="file", change=lambda specs: None):
  """Version 3 (or 2) as T5X writes it: small arrays inline."""
  directory.mkdir(parents=True)
  leaves = {}
  for name, value in tree.items():
    if version == 2 and value.dtype == ml_dtypes.bfloat16:
      value = value.view(np.uint16)
    if value.size < 10:
      leaves[name] = value
      continue
    folder = "target." + name.replace("/", ".")
    metadata = {
        "chunks": [-(-value.shape[0] // 2), *value.shape[1:]],
        "shape": list(value.shape),
        "compressor": {"id": "gzip", "level": 1},
    }
    spec = {"driver": "zarr", "dtype": value.dtype.name, "metadata": metadata}
    tensorstore.open(
        {**spec, "kvstore": f"file://{directory}/{folder}/"}, create=True
    ).result().write(value).result()
    if driver == "gcs":
      bucket = {"driver": "gcs", "bucket": "t5x-dummy-bucket"}
      leaves[name] = {**spec, "kvstore": bucket, "path": folder}
    else:
      kvstore = {"driver": driver, "path": f"{folder}/"}
      leaves[name] = {**spec, "kvstore": kvstore}
  change(leaves)
  # What nobody may look at lies nowhere.
  state = {"step": np.int32(7), "param_states": {"driver": "nowhere"}}
  target = flax.traverse_util.unflatten_dict(leaves, sep="/")
  optimizer = {"target": target, "state": state}
  content = {"version": version, "optimizer": optimizer}
  (directory / "checkpoint").write_bytes(
      flax.serialization.msgpack_serialize(content)
  )
  return directory


def write_orbax(directory, tree):
  target = flax.traverse_util.unflatten_dict(tree, sep="/")
  state = {"target": target, "state": {"step": np.int32(7)}}
  handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True)
  ocp.Checkpointer(handler).save(directory / "state", state)
  return directory
