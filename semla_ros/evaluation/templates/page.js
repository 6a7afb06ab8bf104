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
