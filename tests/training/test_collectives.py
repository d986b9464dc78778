"""Collectives of compiled programs, by hand and from the compiler."""

import jax
import jax.numpy as jnp
import pytest

from mlit_jax import partitioning
from mlit_jax.training import accelerators, collectives
from mlit_jax.training.collectives import Collective

PROGRAM = """\
HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%below (state: (s32[], f32[4])) -> pred[] {
  %state = (s32[], f32[4]) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %limit = s32[]{:T(128)} constant(12)
  ROOT %less = pred[] compare(%count, %limit), direction=LT
}

%piece (p: bf16[1,8]) -> bf16[16,8] {
  %p = bf16[1,8] parameter(0)
  ROOT %gather.7 = bf16[16,8]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=3, replica_groups=mesh['a'=4,'b'=16] {'b'}, dimensions={0}
}

%turn (state: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state = (s32[], f32[4]) parameter(0)
  %begun = bf16[16,8] fusion(%x), kind=kCustom, calls=%piece
  %gather.9 = bf16[16,8]{1,0} all-gather(%p), channel_id=3, replica_groups=mesh['a'=4,'b'=16] {'b'}, dimensions={0}
  %reduced = (f32[100]{0}, f32[4,2]{1,0}) all-reduce(%x, %y), channel_id=4, replica_groups=[4,16]<=[64], to_apply=%add
  ROOT %next = (s32[], f32[4]) tuple(%count, %x)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %loop = (s32[], f32[4]) while(%start), condition=%below, body=%turn
  %scattered = f32[10]{0} reduce-scatter(%x), channel_id=5, replica_groups=[16,4]<=[4,16]T(1,0), dimensions={0}, to_apply=%add
  %begin = (f32[5]{0}, f32[80]{0}) all-gather-start(%x), channel_id=6, replica_groups={{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}}, dimensions={0}
  %end = f32[80]{0} all-gather-done(%begin)
  %moved = s8[7]{0} collective-permute(%x), channel_id=8, source_target_pairs={{0,1},{1,0}}
  %alone = f32[9]{0} all-reduce(%x), channel_id=9, replica_groups={{0},{1}}, to_apply=%add
  ROOT %out = f32[4] get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def test_a_program_by_hand():
  found = collectives.read(PROGRAM, 64, per_slice=16)
  assert sorted(found, key=lambda c: c.bytes) == [
      Collective("collective-permute", 7, 2, 1),
      # What comes in is four times what stays; devices 0, 16, 32 and 48.
      Collective("reduce-scatter", 160, 4, 1, between_slices=True),
      Collective("all-gather", 256, 16, 12),  # printed twice, done once
      Collective("all-gather", 320, 16, 1),
      Collective("all-reduce", 432, 16, 12),
  ]
  assert list(collectives.by_kind(found, between_slices=True)) == [
      "reduce-scatter"
  ]
  kinds = collectives.by_kind(found)
  assert "reduce-scatter" not in kinds
  assert kinds["all-gather"] == {
      "count": 13, "bytes": 12 * 256 + 320,
      "sent": (12 * 256 + 320) * 15 / 16,
  }
  # A ring passes everything around twice.
  assert kinds["all-reduce"]["sent"] == 2 * 12 * 432 * 15 / 16
  assert kinds["collective-permute"]["sent"] == 7


BETWEEN = """\
HloModule jit_step, is_scheduled=true

%below (state: (f32[4], s32[])) -> pred[] {
  %state = (f32[4], s32[]) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%state), index=1
  %limit = s32[]{:T(128)} constant(12)
  ROOT %less = pred[] compare(%count, %limit), direction=LT
}

%turn (state: (f32[4], s32[])) -> (f32[4], s32[]) {
  %state = (f32[4], s32[]) parameter(0)
  %sent = (bf16[40,8]{1,0:T(8,128)(2,1)}, u32[], token[]) send(%x, %after), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.5_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2,3,4}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %come = (bf16[40,8]{1,0:T(8,128)(2,1)}, u32[], token[]) recv(%after), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.5_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2,3,4}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  ROOT %next = (f32[4], s32[]) tuple(%x, %count)
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4] parameter(0)
  %one = s32[]{:T(128)} constant(1)
  %begun = s32[]{:T(128)} copy(%one)
  %start = (f32[4], s32[]) tuple(%x, /*index=1*/%begun)
  %loop = (f32[4], s32[]) while(%start), condition=%below, body=%turn
  %part = (f32[10], u32[], token[]) send(%x, %after), channel_id=4, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-gather.1_0",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_GATHER"}
  %all = (f32[20], u32[], token[]) recv(%after), channel_id=3, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="all-gather.1_0",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_GATHER"}
  %moved = (s8[7], u32[], token[]) send(%x, %after), channel_id=6, is_host_transfer=true, frontend_attributes={_xla_host_transfer_rendezvous="permute.1_0",_xla_megascale_transfer_type="ONE_TO_ONE"}
  ROOT %out = f32[4] get-tuple-element(%loop), index=0
}
"""  # noqa: E501


def test_what_goes_over_the_network_by_hand():
  found = collectives.read(BETWEEN, 16, per_slice=4)
  assert sorted(found, key=lambda c: c.bytes) == [
      Collective("collective-permute", 7, 4, 1, between_slices=True),
      Collective("all-gather", 80, 2, 1, between_slices=True),
      # The loop counts from 1 to 12: its first turn stands elsewhere.
      Collective("all-reduce", 640, 4, 11, between_slices=True),
  ]
  assert [c.sent for c in sorted(found, key=lambda c: c.bytes)] == [
      7, 80 / 2, 2 * 11 * 640 * 3 / 4,
  ]
  assert collectives.by_kind(found) == {}
  unknown = BETWEEN.replace('"ONE_TO_ONE"', '"GOSSIP"')
  with pytest.raises(ValueError, match="a transfer GOSSIP between slices"):
    collectives.read(unknown, 16, per_slice=4)


@pytest.mark.tpu_compile
def test_a_scan_for_tpu():
  """Seven turns gather a kernel of 64 KiB and sum up a row."""
  pytest.importorskip("libtpu", reason="libtpu is not installed")
  mesh = partitioning.make_mesh(
      {"fsdp": 8}, accelerators.parse("v5e-8").devices()
  )

  def place(shape, *spec):
    sharding = jax.sharding.NamedSharding(mesh, jax.P(*spec))
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

  def step(kernels, x):
    def turn(x, kernel):
      kernel = jax.lax.with_sharding_constraint(kernel, jax.P())
      return jnp.tanh(x @ kernel), None
    return jnp.sum(jax.lax.scan(turn, x, kernels)[0])

  with jax.set_mesh(mesh):
    compiled = jax.jit(step).lower(
        place((7, 128, 128), None, "fsdp"), place((64, 128), "fsdp")
    ).compile()
  found = collectives.by_kind(collectives.read(compiled.as_text(), 8))
  gathered = found["all-gather"]["bytes"]
  # The compiler may gather once before the loop, or in bfloat16 each turn.
  assert gathered in (7 * 128 * 128 * 4, 7 * 128 * 128 * 2)
  assert found["all-reduce"]["count"] == 1
