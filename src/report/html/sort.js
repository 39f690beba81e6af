"use strict";
const body = document.querySelector("tbody.sorted");
const heads = [...document.querySelectorAll("th[data-by]")];
const key = (row, at) => row.cells[at].dataset.key ?? row.cells[at].textContent;
function sort(head) {
  const at = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map((row, place) => [key(row, at), place, row]);
  const number = (text) => (text === "" ? -Infinity : Number(text));
  const compare = head.dataset.by === "number" ? (a, b) => number(a[0]) - number(b[0]) : (a, b) => a[0].localeCompare(b[0]);
  rows.sort((a, b) => (down ? -1 : 1) * compare(a, b) || a[1] - b[1]);
  body.append(...rows.map((row) => row[2]));
}
heads.forEach((head) => head.querySelector("button").addEventListener("click", () => sort(head)));
const first = heads.find((head) => "#" + head.id === location.hash);
if (first) sort(first);
