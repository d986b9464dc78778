"""T5X checkpoints that are damaged, incomplete or lying."""

import flax.serialization
import numpy as np
import pytest
from t5x_checkpoints import make, scan, write, write_orbax

from mlit_jax.models.interchange import t5x
from mlit_jax.models.interchange.storage import CheckpointError

KERNEL = "encoder/layers_1/mlp/wo/kernel"
FOLDER = "target." + KERNEL.replace("/", ".")


def refused(directory, *words):
  with pytest.raises(CheckpointError) as error:
    t5x.load(directory)
  message = str(error.value)
  assert str(directory) in message
  for word in words:
    assert word in message, message
  assert "\n" not in message


def test_a_missing_array(tmp_path):
  directory = write(tmp_path / "c", make())
  (directory / FOLDER / ".zarray").unlink()
  refused(directory, FOLDER, "cannot be read")


def test_a_missing_chunk_is_not_read_as_zeros(tmp_path):
  directory = write(tmp_path / "c", make())
  (directory / FOLDER / "1.0").unlink()
  refused(directory, FOLDER, "1.0", "missing")


def test_a_missing_chunk_of_orbax(tmp_path):
  directory = write_orbax(tmp_path / "c", make())
  for path in (directory / "state").rglob("d/*"):
    path.unlink()
  refused(directory, "cannot be read")


def test_a_chunk_cut_off(tmp_path):
  directory = write(tmp_path / "c", make())
  chunk = directory / FOLDER / "0.0"
  chunk.write_bytes(chunk.read_bytes()[:-9])
  refused(directory, FOLDER, "cannot be read")


def test_an_array_of_another_shape_than_said(tmp_path):
  directory = write(
      tmp_path / "c", make(),
      change=lambda leaves: leaves[KERNEL]["metadata"].update(shape=[7, 5]),
  )
  refused(directory, FOLDER, "shape (7, 6)", "says (7, 5)")


@pytest.mark.parametrize("cut", [0, 1, 500])
def test_a_file_cut_off(tmp_path, cut):
  directory = write(tmp_path / "c", make())
  file = directory / "checkpoint"
  file.write_bytes(file.read_bytes()[:cut])
  refused(directory, "checkpoint: ")


@pytest.mark.parametrize("version", [0, 1, 4, "3", None])
def test_an_unknown_version(tmp_path, version):
  directory = write(tmp_path / "c", make(), version)
  refused(directory, f"version {version!r} is not known")


def test_a_plain_flax_file(tmp_path):
  directory = tmp_path / "c"
  directory.mkdir()
  for content, word in (
      ([1, 2], "version 0"), ({"params": {}}, "version 0"),
      ({"version": 3}, "no 'optimizer' with a 'target'"),
      ({"version": 3, "optimizer": {"target": 5}}, "'target'"),
      ({"version": 3, "optimizer": {"target": {"a": "b"}}}, "'target.a' is no"),
  ):
    data = flax.serialization.msgpack_serialize(content)
    (directory / "checkpoint").write_bytes(data)
    refused(directory, word)


@pytest.mark.parametrize(
    "path",
    ["../other/", "/etc/", "target.a/../../b", "", "./x", "a//b", "a\0b"],
)
@pytest.mark.parametrize("old", [False, True])
def test_a_path_outside(tmp_path, path, old):
  def change(leaves):
    if old:  # TensorStore before 0.1.14
      del leaves[KERNEL]["kvstore"]["path"]
      leaves[KERNEL]["path"] = path
    else:
      leaves[KERNEL]["kvstore"]["path"] = path

  directory = write(tmp_path / "c", make(), change=change)
  refused(directory, "outside of the checkpoint", KERNEL.replace("/", "."))


@pytest.mark.parametrize(
    "entry, word",
    [
        ({"driver": "n5"}, "'n5'"),
        ({"kvstore": {"driver": "http", "path": "x"}}, "'http'"),
        ({"kvstore": {"path": "x"}}, "lacks 'driver'"),
        ({"kvstore": {"driver": "file"}}, "lacks 'path'"),
        ({"kvstore": "file:///etc"}, "lacks"),
        ({"metadata": {}}, "lacks 'shape'"),
    ],
)
def test_a_spec_that_is_none(tmp_path, entry, word):
  directory = write(
      tmp_path / "c", make(),
      change=lambda leaves: leaves[KERNEL].update(entry),
  )
  refused(directory, word, "checkpoint: ")


def test_version_3_has_no_uint16(tmp_path):
  tree = {k: v.astype(np.uint16) for k, v in make().items()}
  refused(write(tmp_path / "c", tree), "is uint16, which version 3")


@pytest.mark.parametrize("writer", [write, write_orbax])
@pytest.mark.parametrize(
    "change, words",
    [
        ({KERNEL: None}, ("no tensor", KERNEL)),
        ({"token_embedder/embedding": None}, ("no parameter", "embedding")),
        ({"encoder/relpos_bias/rel_embedding": None}, ("relpos_bias",)),
        ({"encoder/more/kernel": (2, 3)}, ("surplus", "encoder/more/kernel")),
        ({"decoder/encoder/kernel": (2, 3)}, ("surplus", "decoder/encoder/k")),
        ({KERNEL: (6, 7)}, (KERNEL, "(6, 7)", "(7, 6)")),
        ({"encoder/layers_1/attention/query/kernel": (6, 2, 5)}, ("query",)),
        ({"encoder/layers_0/attention/query/kernel": (6, 9)}, ("width 9",)),
        ({"encoder/layers_0/attention/query/kernel": (60,)}, ("(60,)",)),
        ({"encoder/relpos_bias/rel_embedding": (2, 6)}, ("num_buckets=6",)),
    ],
)
def test_parameters_that_are_no_t5(tmp_path, writer, change, words):
  tree = make()
  for name, shape in change.items():
    if shape is None:
      del tree[name]
    else:
      tree[name] = np.ones(shape, np.float32)
  refused(writer(tmp_path / "c", tree), *words)


def test_scanned_layers_on_another_axis(tmp_path):
  tree = scan(make(scanned=True))
  name = "encoder/encoder/pre_mlp_layer_norm/scale"
  other = {**tree, name: tree[name].T}
  refused(write(tmp_path / "a", other), "layers_3")
  other = {**tree, name: tree[name].T[0]}
  refused(write(tmp_path / "b", other), name, "shape (6,)")


def test_no_checkpoint_at_all(tmp_path):
  refused(tmp_path, "no T5X checkpoint")
  (tmp_path / "checkpoint_10").mkdir()
  refused(tmp_path, "choose one of checkpoint_10 in it")
  assert not t5x.matches(tmp_path)
  # A training checkpoint of ours has no target.
  directory = write_orbax(tmp_path / "c", {"target/x": np.ones(3)})
  metadata = directory / "state" / "_METADATA"
  assert t5x.matches(directory)
  metadata.write_text(metadata.read_text().replace("('target'", "('params'"))
  assert not t5x.matches(directory)


def test_a_model_that_it_is_not_like(tmp_path):
  files = t5x.Tensors(write(tmp_path / "c", make()))
  config = t5x.read_config(files)
  for change, word in (
      ({"family": "umt5"}, "position biases per stack, which no umt5 has"),
      ({"num_heads": 3}, "num_heads is 2, but 3"),
      ({"mlp_dim": 9}, "mlp_dim is 7, but 9"),
  ):
    like = type(config)(**{**vars(config), **change})
    with pytest.raises(CheckpointError, match=word):
      t5x.read_config(files, like)
