"use strict";
addEventListener("DOMContentLoaded", () => {
  const keyOf = (row, column) => {
    let end = 0;
    for (const cell of row.cells) {
      end += cell.colSpan;
      if (end <= column) continue;
      if (cell.colSpan > 1 || cell.matches(".missing, :has(.missing)")) return null;
      const texts = [...cell.childNodes].map((node) => node.textContent.trim());
      const text = (texts.find((one) => one) ?? "").replace("\u2212", "-");
      const found = /^(?:below )?([+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)(?=\s|%|$)/i.exec(text);
      return found ? Number(found[1].replaceAll(",", "")) : text;
    }
    return null;
  };
  const compare = (a, b) =>
    typeof a !== typeof b ? (typeof a === "number" ? -1 : 1)
    : typeof a === "number" ? a - b : a.localeCompare(b);
  const next = { ascending: "descending", descending: "none" };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (rows.length < 3) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const way = next[head.getAttribute("aria-sort")] ?? "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (way === "none") return body.append(...rows);
        head.setAttribute("aria-sort", way);
        const keyed = rows.map((row) => [row, keyOf(row, column)]);
        const there = keyed.filter((one) => one[1] !== null);
        const sign = way === "ascending" ? 1 : -1;
        there.sort((a, b) => sign * compare(a[1], b[1]));
        body.append(...there.concat(keyed.filter((one) => one[1] === null)).map((one) => one[0]));
      });
    });
  }
});
