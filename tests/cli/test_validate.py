from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from resbench.suite import load
from resbench.suite.load import suite_folder, suite_names
from tests.cli.invoke import Shell
from tests.mini import REPORT, changed, edited_suite, suite_of, write_suite
from tests.suite.test_own_networks import TOY, toy_suite


def test_every_shipped_suite_is_valid_and_has_a_line(shell: Shell) -> None:
    found = shell("validate")
    assert (found.code, found.err) == (0, "")
    assert [line.split(":")[0] for line in found.out.splitlines()] == suite_names()
    assert "table1_arl_vs_nal: 8 cells, 24 runs, 8 published values, 7 claims: ok" in found.out


def broken(tmp_path: Path, **changes: str) -> Path:
    return edited_suite(tmp_path / "table3_mask.yaml", "table3_mask", changes)


def test_every_problem_of_every_suite_is_shown_with_its_position_and_exit_2(
    tmp_path: Path, shell: Shell
) -> None:
    path = broken(tmp_path, row_header="row_haeder", seeds="sedes", published="publsihed")
    found = shell("validate", path, "smoke", "nothing")
    assert found.code == 2
    assert found.out.startswith("smoke:")
    lines = found.err.splitlines()
    assert sum(str(path) in line for line in lines) >= 2
    for name in ("row_header", "seeds", "published"):
        assert any(f"Did you mean '{name}'" in line for line in lines)
    assert any("unknown suite 'nothing'" in line for line in lines)


@pytest.mark.parametrize("kind", ["protocols/wang2017", "tiers/cpu"])
def test_a_file_that_serves_suites_is_called_so_in_one_line(shell: Shell, kind: str) -> None:
    file = suite_folder() / f"{kind}.yaml"
    for verb in ("validate", "plan"):
        found = shell(verb, file)
        assert found.code == 2
        said = f"one of the {kind.partition('/')[0]}, not a suite. Name a suite that uses it"
        (line,) = found.err.splitlines()
        assert line.startswith(f"{file}:")
        assert said in line


def test_a_wrong_value_hides_nothing_that_is_wrong_between_the_other_parts(
    tmp_path: Path, shell: Shell
) -> None:
    changes = {
        'value: "6.48"': "value: 6.48",
        "error(encoder-decoder) < error(local)": "error(encoder-decoder) < error(locl)",
        "key: wang2017": "key: wang2071",
        "protocol: wang2017": "protocol: wang",
        "rows: mask": "rows: masks",
    }
    path = broken(tmp_path, **changes)
    found = shell("validate", path)
    assert found.code == 2
    places = [line.partition(": ")[0].rpartition(":")[0] for line in found.err.splitlines()]
    assert places == [f"{path}:{line}" for line in (9, 11, 26, 34, 54)]
    for word in ("Quote it", "unknown cell", "unknown source", "unknown protocol", "unknown axis"):
        assert word in found.err


BEATS = "error(encoder-decoder) < error(local)"
STATED = 'published_pp: "0.96"'
IMAGES = "50,001 is more than the 50,000 training images."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"  local:\n    error:\n": "  lokal:\n    error:\n"},
         ":32:3: unknown row: 'lokal'. Did you mean 'local'?"),
        ({"    error:\n      value: \"6.48\"": "    eror:\n      value: \"6.48\""},
         ":33:5: unknown column: 'eror'. Did you mean 'error'?"),
        ({'"6.48"': '"about 6"'}, ":34:7: 'about 6' is not a number like \"5.46\"."),
        ({'"6.48"': '"-6.48"'}, ":34:7: '-6.48' is not a number like"),
        ({'"6.48"': '"6.48 ± 0.1"'}, "such as ±, goes into 'note'; a blank cell is null."),
        ({"{label: Top-1 (err %)}": "{label: Top-1 (err %), where: {mask: local}}"},
         ":29:43: column 'error' cannot choose a level of the axis of the rows. Delete it."),
        ({'"6.48"': '"648"'}, ":34:7: 648 is not an error in percent."),
        ({"{label: Top-1 (err %)}": "{label: Top-1 (err %), where: {mask: lokal}}"},
         ":29:43: unknown level of 'mask': 'lokal'. Did you mean 'local'?"),
        ({"{label: Top-1 (err %)}": "{label: Top-1 (err %), where: {maks: local}}"},
         ":29:43: unknown axis: 'maks'. Did you mean 'mask'?"),
        ({"label: Encoder and Decoder, ": "label: Local  Convolutions, "},
         ":20:24: levels 'local' and 'encoder-decoder' have the same label. Change one"),
        ({BEATS: "error(encoder-decoder) ~ error(local)"},
         "a claim needs 'margin_pp' exactly if it uses '~'"),
        ({STATED: 'published_pp: "٠.٣٧"'}, "'published_pp' in 'claims[0]': must be a number like"),
        ({STATED: "margin_pp: 0.5"}, "a claim needs 'margin_pp' exactly if it uses"),
        ({STATED: "published_pp: about 1"}, "'published_pp' in 'claims[0]'"),
        ({STATED: 'published_pp: "nan"'}, "'published_pp' in 'claims[0]'"),
        ({"claims:\n": "claims:\n  - {id: encoder-decoder-beats-local, text: again, place: here,\n"
          "     claim: error(local) > error(encoder-decoder)}\n"},
         "'claims': two have the id 'encoder-decoder-beats-local'; change one."),
        ({"  data.name:": "  data.nam:"},
         "unknown setting 'data.nam'. Did you mean 'data.name'?"),
        ({"  data.name:": "  training.schedule.drops.at:"},
         "unknown setting 'training.schedule.drops.at'. Did you mean 'training.schedule.drops'?"),
        ({"model.mask: local_same_units": "model.mask: loca"}, "local_same_units"),
        ({"base:\n": "base:\n  training: {schedule: {drops: [{at: 160001, factor: 0.1}]}}\n"},
         "a drop at 160001 comes after the end, the total of 160000."),
        ({"base:\n": "base:\n  training.schedule.drops:"
          " [{at: 2, factor: 0.1}, {at: 1, factor: 0.1}]\n"}, "put them in order"),
        ({"base:\n": "base:\n  training: {schedule: {warmup: {until: 70000, lr: 0.1}}}\n"},
         "the warm-up until 70000 ends after the first drop or the end, at 64000."),
        ({"base:\n": "base:\n  batch_size: 8\n"}, "key 'batch_size'. Write training.batch_size."),
        ({"base:\n": "base:\n  training.batch_size: 50001\n"},
         f":13:3: training.batch_size (suite): {IMAGES}"),
        ({"base:\n": "base:\n  training: {batch_size: 50001}\n"},
         f"training.batch_size (suite): {IMAGES}"),
        ({"base:\n": "base:\n  training: {val_in_train: 50001}\n"},
         f"training.val_in_train (suite): {IMAGES}"),
        ({"{name: cifar10}": "{name: cifar10, image_px: 12}"},
         "data.image_px (suite): 12 px do not divide the 32 px of cifar10"),
        ({"{name: cifar10}": "{name: cifar10, image_px: 4}"}, "data.image_px (suite): attention-56 "
         "of wang2017 needs image sides of at least 8 px, not of 4 px."),
        ({"{name: cifar10}": "{name: cifar10, first: 100, train_images: 200}"},
         "data.train_images (suite): cifar10 does not have 200 such images. Take at most 100."),
        ({"{name: cifar10}": "{name: cifar10, test_images: 10001}"},
         "data.test_images (suite): cifar10 does not have 10,001 such images. Take at most 10,000"),
        ({"{name: cifar10}": "{name: cifar100, first: 50001}"},
         "data.first (suite): cifar100 has 50,000 training images."),
        ({BEATS: "error(encoder-decoder) <= error(local)"},
         "must relate its terms by one of <, > and ~"),
        ({'value: "6.48"\n': 'value: "6.48"\n      really: train_aug\n'}, "published errors of "
         "different splits: training error under augmentation (local), test error (encoder-dec"),
        ({'"6.48"': '"93.52"'}, "'published_pp' is 0.96, and the cells differ"),
        ({'"0.96"': '"0.69"'}, "is 0.69, and the cells differ by 0.96. Correct one of them.\n"),
        ({'"0.96"': '"-0.96"'}, "is -0.96, and the cells differ by 0.96. Correct one of them.\n"),
        ({BEATS: "error(local) < error(encoder-decoder)"},
         "'published_pp' is 0.96, and the cells differ by -0.96. Correct one of them.\n"),
        ({BEATS: "gap(local, encoder-decoder) < gap(encoder-decoder, local)"},
         "'published_pp' is 0.96, and the cells differ by -1.92. Correct one of them.\n"),
    ],
)  # fmt: skip
def test_what_no_table_or_training_can_use_is_found_in_its_place(
    tmp_path: Path, shell: Shell, changes: dict[str, str], message: str
) -> None:
    path = broken(tmp_path, **changes)
    found = shell("validate", path)
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith(f"{path}:")
    assert message in found.err


def test_a_network_that_cannot_take_the_images_is_refused(tmp_path: Path, shell: Shell) -> None:
    path = write_suite(tmp_path, changed(suite_of(), {"base.model": REPORT["model"]}))
    assert shell("validate", path).err.endswith(
        "data.image_px (suite): attention-56 of report2019 needs image sides of a multiple of 16 "
        "px, not of 8 px.\n"
    )
    text = TOY.replace("build)", "build, lambda network, px: 'at most 5 px' if px > 5 else None)")
    (tmp_path / "networks.py").write_text(text)
    path = write_suite(tmp_path, changed(toy_suite(), {"name": "own"}))
    found = shell("validate", path).err
    assert "toy-2 of toy needs image sides of at most 5 px, not of 8 px." in found


def test_as_many_images_as_there_are_are_not_too_many(tmp_path: Path, shell: Shell) -> None:
    every = {"image_px": 16, "first": 1438, "train_images": 1270, "test_images": 210}
    most = {"batch_size": 1270, "val_in_train": 256}  # tier tiny has 256 images
    changes = {f"base.data.{name}": value for name, value in every.items()}
    changes |= {f"base.training.{name}": value for name, value in most.items()}
    path = write_suite(tmp_path, changed(suite_of(), changes))
    found = shell("validate", path)
    assert (found.code, found.err) == (0, "")


@pytest.mark.parametrize(
    "changes",
    [
        {'"0.96"': '"1"'},  # as a text that rounds would say
        {'"0.96"': '"0.95"'},  # from numbers before rounding
        {BEATS: "error(local) > error(encoder-decoder)"},
    ],
)
def test_a_stated_difference_that_the_published_numbers_bear_out_is_valid(
    tmp_path: Path, shell: Shell, changes: dict[str, str]
) -> None:
    found = shell("validate", broken(tmp_path, **changes))
    assert (found.code, found.err) == (0, "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"matrix.axis{i}": {f"level{j}": {"label": "a"} for j in range(9)} for i in range(99)},
         "the levels make more than 1,000 cells. Split the suite."),
        ({"matrix.learning.nal": {"label": "NAL"}},
         "cell 'nal' is the same experiment as 'arl'. Change or delete one."),
        ({"skips": [{"where": {"learning": "nal"}, "reason": "too slow"}],
          "claims": [{"id": "a", "text": "b", "place": "c", "claim": "error(arl) < error(nal)"}]},
         "the claim is about cell 'nal', which is not run: too slow"),
        ({"claims": [{"id": "a", "text": "b", "place": "c", "metric": "val_in_train_err",
                      "claim": "error(arl) < error(nal)"}]},
         "no run measures val_in_train_err. Set training.val_in_train above 0."),
    ],
)  # fmt: skip
def test_cells_that_cannot_be_what_they_say_are_found_before_they_are_trained(
    tmp_path: Path, shell: Shell, changes: dict[str, Any], message: str
) -> None:
    suite = write_suite(tmp_path, changed(suite_of(), changes))
    for verb in ("validate", "run"):
        found = shell(verb, suite)
        assert (found.code, found.out) == (2, "")
        assert message in found.err


def test_a_typo_in_the_marks_of_a_protocol_is_found(tmp_path: Path, shell: Shell) -> None:
    path = broken(tmp_path)
    protocol = (suite_folder() / "protocols" / "wang2017.yaml").read_text()
    (tmp_path / "protocols").mkdir()
    misspelt = protocol.replace("  training.bn_eps:", "  training.bn_epss:", 1)
    (tmp_path / "protocols" / "wang2017.yaml").write_text(misspelt)
    found = shell("validate", path)
    assert found.code == 2
    assert "unknown setting 'training.bn_epss'. Did you mean 'training.bn_eps'?" in found.err


def test_a_typo_in_a_mark_of_an_option_of_ones_own_networks_is_found(
    tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "networks.py").write_text(TOY)
    mark = {"origin": "paper", "place": "here"}
    path = write_suite(tmp_path, toy_suite() | {"provenance": {"model.kernel": mark}})
    assert shell("validate", path).code == 0
    shipped = suite_of() | {"provenance": {"model.kernel": mark}}
    shipped["base"]["model"] = {
        "family": "wang2017",
        "learning": "arl",
        "activation": "mixed",
        "mask": "encoder-decoder",
        **shipped["base"]["model"],
    }
    assert shell("validate", write_suite(tmp_path, shipped)).code == 0, "a protocol is shared"
    path = write_suite(tmp_path, toy_suite() | {"provenance": {"model.widht": mark}})
    found = shell("validate", path)
    assert found.code == 2
    assert "unknown setting 'model.widht'. Did you mean 'model.width'?" in found.err


def test_protocols_and_tiers_have_the_names_of_their_files(tmp_path: Path, shell: Shell) -> None:
    path, shipped = write_suite(tmp_path), suite_folder()
    for kind, name in (("protocols", "wang2017"), ("tiers", "tiny")):
        (tmp_path / kind).mkdir()
        own = tmp_path / kind / f"{name}.yaml"
        text = (shipped / kind / own.name).read_text()
        own.write_text(text.replace(f"\nname: {name}\n", "\nname: other\n"))
        found = shell("validate", path)
        assert found.code == 2
        assert f"{own}:" in found.err
        assert f"the name 'other' must be that of the file, '{name}'." in found.err
        own.unlink()


def test_a_tier_without_a_line_for_a_family_is_found(tmp_path: Path, shell: Shell) -> None:
    path = write_suite(tmp_path)
    (tmp_path / "tiers").mkdir()
    tier = tmp_path / "tiers" / "half.yaml"
    head = "version: 1\nname: half\ntitle: Half\ndescription: Half.\n"
    tier.write_text(f"{head}families: {{he2016: {{model.width: 0.5}}}}\n")
    verbs = ("validate", "plan --tier half --devices cpu")
    for verb in verbs:
        found = shell(verb, path)
        assert found.code == 2
        assert f"{tier}:5:1: families has no line for 'wang2017'" in found.err
    tier.write_text(f"{head}families: {{wang2017: {{}}}}\n")
    assert shell("validate", path).code == 0
    assert "unknown tier 'half'" in shell("plan smoke --tier half").err
    (tmp_path / "networks.py").write_text(TOY)
    own = write_suite(tmp_path, changed(toy_suite(), {"name": "own"}))
    for verb in verbs:
        assert f"{tier}:5:1: families has no line for 'toy'" in shell(verb, own).err
    tier.write_text(f"{head}families: {{wang2017: {{}}, toy: {{}}}}\n")
    assert shell("validate", path, own).code == 0, "no shipped tier knows the user's"
    few = "set: {data.train_images: 30}\nfamilies: {wang2017: {training.batch_size: 64}}\n"
    tier.write_text(f"{head}{few}")
    assert "64 is more than the 30 training images" in shell("validate", path).err


def test_a_folder_stands_for_the_files_in_it(tmp_path: Path, shell: Shell) -> None:
    assert shell("new", tmp_path / "smith2024").code == 0
    done = shell("validate", tmp_path / "smith2024")
    assert done.code == 0
    assert "sources.yaml: 1 source: ok" in done.out
    assert "table1.yaml: 2 cells" in done.out
    named = shell("plan", *sorted((tmp_path / "smith2024").glob("*.yaml")))
    assert named.code == 2
    said = "sources.yaml: not a suite; it serves the suites next to it. Leave it out.\n"
    assert said in named.err


def test_what_a_mac_leaves_next_to_files_on_other_disks_is_no_suite(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(suite_folder(), tmp_path / "suites")
    for name in ("smoke", "tiers/tiny", "protocols/wang2017"):
        path = tmp_path / f"suites/{name}.yaml"
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    monkeypatch.setattr(load, "suite_folder", lambda: tmp_path / "suites")
    for words in ("plan", "validate", f"validate {tmp_path}/suites"):
        assert shell(*words.split()).code == 0
    for words in ("plan x", "plan smoke --tier x"):
        assert "._" not in shell(*words.split()).err


def test_options_of_slurm_may_lie_next_to_a_suite(tmp_path: Path, shell: Shell) -> None:
    path, options = write_suite(tmp_path), tmp_path / "executors.yaml"
    options.write_text("slurm: {partition: a, time: 10}\n")
    done = shell("validate", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert f"{options}: 2 options of sbatch: ok\n" in done.out
    assert f"Name a suite in it: {path.name}.\n" in shell("plan", tmp_path).err
    options.write_text("slurm: {partition: [a]}\n")
    assert f"{options}:1:" in shell("validate", tmp_path).err


@pytest.mark.parametrize(
    "changes",
    [
        {"published": {"arl": {"err": {"value": "5.5"}}},
         "claims": [{"id": "a", "text": "b", "place": "c", "metric": "value_at_end",
                     "claim": "error(nal) < error(arl)"}]},
        {"table.columns": {"size": {"label": "size", "metric": "value_at_end"}},
         "published": {"arl": {"size": {"value": "-0.82", "place": "Fig. 1"}}}},
    ],
)  # fmt: skip
def test_sizes_may_be_claimed_next_to_a_published_error_and_be_negative(
    tmp_path: Path, shell: Shell, changes: dict[str, Any]
) -> None:
    found = shell("validate", write_suite(tmp_path, changed(suite_of(), changes)))
    assert (found.code, found.err) == (0, "")


def test_a_counted_network_that_there_is_not_is_found(tmp_path: Path, shell: Shell) -> None:
    for model, said in (
        ("attention-56", "'model' must be a mapping"),
        ({"family": "wang2017", "name": "attention-57"}, "attention-57"),
        ({"family": "wrn", "name": "wrn-16-8"}, "not 'wrn'. Leave out 'train: false'."),
    ):
        changes = {"base": {"model": model}, "matrix.learning.nal": {"label": "x"}, "train": False}
        found = shell("validate", write_suite(tmp_path, changed(suite_of(), changes)))
        assert found.code == 2
        assert "mini.yaml: cannot count this network: " in found.err
        assert said in found.err
