"""Datasets that `datasets` and TFDS really wrote."""

import os
import subprocess
import sys

import pytest

from mlit_jax.data.sources import SourceError

_ROWS = [
    {"instruction": "Add.", "input": "1, 2", "output": "3"},
    {"instruction": "Mikä?", "input": "", "output": "Tämä."},
]
_CHAT = {
    "id": "c1", "lang": "fi",
    "messages": [
        {"role": "user", "content": "Kuka?"},
        {"role": "assistant", "content": "Minä."},
    ],
}


def test_hugging_face_folders(tmp_path, read_all):
  datasets = pytest.importorskip("datasets")
  data = datasets.Dataset.from_list(_ROWS)
  data.save_to_disk(tmp_path / "one")
  found, bad = read_all("alpaca", tmp_path / "one")
  assert [(x.id, x.prompt, x.response) for x in found] == [
      ("alpaca/0", "Add.\n\n1, 2", "3"), ("alpaca/1", "Mikä?", "Tämä."),
  ]
  assert bad == []
  assert read_all("alpaca", f"hf:{tmp_path / 'one'}") == (found, bad)
  splits = datasets.DatasetDict(
      train=data, test=datasets.Dataset.from_list([_CHAT])
  )
  splits.save_to_disk(tmp_path / "splits")
  (chat,), _ = read_all("rows", tmp_path / "splits", split="test")
  assert (chat.id, chat.lang, chat.prompt, chat.response) == (
      "c1", "fi", "Kuka?", "Minä."
  )
  with pytest.raises(SourceError, match="has no split 'dev'; it has train te"):
    read_all("alpaca", tmp_path / "splits", split="dev")
  data.to_parquet(tmp_path / "files" / "train-00000-of-00001.parquet")
  assert read_all("alpaca", tmp_path / "files") == (found, bad)
  (tmp_path / "one" / "state.json").write_text("{")
  with pytest.raises(SourceError, match="cannot be read .*; write it again"):
    read_all("alpaca", tmp_path / "one")


def test_hugging_face_without_a_connection(tmp_path):
  pytest.importorskip("datasets")
  code = (
      "from mlit_jax.data import sources\n"
      "try: list(sources.open_source('aya', 'hf:someone/nothing'))\n"
      "except sources.SourceError as e: print(e)"
  )
  out = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True,
      env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
  ).stdout
  assert out.startswith("hf:someone/nothing:train: cannot be read (")
  assert "download the dataset elsewhere and give the path of its .parq" in out
  assert out.count("\n") == 1


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
  """A dataset of two splits, built by TFDS's own builder."""
  import tensorflow_datasets as tfds

  text = tfds.features.Text()

  class MlitSmall(tfds.core.GeneratorBasedBuilder):
    """Conversations."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      return tfds.core.DatasetInfo(
          builder=self,
          features=tfds.features.FeaturesDict({
              "id": text, "lang": text,
              "messages": tfds.features.Sequence(
                  {"role": text, "content": text}
              ),
          }),
      )

    def _split_generators(self, dl_manager):
      odd = [{**_CHAT, "lang": "eng", "id": "é"}, {**_CHAT, "id": b"\xff"}]
      return {
          "train": ((n, {**_CHAT, "id": f"c{n}"}) for n in range(80)),
          "test": enumerate(odd),
      }

    def _generate_examples(self):
      raise NotImplementedError

  folder = tmp_path_factory.mktemp("tfds")
  MlitSmall(data_dir=folder).download_and_prepare(
      download_config=tfds.download.DownloadConfig(num_shards=2)
  )
  return folder


def test_tfds_by_folder_and_by_name(tfds_dir, read_all, monkeypatch):
  folder = tfds_dir / "mlit_small" / "1.0.0"
  found, bad = read_all("rows", folder)
  assert {x.id for x in found} == {f"c{n}" for n in range(80)}
  assert {(x.lang, x.prompt, x.response) for x in found} == {
      ("fi", "Kuka?", "Minä.")
  }
  assert bad == []
  # In the order of the files, not so many rows of each in turn.
  shards = [
      read_all("rows", folder, split=f"train[{n}shard:{n + 1}shard]")[0]
      for n in range(2)
  ]
  assert min(map(len, shards)) > 20
  assert found == [row for shard in shards for row in shard]
  monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_dir))
  assert read_all("rows", "tfds:mlit_small") == (found, [])
  assert read_all("rows", "tfds:mlit_small:1.0.0", split="train[:3]") == (
      found[:3], []
  )
  (row,), bad = read_all("rows", "tfds:mlit_small", split="test")
  assert (row.id, row.lang) == ("é", "en")
  assert [reason for _, reason in bad] == ["not_utf8"]


def test_tfds_that_is_not_there(tfds_dir, read_all, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_dir))
  with pytest.raises(SourceError, match="tfds:mlit_large: cannot be loaded .*p"
                     "ut it into .*give the folder that holds its features"):
    read_all("rows", "tfds:mlit_large")
  with pytest.raises(SourceError, match="cannot be loaded .*dev"):
    read_all("rows", "tfds:mlit_small", split="dev")
