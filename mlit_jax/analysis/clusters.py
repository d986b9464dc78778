"""Which observations depend on each other, from what they share."""

from collections.abc import Hashable, Iterable, Sequence

from scipy.cluster.hierarchy import DisjointSet


def joined(groups: Iterable[Sequence[Hashable]]) -> dict[Hashable, Hashable]:
  """Puts together what stands in one group, and what that is together with.

  Args:
    groups: of members, e.g. the questions about one text in one language.

  Returns:
    Member -> a member that names its cluster: the same for all of a cluster.
  """
  found = DisjointSet()
  for group in groups:
    for member in group:
      found.add(member)
      found.merge(group[0], member)
  return {member: found[member] for member in found}
