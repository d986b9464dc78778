"""`mlit study` on a machine that is taken away: what trains is saved."""

import pytest
import terminated

# Nothing is due to be saved: what is, is so because of SIGTERM.
LONG = ["--study.{}.epochs=100000", "--study.{}.checkpoint_every=1000000000"]


@pytest.mark.slow
@pytest.mark.parametrize(("section", "models"), [
    ("pretrain", ["base"]),  # in the command's own process
    ("tune", ["mono-en", "mono-es"]),  # in a worker each
])
def test_every_model_under_way_saves(section, models, tmp_path):
  steps = [tmp_path / "steps" / f"model-{name}" for name in models]
  saved = [step / "checkpoints" for step in steps]
  said = terminated.run(
      ["study", "pinch:pocket", "--workdir", tmp_path, "--jobs", "2",
       *terminated.SMALL, *(option.format(section) for option in LONG)],
      lambda: all(place.exists() for place in saved), 200,
  )
  assert said.splitlines()[-1].startswith("mlit study: ")
  assert "Traceback" not in said
  for step, place in zip(steps, saved, strict=True):
    assert [int(path.name) for path in place.iterdir()] > [0]
    assert not (step / "done.json").exists()
