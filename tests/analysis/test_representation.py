"""Maps and similarities of sentence vectors, against scikit-learn and by hand.
"""

import numpy as np
import pytest
from scipy import stats

from mlit_jax.analysis import representation


def test_similarity_by_hand():
  first = np.array([[1.0, 0.0], [0.0, 2.0]])
  second = np.array([[3.0, 4.0], [0.0, 5.0]])
  # 3 / 5 and 1.
  assert representation.cosine_similarity(first, second) == pytest.approx(0.8)


def test_separation_by_hand():
  first = np.array([[-1.0, 0.0], [1.0, 0.0]])
  assert representation.separation(first, first) == 0
  assert representation.separation(first, first + np.array([0, 3])) == 3


def test_separation_takes_away_what_chance_gives_the_means():
  """Differences 2, 4 and 6: a mean of 4, whose variance is 4 / 3."""
  first = np.array([[0.0, 3.0], [0.0, -3.0], [0.0, 0.0]])
  second = first + np.array([[2.0, 0], [4, 0], [6, 0]])
  # Squares about the means: 18 of the first, 18 and 8 of the second.
  expected = ((16 - 4 / 3) / ((18 + 26) / 3 / 2)) ** 0.5
  assert representation.separation(first, second) == pytest.approx(expected)


def test_separations_interval_is_that_of_leaving_each_sentence_out():
  rng = np.random.default_rng(2)
  first = rng.normal(size=(12, 4))
  second = first + rng.normal(scale=0.4, size=(12, 4)) + [2, 0, 0, 0]
  squares = [
      representation.separation(
          np.delete(first, i, axis=0), np.delete(second, i, axis=0)
      ) ** 2
      for i in range(12)
  ]
  error = (11 / 12 * np.sum((squares - np.mean(squares)) ** 2)) ** 0.5
  half = stats.t.ppf(0.975, 11) * error
  square = representation.separation(first, second) ** 2
  found = representation.separation_interval(first, second)
  assert found == pytest.approx(
      ((square - half) ** 0.5, (square + half) ** 0.5)
  )
  assert representation.separation_interval(first[:3], second[:3]) is None


@pytest.mark.parametrize("distance", [0.0, 1.0, 4.0])
def test_separations_interval_holds_what_was_planted(distance):
  rng = np.random.default_rng(3)
  covered = 0
  for _ in range(200):
    first = rng.normal(size=(50, 16))
    second = first + rng.normal(scale=0.5, size=(50, 16))
    second[:, 0] += distance
    # Variances of 1 and 1.25 in each of 16 directions.
    truth = distance / (16 * 2.25 / 2) ** 0.5
    low, high = representation.separation_interval(first, second)
    covered += low <= truth <= high
  assert covered >= 180


def test_the_map_is_scikit_learns_up_to_sign():
  from sklearn import decomposition

  rng = np.random.default_rng(0)
  x = rng.normal(size=(40, 6)) * [5, 3, 1, 1, 0.5, 0.1]
  ours, shares = representation.project(x)
  pca = decomposition.PCA(2).fit(x)
  theirs = pca.transform(x)
  assert np.allclose(np.abs(ours), np.abs(theirs))
  assert shares == pytest.approx(pca.explained_variance_ratio_)
  # The sign does not hang on how the decomposition came out.
  again, _ = representation.project(x[::-1])
  assert np.allclose(again[::-1], ours)


def test_planted_languages_stand_apart_and_planted_meanings_together():
  rng = np.random.default_rng(1)
  meaning = rng.normal(size=(30, 8))
  apart = meaning + 9 * np.eye(8)[0]
  assert representation.separation(meaning, apart) > 2
  near = meaning + rng.normal(scale=0.1, size=meaning.shape)
  assert representation.separation(meaning, near) < 0.1
  assert representation.cosine_similarity(meaning, near) > 0.95
  points, _ = representation.project(np.concatenate([meaning, apart]))
  assert abs(points[:30, 0].mean() - points[30:, 0].mean()) > 5


@pytest.mark.parametrize(
    ("function", "arrays", "words"),
    [
        ("cosine_similarity", (np.zeros((2, 3)), np.ones((2, 3))), "no length"),
        ("cosine_similarity", (np.ones((0, 3)), np.ones((0, 3))), "expected"),
        ("separation", (np.ones((2, 3)), np.ones((2, 3))), "all the same"),
        ("separation", (np.ones((1, 3)),) * 2, "two parallel"),
        ("project", (np.ones((5, 3)),), "all the same"),
        ("project", (np.ones((2, 3)),), "three vectors"),
    ],
)
def test_what_has_no_answer_is_refused(function, arrays, words):
  with pytest.raises(ValueError, match=words):
    getattr(representation, function)(*arrays)
