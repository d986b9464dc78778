"""Maps and similarities of sentence vectors, against scikit-learn and by hand.
"""

import numpy as np
import pytest

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
        ("project", (np.ones((5, 3)),), "all the same"),
        ("project", (np.ones((2, 3)),), "three vectors"),
    ],
)
def test_what_has_no_answer_is_refused(function, arrays, words):
  with pytest.raises(ValueError, match=words):
    getattr(representation, function)(*arrays)
