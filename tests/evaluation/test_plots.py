"""The images of a report: which clips they show, and that they can be drawn for every kind of clip."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from idol.errors import UserError
from idol.evaluation import plots
from idol.evaluation.plots import write_plots
from idol.evaluation.report import compare_clips
from idol.evaluation.score import Evaluator
from support.drawn import drawn_clip


@pytest.fixture(scope="module")
def judged():
    """Four drawn clips, each noisier than the one before, with and without depth; and their report."""
    true = {f"{i:03d}": drawn_clip(i) for i in range(4)}
    rng = np.random.default_rng(0)

    def noisy(clip, by):
        return replace(
            clip, video=(clip.video + rng.normal(0, by, clip.video.shape)).clip(0, 255).astype(np.uint8)
        )

    generated = {name: noisy(clip, 5 + 10 * i) for i, (name, clip) in enumerate(true.items())}
    flat = {n: replace(c, depth=np.zeros_like(c.depth), depth_kind="none") for n, c in generated.items()}
    columns = {"generated": generated, "video/only": flat}
    return compare_clips(columns, true, Evaluator()), columns, true


def size(path):
    with Image.open(path) as image:
        assert image.format == "PNG" and np.ptp(np.asarray(image.convert("L"))) == 255
        return image.size


def test_every_column_gets_its_images(judged, tmp_path):
    report, columns, true = judged
    files = write_plots(report, columns, true, tmp_path / "new" / "plots")
    assert [f.name for f in files] == [
        "clips.png",
        "generated-maps.png",
        "generated-depth.png",
        "video_only-maps.png",
    ]
    assert all(size(file)[0] > 400 for file in files)


def test_best_median_and_worst_are_told_apart(judged):
    report, columns, true = judged
    cases = plots._cases(report, "generated", columns["generated"], true, plots._row("psnr"))
    assert [case.title.split("\n")[1] for case in cases] == ["000", "002", "003"]
    assert [case.title.split(":")[0] for case in cases] == ["best", "median", "worst"]
    assert cases[0].generated is columns["generated"]["000"] and cases[2].reference is true["003"]
    one = compare_clips({"generated": {"001": true["001"]}}, true, Evaluator())
    (only,) = plots._cases(one, "generated", columns["generated"], true, plots._row("depth_l2"))
    assert only.title == "best: 0\n001"


def test_only_measured_rows_get_a_panel(judged):
    report, *_ = judged
    figure = plots._scatter(report, [plots._row(key) for key in ("psnr", "lpips", "flicker_of_true", "ssim")])
    titles = [axes.get_title().split(",")[0] for axes in figure.axes]
    assert titles == ["PSNR", "SSIM"]  # no networks, and the true clips do not flicker
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 1], report.values("generated", "psnr"))


def test_the_image_counts_clips_and_people(judged):
    report, *_ = judged
    rows = [plots._row("psnr")]
    assert plots._scatter(report, rows).get_suptitle().startswith("4 clips of 4 people")
    one = plots._scatter(replace(report, people=("a",) * 4), rows)
    assert one.get_suptitle().startswith("4 clips of one person: no intervals")
    one.draw_without_rendering()
    assert np.isfinite(one.axes[0].get_ylim()).all()


def test_what_cannot_be_drawn_is_refused(judged, tmp_path):
    report, columns, true = judged
    for arguments, found in (
        ({"rows": ["psnr", "beauty"]}, "beauty"),
        ({"ranked_by": "beauty"}, "beauty"),
        ({"ranked_by": "depth_l2"}, "rank the clips by another row"),  # the column without depth
    ):
        with pytest.raises(UserError, match=found):
            write_plots(report, columns, true, tmp_path / "none", **arguments)
    with pytest.raises(UserError, match="in the report"):
        write_plots(report, {"other": true}, true, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_plots(report, columns, true, tmp_path / "file")
    with pytest.raises(UserError, match="'a b' and 'a/b' would both write a_b-maps.png"):
        write_plots(report, {"a b": true, "a/b": true}, true, tmp_path / "none")
