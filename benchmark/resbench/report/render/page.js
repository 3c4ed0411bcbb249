// What this adds: folds opened for paper, copied commands, tables sorted, filtered, and by seed.
"use strict";
const all = (what, within = document) => [...within.querySelectorAll(what)];
const made = (tag, props) => Object.assign(document.createElement(tag), props);
// A button that is pressed or not, and says which to `then`.
const toggle = (text, then) => {
  const button = made("button", { type: "button", textContent: text });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(on));
    then(on);
  });
  return button;
};

// Paper shows everything; what was closed is closed again afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = all("details:not([open])");
  opened.forEach((fold) => (fold.open = true));
});
addEventListener("afterprint", () => opened.forEach((fold) => (fold.open = false)));

// A link may lead into a fold.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();

// On a narrow screen the contents would be all of the first screen.
if (matchMedia("(max-width: 70rem)").matches) all("nav details").forEach((d) => (d.open = false));

for (const box of all(".command")) {
  const button = made("button", { type: "button", className: "copy", textContent: "Copy" });
  const line = box.querySelector("code").textContent;
  button.setAttribute("aria-label", "Copy the command " + line);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(line);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(box.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  box.append(button);
}

const key = (cell) => {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  const number = Number(text.replace(/,/g, ""));
  return text !== "" && !Number.isNaN(number) ? number : text;
};
const rowsOf = (body) => [...body.rows].filter((row) => row.className !== "group");
const order = (a, b) =>
  typeof a === "number" && typeof b === "number"
    ? a - b
    : typeof a === typeof b
      ? a.localeCompare(b, "en", { numeric: true })
      : typeof a === "number" ? -1 : 1; // numbers before words such as "not run"

for (const table of all("main table")) {
  const bodies = [...table.tBodies].map((body) => [body, rowsOf(body)]);
  if (bodies.flatMap(([, rows]) => rows).length < 3 || table.closest("[popover]")) continue;
  all("thead tr:last-child th", table).forEach((head, column) => {
    const button = made("button", { type: "button", className: "sort" });
    button.append(...[...head.childNodes].filter((node) => node.className !== "axis"));
    head.prepend(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" };
      const now = next[head.getAttribute("aria-sort")] ?? "ascending";
      all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
      if (now !== "none") head.setAttribute("aria-sort", now);
      const sign = { ascending: 1, descending: -1, none: 0 }[now]; // 0 keeps the source's order
      for (const [body, first] of bodies)
        body.append(...first.toSorted((a, b) => sign * order(key(a.cells[column]), key(b.cells[column]))));
    });
  });
}

// What every seed measured, below the mean, on demand.
for (const box of all("main .scroll")) {
  const cells = all("td:has(> [popover] td[data-value])", box);
  if (box.closest("[popover]") || !cells.length) continue;
  const button = toggle("Every seed", (on) => {
    for (const cell of cells) {
      all(":scope > .seeds", cell).forEach((old) => old.remove());
      const errors = all("[popover] td[data-value]", cell).map((one) => one.textContent.trim());
      if (on) cell.append(made("small", { className: "seeds", textContent: errors.join(" · ") }));
    }
  });
  const bar = made("div", { className: "filter" });
  bar.append(button);
  box.before(bar);
}

const forests = all("table.forest");
const tableOf = (row) => row.parentElement.querySelector(".group")?.textContent.trim() ?? "";
// What rows can be chosen by: their verdict, and the setting, in which the name of their table
// ends; a table that has no name is below the name of its setting.
const kinds = [
  (row) => row.querySelector(".verdict").textContent,
  (row) => tableOf(row).replace(/^[^,]*, /, ""),
];
if (forests.length) {
  const bar = made("div", { className: "filter" });
  const rows = forests.flatMap((table) => [...table.tBodies].flatMap(rowsOf));
  const search = made("input", { type: "search", placeholder: "Filter claims" });
  search.setAttribute("aria-label", "Filter claims by words");
  const told = made("span", { className: "told" });
  told.setAttribute("role", "status");
  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const on = kinds.map((_, i) => all(`[data-kind="${i}"][aria-pressed=true]`, bar).map((b) => b.textContent));
    for (const row of rows) {
      const text = (tableOf(row) + row.textContent).toLowerCase();
      const fits = kinds.every((kind, i) => !on[i].length || !kind(row) || on[i].includes(kind(row)));
      row.hidden = !(fits && words.every((word) => text.includes(word)));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    for (const group of all(".forest .group")) group.hidden = rowsOf(group.parentElement).every((row) => row.hidden);
    told.textContent = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
  };
  search.addEventListener("input", update);
  bar.append(search);
  kinds.forEach((kind, i) => {
    const values = [...new Set(rows.map(kind).filter(Boolean))];
    if (values.length > 1) for (const value of values) {
      const button = toggle(value, update);
      button.dataset.kind = i;
      bar.append(button);
    }
  });
  bar.append(told);
  forests[0].closest("section").querySelector("h2, h3")?.after(bar);
}
