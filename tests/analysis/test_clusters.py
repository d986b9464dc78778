"""What is together through others is one cluster."""

from mlit_jax.analysis import clusters


def test_groups_that_share_a_member_are_one_cluster():
  found = clusters.joined([("a", "b"), ("c",), ("d", "e"), ("b", "d"), ("c",)])
  assert found.keys() == set("abcde")
  together = {found[x] for x in "abde"}
  assert len(together) == 1 and found["c"] not in together
