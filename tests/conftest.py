"""Shapes and types are checked while tests run; fixtures that many share."""

import os
import pathlib
import shutil

import filelock
import jaxtyping
import pytest

import mlit_jax

PACKAGE = pathlib.Path(mlit_jax.__file__).parent


def _annotated_modules():
  """Every module with jaxtyping annotations."""
  for path in PACKAGE.rglob("*.py"):
    if "from jaxtyping import" in path.read_text(encoding="utf-8"):
      parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
      yield ".".join(parts)


# Before anything imports them.
jaxtyping.install_import_hook(list(_annotated_modules()), "beartype.beartype")


@pytest.fixture(scope="session")
def random_params():
  """Makes numpy parameters of a shape; none is near zero, no norm is 1."""
  import flax.linen as nn
  import jax
  import numpy as np

  from mlit_jax.models import decoder, encoder_decoder
  from mlit_jax.models.config import DecoderConfig

  def make(config, seed=0):
    module = decoder if isinstance(config, DecoderConfig) else encoder_decoder
    shapes = jax.eval_shape(lambda: module.init_params(config, 0))
    rng = np.random.default_rng(seed)

    def one(path, leaf):
      value = rng.standard_normal(leaf.shape).astype(np.float32)
      if "scale" in jax.tree_util.keystr(path):
        return 1 + 0.3 * value
      return value * leaf.shape[-1] ** -0.5

    return jax.tree_util.tree_map_with_path(one, nn.meta.unbox(shapes))

  return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
  """Finds a directory by name; of all test processes one fills it."""
  root = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    root = root.parent

  def find(name, fill):
    directory, done = root / name, root / f"{name}.done"
    with filelock.FileLock(root / f"{name}.lock"):
      if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        fill(directory)
        done.touch()
    return directory

  return find


@pytest.fixture(scope="module")
def compiled():
  """Names of the programs that were compiled in this module so far."""
  import jax

  names = []

  def listen(event, seconds, **about):
    if event.endswith("backend_compile_duration"):
      names.append(about["fun_name"])

  jax.monitoring.register_event_duration_secs_listener(listen)
  return names
