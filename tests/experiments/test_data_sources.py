"""A run's folder is named by what it learns from, and holds finished stages only."""

import dataclasses
import shutil

import pytest
import yaml

from idol.data.shards import ShardWriter
from idol.errors import UserError
from idol.experiments.data_sources import training_clips
from idol.experiments.plan import RowPlan, plan_row, steps_done, train_row
from idol.experiments.tables import RowConfig, ScaleConfig, TrainingStage
from idol.model.autoencoder import Autoencoder
from support.drawn import drawn_clip
from support.training_runs import config, make_data, settings


@pytest.fixture
def place(tmp_path):
    """Drawn shards, an autoencoder and the config of a stage."""
    make_data(tmp_path)
    (tmp_path / "image.yaml").write_text(yaml.safe_dump(settings(tmp_path, "image")))
    return tmp_path


def folder(place, *changes):
    scale = ScaleConfig("x", (TrainingStage(place / "image.yaml", 2),), set=changes)
    return plan_row(RowConfig("x"), scale, place, place / "runs").folder.name


def test_other_clips_make_another_folder_and_other_places_none(place):
    first = folder(place)
    shutil.copytree(place / "shards", place / "moved")
    assert folder(place, f"data.folders=[{place / 'moved'}]") == first
    shutil.rmtree(place / "shards")
    ShardWriter(place / "shards", samples_per_shard=2).write(drawn_clip(i, 4) for i in (7, 8, 9))
    assert folder(place) != first
    shutil.rmtree(place / "shards")
    assert "not-named-yet" in folder(place)


def test_another_autoencoder_makes_another_folder(place):
    first = folder(place)
    shutil.copytree(place / "autoencoder", place / "moved")
    assert folder(place, f"autoencoder.path={place / 'moved'}") == first
    network = Autoencoder.from_pretrained(place / "autoencoder")
    next(network.parameters()).data.add_(1e-3)
    network.save_pretrained(place / "autoencoder")
    assert folder(place) != first


def test_a_stage_that_ran_out_of_time_is_no_row(place):
    """Nothing is exported, the next stage is not begun, and the same again goes on."""
    stage = config(place, "image", steps=3, max_minutes=0.0)
    after = config(place, "video", frames=2, steps=1, model={"init": str(stage.out)})
    for done in (1, 2):
        with pytest.raises(UserError, match=f"stopped at step {done} of 3; run the same again"):
            train_row(RowPlan((stage, after)))
        assert steps_done(stage) == done and not after.out.exists()
    exported = train_row(RowPlan((stage, after)))
    assert exported == after.out / "pipeline" and steps_done(stage) == 3 and steps_done(after) == 1
    # what is finished is not begun again, whatever time it would be given
    assert train_row(RowPlan((dataclasses.replace(stage, max_minutes=None), after))) == exported


def test_clips_are_counted(place):
    found = training_clips(place / "shards")
    assert found.clips == 3 and len(found.sha256) == 64
