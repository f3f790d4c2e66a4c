"""Tables and scales: every row of every table resolves, shares what it can, and differs in its idea alone."""

from pathlib import Path

import pytest

from idol.config import to_dict
from idol.errors import UserError
from idol.experiments.plan import plan_row
from idol.experiments.study import plan_study
from idol.experiments.tables import RowConfig, ScaleConfig, TrainingStage, load_scale
from idol.training.config import TrainConfig
from idol.training.train_autoencoder import AutoencoderConfig

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "tables"
TABLES = [f"table{number}" for number in range(1, 9)]


def differences(a, b, prefix=""):
    """Dotted keys in which two nested dictionaries differ."""
    found = set()
    for key in a.keys() | b.keys():
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            found |= differences(x, y, f"{prefix}{key}.")
        elif x != y:
            found.add(prefix + key)
    return found


@pytest.mark.parametrize("scale", ["tiny", "mini", "sd14"])
@pytest.mark.parametrize("table", TABLES)
def test_every_row_is_planned_or_says_why_not(table, scale, tmp_path):
    found = plan_study(table, scale, tmp_path, folder=FOLDER)
    names = {row.name for row in found.table.rows}
    assert found.plans.keys() | found.left_out.keys() == names
    assert not found.plans.keys() & found.left_out.keys()
    assert all(found.left_out.values()) and not list(tmp_path.iterdir())
    for plan in found.plans.values():
        assert [stage.out.parent for stage in plan.stages] == [tmp_path] * len(plan.stages)
        diffusion = [stage for stage in plan.stages if isinstance(stage, TrainConfig)]
        assert plan.last_stage is diffusion[-1] and plan.last_stage.stage == "video"
        # each stage starts from the one before, the first from nothing
        assert [s.model.init for s in diffusion] == [None, *(s.out for s in diffusion[:-1])]


@pytest.mark.parametrize("scale", ["tiny", "sd14"])
@pytest.mark.parametrize("table", TABLES)
def test_every_row_that_is_ours_is_run(table, scale, tmp_path):
    found = plan_study(table, scale, tmp_path, folder=FOLDER)
    assert found.left_out.keys() == {row.name for row in found.table.rows if row.external}


@pytest.mark.parametrize(
    ("table", "depth", "joints"), [("table2", "scene", "body"), ("table3", "person", "whole-body")]
)
def test_a_table_about_other_clips_trains_and_is_tested_on_such(table, depth, joints, tmp_path):
    usual, other = (plan_study(name, "tiny", tmp_path, folder=FOLDER) for name in ("table1", table))
    assert (other.scale.test.depth, other.scale.test.joints) == (depth, joints)
    assert (usual.scale.test.depth, usual.scale.test.joints) == ("person", "body")
    folders = {
        stage.data.folders
        for plan in other.plans.values()
        for stage in plan.stages
        if stage.stage != "autoencoder"
    }
    assert len(folders) == 1 and folders != {usual.plans["IDOL"].last_stage.data.folders}
    assert other.scale.about != usual.scale.about


@pytest.mark.parametrize(
    ("scale", "stages", "kind"),
    [
        ("tiny", ["autoencoder", "image", "video"], "idol"),
        ("sd14", ["autoencoder", "haop", "image", "video"], "kl"),
    ],
)
@pytest.mark.parametrize(("table", "colors"), [("table1", "hot"), ("table2", "gray")])
def test_ldm3d_stands_on_an_autoencoder_of_the_tables_depth(table, colors, scale, stages, kind, tmp_path):
    found = plan_study(table, scale, tmp_path, folder=FOLDER)
    plan = found.plans["LDM3D"]
    assert [stage.stage for stage in plan.stages] == stages
    assert f"  autoencoder: {plan.stages[0].steps} steps in {plan.stages[0].out}" in found.text()
    first, *others = plan.stages
    assert isinstance(first, AutoencoderConfig) and first.model.in_channels == 6
    assert first.colormap == colors
    for stage in others:
        assert stage.data.folders == (first.data,)
        stacked = stage.stage != "haop"  # pre-training is of frames, and the same run for all rows
        assert stage.data.images.stacked == stacked
        source = (str(first.out / "autoencoder"), kind)
        assert ((stage.autoencoder.path, stage.autoencoder.kind) == source) == stacked
        assert not stacked or stage.data.images.colormap == colors
    shared = [stage.out for stage in found.plans["IDOL"].stages if stage.stage == "haop"]
    assert [stage.out for stage in others if stage.stage == "haop"] == shared


def test_a_scale_without_such_clips_says_so(tmp_path):
    scale = tmp_path / "bare.yaml"
    stage = FOLDER / "scales" / "tiny" / "image.yaml"
    scale.write_text(f"about: bare\nstages: [{{config: {stage}, steps: 1}}]\n")
    found = plan_study("table2", str(scale), tmp_path, folder=FOLDER)
    assert not found.plans and set(found.left_out.values()) == {
        "this scale has no clips with body joints and depth of the scene"
    }


@pytest.mark.parametrize(
    ("table", "row", "keys"),
    [
        ("table4", "shared U-Net", {"model.unet.cross_modal"}),
        ("table4", "separate U-Nets", {"model.unet.cross_modal", "model.unet.coupling"}),
        ("table5", "neither", set()),
        ("table5", "L_xattn", {"loss.w_xattn"}),
        ("table5", "L_xattn and L_mo", {"loss.w_xattn", "loss.w_mo"}),
        (
            "table1",
            "DisCo",
            {
                "model.unet.background",
                "model.unet.num_modalities",
                "model.unet.cross_modal",
                "data.images.modalities",
            },
        ),
        ("table8", "shared, average", {"model.unet.cross_attention_maps"}),
    ],
)
def test_a_row_differs_from_its_base_in_its_idea_alone(table, row, keys, tmp_path):
    base = plan_study("table5", "tiny", tmp_path, folder=FOLDER).plans["neither"].last_stage
    other = plan_study(table, "tiny", tmp_path, folder=FOLDER).plans[row].last_stage
    assert differences(to_dict(base), to_dict(other)) - {"out", "model.init"} == keys


def test_rows_of_several_tables_share_their_runs(tmp_path):
    folders = {
        (table, row): plan.folder
        for table in ("table1", "table4", "table5", "table6", "table8")
        for row, plan in plan_study(table, "tiny", tmp_path, folder=FOLDER).plans.items()
    }
    same = [("table1", "IDOL"), ("table5", "L_xattn and L_mo"), ("table6", "none")]
    assert len({folders[key] for key in same}) == 1
    same = [("table4", "shared U-Net, cross-modal attention"), ("table5", "neither"), ("table8", "-")]
    assert len({folders[key] for key in same}) == 1
    assert len(set(folders.values())) == 12


def test_what_changes_the_weights_changes_the_folder(tmp_path):
    scale, beside = load_scale("tiny", FOLDER)
    base = plan_row(RowConfig("x"), scale, beside, tmp_path)
    for override in ("seed=1", "optimizer.lr=0.1", "model.unet.cross_modal=false"):
        assert plan_row(RowConfig("x", set=(override,)), scale, beside, tmp_path).folder != base.folder
    for override in ("threads=1", "save_every=7", "data.workers=3"):
        assert plan_row(RowConfig("x", set=(override,)), scale, beside, tmp_path).folder == base.folder
    # another seed of the first stage alone changes what stands on it
    longer = ScaleConfig("x", (TrainingStage(scale.stages[0].config, 7), scale.stages[1]))
    assert plan_row(RowConfig("x"), longer, beside, tmp_path).folder != base.folder


def test_hap_and_haop_differ_in_their_augmentation_alone(tmp_path):
    plans = plan_study("table6", "sd14", tmp_path, folder=FOLDER).plans
    hap, haop = (to_dict(plans[name].stages[0]) for name in ("HAP", "HAOP"))
    found = differences(hap, haop) - {"out", "stage"}
    assert found == {"data.images.outpainting.dilation", "data.images.outpainting.foreground_area"}


def test_unknown_names_are_told(tmp_path):
    for arguments in (("table9", "tiny"), ("table1", "huge")):
        with pytest.raises(UserError, match="known: "):
            plan_study(*arguments, tmp_path, folder=FOLDER)
    with pytest.raises(UserError, match="'Nobody'.*rows: FOMM"):
        plan_study("table1", "tiny", tmp_path, folder=FOLDER, given={"Nobody": tmp_path})
    with pytest.raises(UserError, match="rows: "):
        plan_study("table4", "tiny", tmp_path, folder=FOLDER, rows=("IDOL",))
