"""The HTML report as a browser sees it: no console message, no request, no barrier (axe-core)."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from resbench.report.document import Document, Effect, Heading, Table, Verdict
from resbench.report.render import render
from tests.factory import JPEG, plant, suite_under
from tests.mini import resbench

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SUITE = "table3_mask"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=20000",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the page was not looked at")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    expanded = suite_under(SUITE, tier="cpu", data={"cifar10": JPEG})
    for i, cell in enumerate(expanded.cells):
        for seed in (1, 2, 3):
            plant(folder / "results", expanded, cell.id, seed, test=[70.0, 20 + i + seed / 10])
    path = folder / "report.html"
    done = resbench(folder, "report", SUITE, "--output", str(path))
    assert done.returncode == 0, done.stderr
    return path.read_text()


def opened(folder: Path, page: str, *flags: str, script: str = "") -> tuple[str, str]:
    """Return the elements once scripts have run, and what the console and the network said.

    A test's own ``script`` runs under the page's policy, which is given its hash.
    """
    if script:
        page = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline' 'unsafe-eval'", page)
        page = page.replace("</body>", f"<script>{script}</script></body>")
    path = folder / "page.html"
    path.write_text(page)
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    command += ["--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(x for x in done.stderr.splitlines() if "CONSOLE" in x)


def noted(folder: Path, page: str, script: str, *flags: str) -> Any:
    """What ``script`` left in the page's ``data-seen``, as JSON."""
    elements, _ = opened(folder, page, *flags, script=script)
    found = re.search(r'data-seen="([^"]*)"', elements)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def test_the_console_stays_empty_and_nothing_is_requested(page: str, tmp_path: Path) -> None:
    count = "document.body.dataset.asked = performance.getEntriesByType('resource').length"
    elements, console = opened(tmp_path, page, script=count)
    assert console == ""
    assert 'data-asked="0"' in elements
    assert 'class="copy"' in elements  # the page's own script has run


def test_the_policy_lets_the_pages_own_script_run_and_no_other(page: str, tmp_path: Path) -> None:
    foreign = "<script>document.body.dataset.hit = 1</script></body>"
    elements, console = opened(tmp_path, page.replace("</body>", foreign))
    assert 'class="copy"' in elements
    assert "data-hit" not in elements
    assert "Content Security Policy" in console


def test_a_click_on_a_header_sorts_and_the_third_brings_the_order_of_the_source_back(
    page: str, tmp_path: Path
) -> None:
    script = f"""
      const table = document.querySelector('section[aria-labelledby={SUITE}] table');
      const rows = () => [...table.tBodies[0].rows].map((row) => row.cells[0].innerText[0]
        + row.cells[2].dataset.value);
      const head = table.querySelectorAll('thead tr:last-child th')[2].querySelector('button');
      const seen = [rows()];
      for (let i = 0; i < 3; i++) {{ head.click(); seen.push(rows()); }}
      document.body.dataset.seen = JSON.stringify(seen);
    """
    first, up, down, again = noted(tmp_path, page, script)
    assert first == again
    assert up == sorted(first, key=lambda row: float(row[1:]))
    assert down == up[::-1]


def test_every_seed_is_shown_below_the_means_and_hidden_again(page: str, tmp_path: Path) -> None:
    script = f"""
      const section = document.querySelector('section[aria-labelledby={SUITE}]');
      const button = [...section.querySelectorAll('button')]
        .find((button) => button.textContent === 'Every seed');
      const shown = () => [...section.querySelectorAll('.seeds')].map((one) => one.innerText);
      const seen = [];
      for (let i = 0; i < 2; i++) {{ button.click(); seen.push(shown()); }}
      document.body.dataset.seen = JSON.stringify(seen);
    """
    on, off = noted(tmp_path, page, script)
    assert on[0] == "20.10 · 20.20 · 20.30"
    assert (len(on), off) == (3, [])


def test_claims_are_filtered_by_words_verdict_and_setting(tmp_path: Path) -> None:
    rows = tuple(
        (claim, Effect("", 1.0, None, None, (-2.0, 2.0)), Verdict(verdict), table)
        for claim, verdict, table in (
            ("a deeper one", "holds here", "one, tier cpu"),
            ("a wider one", "undecided", "one, tier cpu"),
            ("a deeper one", "undecided", "one, tier tiny"),
        )
    )
    table = Table(("claim", "effect", "verdict", "table"), rows, "lrll", (3,), by_last=True)
    below = Table(("claim", "effect", "verdict"), (rows[1][:3],), "lrl", (2,))
    claims = Document((Heading(1, "Report"), Heading(2, "Claims"), table, below), {})
    script = """
      const shown = () => [...document.querySelectorAll('.forest tbody tr:not(.group)')]
        .map((row) => Number(!row.hidden)).join('');
      const button = (name) => [...document.querySelectorAll('.filter button')]
        .find((button) => button.textContent === name);
      const names = [...document.querySelectorAll('.filter button')].map((one) => one.textContent);
      const search = document.querySelector('.filter input');
      const seen = [shown()];
      for (const name of ['tier cpu', 'undecided', 'tier cpu']) {
        button(name).click(); seen.push(shown());
      }
      search.value = 'deeper'; search.dispatchEvent(new Event('input')); seen.push(shown());
      document.body.dataset.seen = JSON.stringify([...seen, ...names]);
    """
    *seen, _, _, cpu, tiny = noted(tmp_path, render(claims, "html"), script)
    assert seen == ["1111", "1101", "0101", "0111", "0010"]
    assert (cpu, tiny) == ("tier cpu", "tier tiny")  # and no button without a name


@pytest.mark.parametrize("size", ["1360,900", "390,844"])
def test_axe_finds_no_barrier(page: str, tmp_path: Path, size: str) -> None:
    package = find_spec("axe_core_python")  # RESBENCH_AXE names a newer one
    assert package is not None
    assert package.origin is not None
    axe = os.environ.get("RESBENCH_AXE") or Path(package.origin).with_name("axe.min.js")
    library = Path(axe).read_text().replace("</script", "<\\/script")
    script = f"""{library};
      axe.run(document).then((found) => {{
        const wide = document.documentElement.scrollWidth > innerWidth ? ["wider than screen"] : [];
        document.body.dataset.seen = JSON.stringify(found.violations.map((v) => v.id)
          .concat(wide));
      }});
    """
    assert noted(tmp_path, page, script, f"--window-size={size}") == []
