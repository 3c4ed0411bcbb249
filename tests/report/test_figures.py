from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from resbench.analysis import SCHEMA
from resbench.analysis.judge import JudgedTable, Report, report
from resbench.analysis.results import read_results
from resbench.report import figures
from tests.factory import JPEG, plant, suite_under, with_signals
from tests.mini import suite_of, write_suite

NOISE = "table4_noise"
PER_TABLE = (figures.learning_curves, figures.noise, figures.signals, figures.confusions)
SUITES = Path(__file__).parents[1] / "analysis" / "suites"


def judged(results: Path, suite: str) -> JudgedTable:
    return report([suite], read_results(results)).tables[0]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 3 with three seeds and the noise table with one, on another data set."""
    folder = tmp_path_factory.mktemp("results")
    for suite, seeds in (("table3_mask", (1, 2, 3)), (NOISE, (1,))):
        expanded = suite_under(suite, tier="cpu", data={"cifar10": JPEG})
        for number, cell in enumerate(expanded.cells):
            for seed in seeds:
                plant(folder, expanded, cell.id, seed, test=[80.0, 70.0, 60.0 + number + seed / 10])
    for cell in suite_under("mechanism").cells:
        with_signals(folder, cell.id, 1, 10.0, 1.0)
    return folder


def figure_of(kind: str, results: Path, suite: str) -> Any:
    """A figure of this kind of the suite's table."""
    draw, table = getattr(figures, kind), judged(results, suite)
    figure = draw(table, str(results)) if draw in PER_TABLE else draw(table)
    assert figure is not None
    return figure


def report_of(*tables: JudgedTable) -> Report:
    return Report(SCHEMA, "", "", 0, (), tables, {}, {})


def in_setting(table: JudgedTable, name: str, images_seen: int) -> JudgedTable:
    return replace(table, setting=replace(table.setting, name=name, images_seen=images_seen))


def claims_of(*tables: JudgedTable) -> Any:
    figure = figures.claims(report_of(*tables))
    assert figure is not None
    return figure


def drawn(results: Path) -> bytes:
    """Every kind of figure of the noise table, as SVG, one after the other."""
    table = judged(results, NOISE)
    found = [draw(table, str(results)) for draw in PER_TABLE]
    found.append(figures.claims(report_of(table)))
    return b"".join(figures.svg(figure) for figure in found if figure is not None)


def test_a_figure_has_the_same_bytes_in_every_process_whatever_its_user_has_set(
    results: Path, tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "text.usetex: True\nsvg.fonttype: none\nfigure.facecolor: red\nsavefig.bbox: tight\n"
        "xtick.direction: in\nlegend.frameon: False\naxes.formatter.use_locale: True\n"
    )
    code = (
        "import sys; from pathlib import Path; from tests.report.test_figures import drawn; "
        "sys.stdout.buffer.write(drawn(Path(sys.argv[1])))"
    )
    root = str(Path(__file__).resolve().parents[2])
    elsewhere = {
        "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "1", "LC_ALL": "C",
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }  # fmt: skip
    other = subprocess.run(
        [sys.executable, "-c", code, results],
        cwd=tmp_path, env=os.environ | elsewhere, capture_output=True,
    )  # fmt: skip
    assert other.returncode == 0, other.stderr.decode()
    svg = drawn(results)
    assert svg == other.stdout
    assert svg.count(b"</svg>") == 4
    assert b"dc:date" not in svg
    assert b"Matplotlib v" not in svg


def texts(figure: Any) -> str:
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(artist.get_text().split()) for artist in found)


def test_a_layout_that_differs_in_its_last_digits_makes_the_same_bytes(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    before, solve, moved = drawn(results), ConstrainedLayoutEngine.execute, list[Any]()

    def execute(self: Any, figure: Any) -> None:
        solve(self, figure)
        for axes in figure.axes:
            moved.append(axes)
            box = axes.get_position(original=True)
            axes._set_position([edge * (1 + 1e-13) for edge in box.bounds], which="original")

    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", execute)
    assert drawn(results) == before
    assert moved


@pytest.mark.parametrize("kind", ["learning_curves", "noise", "claims"])
def test_every_figure_names_its_tier_and_its_data_set(results: Path, kind: str) -> None:
    if kind == "claims":
        figure = claims_of(judged(results, NOISE))
        assert "Tier cpu · cifar10-jpeg75 (not the published data set)." in texts(figure)
    else:  # one seed has no standard deviation
        figure = figure_of(kind, results, NOISE)
        assert "Tier cpu, data cifar10-jpeg75 (not the" in texts(figure)
        assert "1 seed." in texts(figure)
        assert "±" not in texts(figure)
    ElementTree.fromstring(figures.svg(figure))


@pytest.mark.parametrize("suite", ["table3_mask", NOISE, "mechanism"])
def test_nothing_leaves_a_figure_or_runs_into_its_title(results: Path, suite: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    table = judged(results, suite)
    drawn = [draw(table, str(results)) for draw in PER_TABLE]
    drawn += [figures.claims(report_of(table)), figures.published_and_measured(table)]
    assert sum(figure is not None for figure in drawn) >= (1 if suite == "mechanism" else 4)
    for figure in filter(None, drawn):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        left, low, right, high = figure.get_tightbbox(renderer).extents  # in inches
        width, height = figure.get_size_inches()
        assert min(left, low, width - right, height - high) >= -0.02
        (title,) = (text for text in figure.texts if text.get_text() == figure.get_suptitle())
        panels = list(filter(None, (axes.get_tightbbox(renderer) for axes in figure.axes)))
        assert title.get_window_extent(renderer).count_overlaps(panels) == 0


def test_nothing_run_is_nothing_drawn(tmp_path: Path) -> None:
    table = judged(tmp_path, NOISE)
    assert figures.learning_curves(table, str(tmp_path)) is None
    assert figures.noise(table, str(tmp_path)) is None
    assert figures.claims(report_of(table)) is None
    assert figures.published_and_measured(table) is None


def test_only_tables_of_noise_levels_and_of_sizes_have_figures_of_them(results: Path) -> None:
    for draw in (figures.noise, figures.signals):
        assert draw(judged(results, "table3_mask"), str(results)) is None


def curves_of(axes: Any) -> dict[str, list[float]]:
    """The errors of every curve of a panel, by its name."""
    lines = [line for line in axes.lines if str(line.get_gid()).startswith("curve-")]
    assert len(lines) <= figures.MOST_LINES
    return {line.get_gid(): [*map(float, line.get_ydata())] for line in lines}


def test_curves_show_every_epoch_of_test_and_training(results: Path) -> None:
    figure = figure_of("learning_curves", results, "table3_mask")
    curves, times = figure.axes
    found = curves_of(curves)
    ends = {name: errors[-1] for name, errors in found.items()}
    assert {len(errors) for errors in found.values()} == {3}
    for kind, expected in (("test", [60.2, 61.2, 62.2]), ("augmented", [58.2, 59.2, 60.2])):
        found_ends = [end for name, end in ends.items() if name.endswith(f"-{kind}")]
        assert found_ends == pytest.approx(expected, abs=0.05)
    assert len(curves.collections) == 3  # bands around the test errors alone
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["test", "training, augmented"]
    assert "a GPU" in times.get_xlabel()
    assert [bar.get_width() for bar in times.patches] == [21.0] * 3
    assert [len(dots.get_offsets()) for dots in times.collections] == [9]


def labelled(folder: Path, labels: dict[str, str]) -> str:
    """The small suite with other labels, and a run of two of its networks; its path."""
    path, source = folder / "arms.yaml", (SUITES / "arms.yaml").read_text()
    for old, new in labels.items():
        assert f"label: {old}," in source
        source = source.replace(f"label: {old},", f"label: {new},")
    path.write_text(source)
    (folder / "protocols").symlink_to(SUITES / "protocols")
    for cell, error in (("attention-56/arl", 20.0), ("attention-92/arl", 60.0)):
        plant(folder / "results", suite_under(str(path)), cell, 1, test=[90.0, error])
    return str(path)


def test_networks_whose_labels_differ_only_in_brackets_have_curves_of_their_own(
    tmp_path: Path,
) -> None:
    labels = {f"Attention-{depth}": f"Attention ({depth})" for depth in (56, 92)}
    path, results = labelled(tmp_path, labels), tmp_path / "results"
    figure = figure_of("learning_curves", results, path)
    found = curves_of(figure.axes[0])
    assert [e[-1] for name, e in found.items() if name.endswith("-test")] == [20.0, 60.0]
    assert all(name in texts(figure) for name in ("Attention (56)", "Attention (92)"))
    assert "20.0 % (Attention (56), ARL)" in figures.ends(judged(results, path))


def test_more_networks_than_fit_a_panel_have_panels_of_their_own(tmp_path: Path) -> None:
    expanded = suite_under("report_as_run")
    for cell in expanded.cells:
        plant(tmp_path, expanded, cell.id, 1, test=[50.0, 20.0])
    test, training, _ = figure_of("learning_curves", tmp_path, "report_as_run").axes
    assert [test.get_title(), training.get_title()] == ["test", "training, augmented"]
    assert len(curves_of(test)) == len(curves_of(training)) == 6


def test_under_label_noise_training_errors_on_true_and_on_corrupted_labels_are_apart(
    tmp_path: Path,
) -> None:
    expanded = suite_under(NOISE, tier="cpu")
    for cell in expanded.cells:
        plant(tmp_path, expanded, cell.id, 1, test=[50.0, 20.0], labels=[(40, 95), (5, 60)])
    *panels, _ = figure_of("learning_curves", tmp_path, NOISE).axes
    titles = [axes.get_title() for axes in panels]
    assert titles == [f"noise level {n}%" for n in (10, 30, 50, 70)]
    for axes in panels:
        assert [*curves_of(axes).values()] == [[50, 20], [40, 5], [95, 60]] * 2
        guessing = [line for line in axes.lines if str(line.get_gid()).startswith("guessing")]
        assert [set(map(float, line.get_ydata())) for line in guessing] == [{90}]


def test_published_errors_stand_at_their_noise_levels(results: Path) -> None:
    lines = figure_of("noise", results, NOISE).axes[0].lines
    guessing = [line for line in lines if line.get_gid() == "guessing"]
    assert [set(map(float, line.get_ydata())) for line in guessing] == [{90}]
    published = [line for line in lines if line.is_dashed()]
    points = [dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in published]
    assert {10: 5.15, 30: 5.79, 50: 7.27, 70: 15.75} in points
    assert {10: 5.93, 30: 6.61, 50: 8.35, 70: 17.21} in points


def test_a_claim_stands_at_its_effect_with_its_interval(results: Path) -> None:
    table = judged(results, "table3_mask")
    claim, lines = table.claims[0], claims_of(table).axes[0].lines
    interval, effect, published = (list(line.get_xdata()) for line in lines[-3:])
    assert (interval, effect) == (list(claim.interval or ()), [claim.effect_pp])
    assert published == [pytest.approx(0.96)]


def test_a_claim_of_ours_says_so_and_sizes_are_in_no_figure_of_claims(
    results: Path, tmp_path: Path
) -> None:
    sizes, expanded = judged(results, "mechanism"), suite_under("optimizer")
    assert any(claim.has_runs for claim in sizes.claims)
    assert figures.claims(report_of(sizes)) is None
    for cell, error in (("adam/lr-1e-4", 20.0), ("nesterov-sgd/lr-1e-4", 21.0)):
        plant(tmp_path, expanded, cell, 1, test=[50.0, error])
    plant(tmp_path, expanded, "nesterov-sgd/lr-1e-1", 1, test=[50.0, 22.0])
    table = judged(tmp_path, "optimizer")
    figure = claims_of(table, sizes)
    assert "Claims about errors" in texts(figure)
    shown = [" ".join(text.get_text().split()) for text in figure.axes[0].get_yticklabels()]
    drawn = [claim.claim for claim in table.claims if claim.has_runs]
    assert shown == [f"{claim.text.rstrip('.')}{' (ours)' * claim.ours}" for claim in drawn]
    assert [claim.ours for claim in drawn] == [False, True]


def test_a_figure_says_which_way_cells_that_are_claimed_to_be_alike_differ(
    results: Path, tmp_path: Path
) -> None:
    claim = {"id": "alike", "text": "They are alike.", "place": "section 1", "margin_pp": 1.0}
    suite = suite_of() | {"claims": [claim | {"claim": "error(arl) ~ error(nal)"}]}
    path = str(write_suite(tmp_path, suite))
    for cell in ("arl", "nal"):
        plant(tmp_path / "results", suite_under(path), cell, 1, test=[50.0, 20.0])
    said = "Claimed to be alike: second minus first."
    for table, told in (
        (judged(tmp_path / "results", path), True),
        (judged(results, NOISE), False),
    ):
        assert (said in texts(claims_of(table))) == told


def test_claims_without_any_difference_stand_at_zero(tmp_path: Path) -> None:
    expanded = suite_under("optimizer")
    for cell in ("adam/lr-1e-4", "nesterov-sgd/lr-1e-1"):
        plant(tmp_path, expanded, cell, 1, test=[50.0, 20.0])
    low, high = claims_of(judged(tmp_path, "optimizer")).axes[0].get_xlim()
    assert low < 0 < high


def test_claims_of_several_settings_share_a_figure_and_differ_in_marker(results: Path) -> None:
    noise, mask = judged(results, NOISE), judged(results, "table3_mask")
    far = [in_setting(table, "far", 1) for table in (noise, mask)]
    figure = claims_of(in_setting(noise, "near", 2), *far)
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    at = [(line.get_marker(), y) for line in lines for y in line.get_ydata()]
    pairs = [("o", -0.15), ("s", 0.15)]  # table 4's claims, in both settings
    rows = range(sum(claim.has_runs for claim in noise.claims))
    assert at[:-1] == [(marker, pytest.approx(i + y)) for i in rows for marker, y in pairs]
    assert at[-1] == ("s", len(rows))  # table 3's claim, in one
    assert [label.get_text() for label in figure.legends[0].get_texts()][-2:] == ["near", "far"]


def test_sizes_within_networks_stand_at_their_means_with_every_run(tmp_path: Path) -> None:
    sizes = {"attention-56/arl": 10.0, "attention-92/arl": 100.0, "attention-236/arl": 1000.0}
    for cell, size in sizes.items():
        for seed, factor in ((1, 1.0), (2, 10.0)):
            with_signals(tmp_path, cell, seed, size * factor, 1.0)
    figure = figure_of("signals", tmp_path, "mechanism")
    assert len(figure.axes) == 4
    lines = [(line, np.asarray(line.get_ydata()).tolist()) for line in figure.axes[0].lines]
    means = {line.get_gid(): values for line, values in lines if line.get_marker() == "_"}
    assert means == {  # no line joins networks after other numbers of steps
        "value_at_start-0": pytest.approx([1.5, 2.5]),
        "value_at_start-0(1 step)": pytest.approx([3.5]),
    }
    runs = [values for line, values in lines if line.get_marker() == "o" and values]
    assert runs == [pytest.approx([1, 2]), pytest.approx([2, 3]), pytest.approx([3, 4])]
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == [
        "Attention-56", "Attention-92", "Attention-236\n(1 step)",
    ]  # fmt: skip
    assert "Diverged" not in figure.get_suptitle()
    with_signals(tmp_path, "attention-236/nal", 1, 1.0, 1.0, diverged=True)
    figure = figures.signals(judged(tmp_path, "mechanism"), str(tmp_path))
    assert figure is not None
    assert "Diverged: Attention-236 (1 step), NAL." in figure.get_suptitle()


def test_hostile_labels_are_drawn_as_text(tmp_path: Path) -> None:
    """A pair of dollars would be a formula, and a broken one an exception."""
    path = labelled(tmp_path, {"Attention-56": "'$\\frac{$ <b>&'"})
    figure = figure_of("learning_curves", tmp_path / "results", path)
    ElementTree.fromstring(figures.svg(figure))


def test_labels_in_a_script_that_the_font_lacks_are_drawn_without_warnings(results: Path) -> None:
    table = replace(judged(results, "table3_mask"), title="注意力")
    figure = figures.published_and_measured(table)
    assert figure is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "注意力".encode() in figures.svg(figure)


def test_points_of_many_columns_and_names_of_many_rows_keep_apart(tmp_path: Path) -> None:
    suite = suite_of()
    levels = {f"noise{n}": {"label": f"{n} %", "set": {"training.optim.lr": 0.01 * n}}
              for n in range(1, 8)}  # fmt: skip
    names = {f"network{n}": {"label": f"Network-{n}-1001", "set": {"model.width": n / 16}}
             for n in range(1, 10)}  # fmt: skip
    suite["matrix"] = {"network": names, "noise": levels}
    suite["table"] = {"rows": "network", "columns": {
        name: {"label": level["label"], "where": {"noise": name}} for name, level in levels.items()
    }}  # fmt: skip
    suite["published"] = {row: {name: {"value": "5.0"} for name in levels} for row in names}
    path = str(write_suite(tmp_path, suite))
    plant(tmp_path / "results", suite_under(path), "network1/noise1", 1, test=[9.0, 8.0])
    left = figure_of("published_and_measured", tmp_path / "results", path).axes[0]
    at = np.concatenate([np.asarray(line.get_xdata(), float) for line in left.lines])
    assert np.abs(at - np.round(at)).max() < 0.45, "nearer to a neighbour's row"
    assert {label.get_rotation() for label in left.get_xticklabels()} == {40}


def test_every_run_stands_next_to_the_published_numbers_of_its_table(results: Path) -> None:
    values = [value for value in judged(results, "table3_mask").values if value.number]
    published, measured = figure_of("published_and_measured", results, "table3_mask").axes
    shown = [float(y) for line in published.lines for y in line.get_ydata()]
    assert sorted(shown) == sorted(float(value.number) for value in values)
    dots = [line for line in measured.lines if line.get_marker() == "o"]
    errors = [error for value in values for error in value.values.values()]
    assert sorted(float(y) for line in dots for y in line.get_ydata()) == sorted(errors)
    assert len(errors) == 6
