"""The hook in conftest.py enforces the annotations of public signatures."""

import jax.numpy as jnp
import jaxtyping
import pytest

from mlit_jax.decoding import sampling
from mlit_jax.models import decoder, positions
from mlit_jax.models.config import DecoderConfig
from mlit_jax.training import loss

CONFIG = DecoderConfig(
    vocab_size=7, num_layers=1, embed_dim=4, num_heads=2, num_kv_heads=1,
    head_dim=2, mlp_dim=3,
)
INT, FLOAT = jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 3))
LOGITS = jnp.zeros((2, 3, 7))


def refuses(call, *args, name):
  with pytest.raises(jaxtyping.TypeCheckError) as error:
    call(*args)
  assert f"'{name}'" in str(error.value)


@pytest.mark.parametrize(
    "args, name",
    [
        ((LOGITS, INT[:, :2], FLOAT), "targets"),  # another T
        ((LOGITS, FLOAT, FLOAT), "targets"),  # not whole numbers
        ((LOGITS, INT, FLOAT[0]), "weights"),  # no batch
        ((LOGITS[0], INT, FLOAT), "logits"),
    ],
)
def test_loss_refuses_wrong_shapes(args, name):
  loss.cross_entropy(LOGITS, INT, FLOAT)  # right ones pass
  refuses(loss.cross_entropy, *args, name=name)


def test_sampling_refuses_wrong_shapes():
  ones, zeros = jnp.ones(2), jnp.zeros(2, jnp.int32)
  how = sampling.Choice(ones, zeros, ones, ones, ones, zeros)
  seen = jnp.zeros_like(LOGITS[:, 0], bool)
  sampling.next_token(LOGITS[:, 0], how, seen, zeros)  # right ones pass
  refuses(
      sampling.next_token, LOGITS[:, 0], how, seen[:, :2], zeros, name="seen"
  )


def test_layers_and_decoder_refuse_wrong_shapes(random_params):
  refuses(positions.rotate, LOGITS, INT, FLOAT[0], name="x")
  apply = decoder.Decoder(CONFIG).apply
  variables = {"params": random_params(CONFIG)}
  refuses(apply, variables, INT, INT[:, :2], name="positions")
  refuses(apply, variables, INT, FLOAT, name="positions")
