"""Style and script of the report page, inlined so that the page needs nothing else."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #66727f; --line: #e1e6ec; --soft: #f5f7f9;
  --accent: #1f4e79; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 36px 28px 56px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 4px; }
.subtitle { color: var(--muted); margin: 0; max-width: 75ch; }
section { margin-top: 40px; }
.note { color: var(--muted); margin: 0 0 14px; max-width: 80ch; }
.warning { border-left: 4px solid #b26a00; background: #fdf6ea; padding: 10px 14px;
  margin: 18px 0 0; }
.headlines { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr));
  gap: 1px; background: var(--line); border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; margin-top: 26px; }
.headline { background: #fff; padding: 16px 18px 14px; }
.headline b { display: block; font-size: 30px; font-weight: 600; line-height: 1.15;
  letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.headline span { display: block; margin-top: 3px; }
.headline small { color: var(--muted); display: block; font-size: 12.5px; }
svg { width: 100%; height: auto; display: block; font-family: inherit; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 8px; font-size: 13px; }
.legend.classes { margin: 12px 0 0; }
.key { white-space: nowrap; }
.swatch { display: inline-block; width: 13px; height: 13px; border-radius: 3px;
  margin-right: 6px; vertical-align: -2px; border: 1px solid rgba(0, 0, 0, 0.18); }
.swatch.hatched { background-image: repeating-linear-gradient(45deg, #fff 0 2px,
  transparent 2px 5px); }
.swatch.crossed { background-image: repeating-linear-gradient(45deg, #fff 0 1px,
  transparent 1px 4px), repeating-linear-gradient(-45deg, #fff 0 1px, transparent 1px 4px); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: 14px; }
th, td { padding: 6px 10px; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid var(--ink); white-space: nowrap; }
td:first-child { white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.total td { font-weight: 600; border-top: 2px solid var(--ink); }
th[aria-sort] { cursor: pointer; }
th[aria-sort="ascending"]::after { content: " \\2191"; }
th[aria-sort="descending"]::after { content: " \\2193"; }
.film { border: 1px solid var(--line); border-radius: 8px; padding: 14px;
  background: var(--soft); }
.film-images { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr));
  gap: 12px; }
.film figure { margin: 0; }
.film img { width: 100%; display: block; border-radius: 4px; background: #dfe4ea; }
.film figcaption { font-size: 13px; color: var(--muted); margin-top: 4px; }
.film-controls { display: flex; align-items: center; gap: 12px; margin-top: 12px; }
.film-controls input { flex: 1; accent-color: var(--accent); min-width: 80px; }
.film-controls button { font: inherit; min-width: 76px; padding: 4px 12px; border-radius: 6px;
  border: 1px solid #b8c2cc; background: #fff; cursor: pointer; }
.film-caption { margin: 10px 0 0; font-variant-numeric: tabular-nums; min-height: 1.5em; }
.strip { margin: 14px 0 0; } .strip img { max-width: 100%; border: 1px solid var(--line); }
.chart { position: relative; }
.cursor { position: absolute; top: 0; bottom: 0; width: 1.5px; background: #b5432e;
  visibility: hidden; }
.plot { margin: 0 auto 0 0; }
.verdict { margin: 0; padding-left: 20px; font-size: 16.5px; max-width: 82ch; }
.verdict li { margin: 7px 0; }
.verdict li:first-child { font-weight: 600; }
.worst-head { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; font-size: 13px;
  color: var(--muted); }
.worst { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px; margin: 0 0 12px; }
.worst img { width: 100%; display: block; border-radius: 3px; }
.worst figcaption { grid-column: 1 / -1; font-size: 13px; color: var(--muted); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 28px; }
code { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; background: var(--soft);
  padding: 1px 5px; border-radius: 4px; overflow-wrap: anywhere; }
footer { margin-top: 48px; padding-top: 14px; border-top: 1px solid var(--line);
  color: var(--muted); font-size: 13px; }
@media print {
  main { max-width: none; padding: 0; } body { font-size: 11pt; }
  .film-controls, .cursor { display: none; }
  figure, tr, svg, .headlines { break-inside: avoid; } h2, .note { break-after: avoid; }
  .scroll { overflow: visible; } table { font-size: 8.5pt; }
  th, td { white-space: normal !important; padding: 3pt 4pt; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""

SCRIPT = """
"use strict";
document.querySelectorAll(".film").forEach((film) => {
  const frames = JSON.parse(film.querySelector("script").textContent);
  const images = film.querySelectorAll("img");
  const slider = film.querySelector("input");
  const button = film.querySelector("button");
  const caption = film.querySelector(".film-caption");
  const cursors = film.closest("main").querySelectorAll(".cursor");
  let timer = null;
  const show = (index) => {
    const frame = frames[index];
    images.forEach((image, i) => { image.src = frame.images[i]; });
    caption.textContent = frame.caption;
    slider.value = index;
    slider.setAttribute("aria-valuetext", frame.caption);
    cursors.forEach((line) => {
      const span = Number(line.dataset.seconds) || 1;
      const share = Math.min(1, Math.max(0, frame.seconds / span));
      const x = Number(line.dataset.left) + Number(line.dataset.width) * share;
      line.style.left = `${100 * x}%`;
      line.style.visibility = "visible";
    });
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const play = () => {
    button.textContent = "Pause";
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), 350);
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => (timer ? stop() : play()));
  show(0);
});
document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("th").forEach((head, column) => {
    head.setAttribute("aria-sort", "none");
    head.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "descending";
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("total"));
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const [p, q] = [parseFloat(x), parseFloat(y)];
        const order = isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
        return down ? order : -order;
      });
      const totals = table.querySelectorAll("tr.total");
      table.tBodies[0].append(...rows, ...totals);
      table.querySelectorAll("th").forEach((h) => h.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "ascending" : "descending");
    });
  });
});
"""
