"""What a reproduced table says: figures beside the paper's, and where rows stand in the paper's order."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from idol.evaluation.confidence_intervals import Estimate
from idol.experiments.data_sources import TrainingClips
from idol.experiments.report import RowResult, TableResult
from idol.experiments.tables import PaperMetrics, RowConfig

LUCK = np.linspace(-1, 1, 401)  # of the drawn clips, the same for all rows


def row(name, value, low, high, paper):
    return RowResult(
        RowConfig(name, tiktok=PaperMetrics(fid=paper)),
        parameters=1_500_000,
        metrics={"fid": Estimate(value, low, high, 8), "silhouette_iou": Estimate(0.5, 0.4, 0.6, 8)},
        # the last row finds hard what the others find easy
        draws={"fid": value + (high - low) / 2 * LUCK * (-1 if name.startswith("last") else 1)},
    )


@pytest.fixture
def result():
    rows = (
        row("best", 10, 9, 11, 1.0),
        row("second", 20, 18, 22, 3.0),
        row("also second", 21, 19, 23, 4.0),
        row("no better than that", 22, 12, 32, 6.0),
        row("last, the paper's second", 40, 35, 45, 2.0),
        RowResult(RowConfig("theirs", tiktok=PaperMetrics(fid=5.0)), skip_reason="made by its own code"),
    )
    learned = (TrainingClips(Path("runs/data"), 1408, "0123456789abcdef" * 4),)
    judged = "8 clips of 2 people"
    return TableResult(
        "Table 0: drawn", "one step", judged, learned, rows, ("mind this",), {"machine": "this"}
    )


def test_pairs_are_as_in_the_paper_the_other_way_or_undecided(result):
    verdicts = {(c.first, c.second): c.verdict for c in result.comparisons()}
    last_stage = "last, the paper's second"
    assert verdicts == {
        ("best", "second"): "same",
        ("best", "also second"): "same",
        ("best", last_stage): "same",
        ("second", "also second"): "same",  # their intervals overlap, but on every draw it is better
        **{("best", "no better than that"): "same", ("second", "no better than that"): "undecided"},
        ("also second", "no better than that"): "undecided",
        ("no better than that", last_stage): "opposite",
        ("second", last_stage): "opposite",
        ("also second", last_stage): "opposite",
    }
    assert {c.metric for c in result.comparisons()} == {"fid"}  # the paper has no silhouette


def test_rows_are_compared_on_one_dataset_of_the_papers(result):
    """What it gives for one row on TikTok and for another on NTU120 says nothing of the two."""
    tiktok, elsewhere, both = result.rows[0], result.rows[1], result.rows[2]
    elsewhere = replace(elsewhere, row=RowConfig("second", ntu120=PaperMetrics(fid=0.5)))
    both = replace(both, row=RowConfig("both", tiktok=PaperMetrics(fid=2.0), ntu120=PaperMetrics(fid=0.1)))
    found = replace(result, rows=(tiktok, elsewhere, both)).comparisons()
    verdicts = {(c.first, c.second): c.verdict for c in found}
    # better here than "both": so on TikTok, where it is compared first; the other way on NTU120
    assert verdicts[("best", "both")] == "same"
    assert verdicts.keys() == {("best", "both"), ("second", "both")}


def test_all_that_was_measured_and_published_is_in_the_json(result):
    values = json.loads(json.dumps(result.to_json()))
    assert list(values["rows"]) == [r.row.name for r in result.rows] and values["machine"] == "this"
    assert values["notes"] == ["mind this"] and values["judged"] == "8 clips of 2 people"
    assert values["trained_on"] == [{"folder": "runs/data", "clips": 1408, "sha256": "0123456789abcdef" * 4}]
    assert values["rows"]["best"]["figures"]["fid"] == {"value": 10, "low": 9, "high": 11, "clips": 8}
    assert values["rows"]["best"]["paper"] == {"tiktok": {"fid": 1.0}, "ntu120": {}}
    assert values["rows"]["theirs"]["figures"] == {}
    assert values["rows"]["theirs"]["why_not"] == "made by its own code"
    assert len(values["order"]) == 10
    first = values["order"][0]["difference"]
    assert first["value"] == -10 and first["low"] < -10 < first["high"] < 0


def test_one_person_decides_nothing():
    alone = [
        RowResult(
            RowConfig(name, tiktok=PaperMetrics(fid=paper)),
            metrics={"fid": Estimate(value, -np.inf, np.inf, 4)},
            draws={"fid": np.full(1, np.nan)},
        )
        for name, value, paper in (("one", 1.0, 1.0), ("two", 9.0, 2.0))
    ]
    result = TableResult("Table 0", "one step", "4 clips of one person: no intervals", (), tuple(alone))
    assert [c.verdict for c in result.comparisons()] == ["undecided"]
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["order"][0]["difference"]["low"] is None
    assert "| one | – | 1.000 [1] |" in result.markdown()


def test_tables_for_people_show_ours_and_the_papers(result):
    page = result.markdown()
    assert "| best | 1.5 M | 10.0 (9.0–11.0) [1] | 0.500 (0.400–0.600) |" in page
    assert "| theirs | – | – [5] | – |" in page
    assert "- mind this" in page.splitlines()
    learned = (
        "one step; trained on 1,408 clips (manifest 0123456789ab); judged on 8 clips of 2 people; on this;"
    )
    assert learned in page
    assert "Not run: theirs: made by its own code." in page
    assert "10 pairs in all figures: 5 as in the paper, 3 the other way, 2 undecided" in page
    assert "- As in the paper in fid: best less second: -10.0 (" in page
    console = Console(width=160, record=True, file=open("/dev/null", "w"))
    console.print(result.table())
    printed = console.export_text()
    assert "10.0 (9.0–11.0) [1]" in printed and "[paper" not in printed
