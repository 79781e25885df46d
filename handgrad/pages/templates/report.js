"use strict";
// Sorts the tables and filters the students. The page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim();
  heads.forEach((head, i) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.disabled = false;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      const numbers = head.classList.contains("number");
      const order = new Intl.Collator(document.documentElement.lang, { numeric: true });
      const compare = (a, b) => numbers ? a - b : order.compare(a, b);
      const rows = [...body.rows].map((row) => [value(row, i), row]);
      rows.sort((a, b) => (up ? 1 : -1) * compare(a[0], b[0]));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows.map((pair) => pair[1]));
    });
  });
}
const field = document.getElementById("filter");
const shown = document.getElementById("shown");
const rows = [...document.querySelectorAll("#students tbody tr")];
let texts = null;
const filter = () => {
  texts ??= rows.map((row) => row.textContent.toLowerCase());
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  rows.forEach((row, i) => {
    row.hidden = !words.every((word) => texts[i].includes(word));
    count += row.hidden ? 0 : 1;
  });
  shown.textContent = shown.dataset.text.replace("{shown}", count).replace("{all}", rows.length);
};
field.disabled = false;
field.addEventListener("input", filter);
for (const link of document.querySelectorAll("a[data-filter]")) {
  link.addEventListener("click", () => { field.value = link.dataset.filter; filter(); });
}
