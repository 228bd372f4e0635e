"""The demo page: its numbers and pictures come from the run, with and without the real data."""

import json
from pathlib import Path

import pytest

from apps.demo import run_demo
from apps.runfolder import RunFolder
from domains.ultrasound.workflows import showcase


def run(folder: Path, **changes: object) -> dict[str, object]:
    with RunFolder.open(folder, command="demo", seed=0, device="cpu") as claimed:
        return run_demo(claimed, levels=(0.3,), seeds=(1000,), windows=2, molecules=40, **changes)  # type: ignore[arg-type]


def test_the_page_shows_the_measured_scores_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUFFUSE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A third of the steps; thirty reach 4.8 dB on this heart.
    monkeypatch.setattr(showcase, "SIMULATED", showcase.SIMULATED.model_copy(update={"steps": 10}))
    report = run(tmp_path / "demo")
    rows = {row["method"]: row for row in report["simulated"]}  # type: ignore[attr-defined]
    assert set(rows) == {"hazy", "threshold", "joint"}
    assert rows["joint"]["gain_db"] >= 1.5 > rows["threshold"]["gain_db"]
    page = (tmp_path / "demo" / "index.html").read_text("utf-8")
    for row in rows.values():
        assert f"{row['psnr_db']:.2f}" in page
    known, made, raised = report["molecules"]["rows"]  # type: ignore[index]
    assert (known["valid_without_correction"], known["unique"], known["novel"]) == (1, 1, 0)
    # Eight molecules of six particles each: logP rises by one to two units; its standard error is about 0.2.
    assert raised["logp"] > made["logp"] + 2 * raised["logp_standard_error"]
    for row in (known, made, raised):
        assert f"{row['nspdk']:.4f}" in page
    assert "http://" not in page
    assert 'src="data:image/png;base64' in page
    assert "suffuse data fetch plus_bk" in page
    assert report["skipped"] == {
        "phantom": "suffuse data fetch plus_bk",
        "reverberation": "suffuse data fetch plus_ultrasonix",
    }
    saved = json.loads((tmp_path / "demo" / "report.json").read_text("utf-8"))
    assert saved["simulated"] == report["simulated"]


@pytest.mark.slow
def test_real_recordings_are_shown_with_their_verdict(tmp_path: Path, real_data, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SUFFUSE_DATA", str(real_data("ultrasound").parent))
    report = run(tmp_path / "demo")
    assert report["skipped"] == {}
    facts = report["phantom"]
    assert facts["verdict"] in ("dehazed", "not dehazed")  # type: ignore[index]
    page = (tmp_path / "demo" / "index.html").read_text("utf-8")
    assert f"Verdict: {facts['verdict']}" in page  # type: ignore[index]
    # Real haze without tissue: most of it must not be taken for tissue.
    assert report["reverberation"]["energy_tissue_share"] < 0.9  # type: ignore[index]
