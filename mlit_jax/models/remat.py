"""What a block keeps from its forward pass for its backward pass, by name."""

import flax.linen as nn
import jax

from mlit_jax.models.attention_xla import CONTEXT

_policies = jax.checkpoint_policies
POLICIES = {
    # Nothing but the block's input: everything is computed once more.
    "full": _policies.nothing_saveable,
    # What attention gives, before its output map: kernels and the blockwise
    # path do not run twice.
    "context": _policies.save_only_these_names(CONTEXT),
    # The same, waiting in the host's memory.
    "offload": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[CONTEXT],
        offload_src="device", offload_dst="pinned_host",
    ),
    # What linear maps give, but no attention scores.
    "dots": _policies.dots_with_no_batch_dims_saveable,
}
NAMES = ("none", *POLICIES)


def remat(block: type[nn.Module], policy: str) -> type[nn.Module]:
  """A block that recomputes, in its backward pass, what the policy drops.

  Memory, least first: full, offload (on the device), context, dots, none;
  computation the other way round. The scan over blocks must stay a loop
  (unroll=1): the loop keeps the compiler from merging the two computations.

  Args:
    block: the module; not yet scanned over.
    policy: one of NAMES; "none" keeps everything.

  Raises:
    ValueError: an unknown name.
  """
  if policy not in NAMES:
    raise ValueError(f"no remat policy {policy!r}; there are {NAMES}")
  if policy == "none":
    return block
  return nn.remat(block, policy=POLICIES[policy], prevent_cse=False)
