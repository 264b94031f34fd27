"use strict";
// Sort a table by a column: numbers by value, undefined ones last; again reverses.
for (const head of document.querySelectorAll(".sortable th[aria-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const row = head.parentElement, body = head.closest("table").tBodies[0];
    const column = [...row.children].indexOf(head);
    const isNumber = head.classList.contains("n");
    const was = head.getAttribute("aria-sort");
    const down = was === "none" ? isNumber : was === "ascending";
    for (const other of row.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (line) => {
      const cell = line.children[column];
      if (!isNumber) return cell.textContent.trim();
      return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      if (!isNumber) return a.localeCompare(b, "en", { numeric: true }) * (down ? -1 : 1);
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
      return down ? b - a : a - b;
    };
    const lines = [...body.rows].map((line) => [key(line), line]);
    lines.sort((a, b) => compare(a[0], b[0]));
    body.append(...lines.map(([, line]) => line));
  });
}
const gallery = document.getElementById("gallery");
const views = [...document.querySelectorAll(".views button")];
function show(view) {
  gallery.dataset.view = view;
  for (const button of views) button.setAttribute("aria-pressed", String(button.dataset.view === view));
  for (const pair of gallery.querySelectorAll(".flipped")) pair.classList.remove("flipped");
}
for (const button of views) button.addEventListener("click", () => show(button.dataset.view));
for (const button of document.querySelectorAll(".flip")) {
  button.addEventListener("click", () => button.closest(".pair").classList.toggle("flipped"));
}
// On a phone two pictures beside each other are too small.
if (gallery && matchMedia("(max-width: 40rem)").matches) show("prediction");
// Paper has no buttons: open what is closed.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
