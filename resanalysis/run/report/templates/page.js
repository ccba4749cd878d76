"use strict";
// Hovering: the nearest point of a figure says which row it is.
(() => {
  const tip = document.getElementById("tip");
  const ring = document.getElementById("ring");
  const reach = 28; // pixels between the pointer and a point
  const known = new WeakMap();

  function spots(plot) {
    if (!known.has(plot)) known.set(plot, JSON.parse(plot.dataset.spots));
    return known.get(plot);
  }

  function nearest(plot, event) {
    const box = plot.querySelector("svg").getBoundingClientRect();
    let best = null;
    let least = reach * reach;
    for (const [x, y, text] of spots(plot)) {
      const left = box.left + x * box.width;
      const top = box.top + y * box.height;
      const distance = (left - event.clientX) ** 2 + (top - event.clientY) ** 2;
      if (distance < least) [least, best] = [distance, { left, top, text }];
    }
    return best;
  }

  function hide() {
    tip.hidden = ring.hidden = true;
  }

  function show(spot) {
    tip.textContent = spot.text;
    tip.hidden = ring.hidden = false;
    ring.style.transform = `translate(${spot.left}px, ${spot.top}px)`;
    const width = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, spot.left - tip.offsetWidth / 2), width - tip.offsetWidth - 8);
    const above = spot.top - tip.offsetHeight - 14;
    tip.style.transform = `translate(${left}px, ${above > 4 ? above : spot.top + 14}px)`;
  }

  for (const plot of document.querySelectorAll(".plot")) {
    const look = (event) => {
      const spot = nearest(plot, event);
      if (spot) show(spot);
      else hide();
    };
    plot.addEventListener("pointermove", look);
    plot.addEventListener("pointerdown", look);
    plot.addEventListener("pointerleave", hide);
  }
  addEventListener("scroll", hide, { passive: true });
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();

// Tables: a click on a column's name sorts by it, the field above filters.
(() => {
  const number = (text) => {
    const value = parseFloat(text.replace("−", "-"));
    return Number.isNaN(value) ? Infinity : value; // what is missing comes last
  };
  const words = new Intl.Collator("en", { numeric: true });

  function sort(table, column, descending, numeric) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row.cells[column].textContent.trim(), row]);
    rows.sort(([a], [b]) => {
      const order = numeric ? number(a) - number(b) || 0 : words.compare(a, b);
      if (numeric && (number(a) === Infinity || number(b) === Infinity)) return order;
      return descending ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  }

  function test(text, names) {
    const found = text.match(/^\s*([\w ]+?)\s*(<=|>=|=|<|>)\s*(.+?)\s*$/);
    const column = found ? names.indexOf(found[1].toLowerCase()) : -1;
    if (column < 0) {
      const wanted = text.toLowerCase();
      return (row) => row.textContent.toLowerCase().includes(wanted);
    }
    const [, , sign, value] = found;
    return (row) => {
      const cell = row.cells[column].textContent.trim();
      if (sign === "=") return cell.toLowerCase() === value.toLowerCase() || number(cell) === number(value) && cell !== "" && number(value) !== Infinity;
      const [a, b] = [number(cell), number(value)];
      if (a === Infinity || b === Infinity) return false;
      return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[sign];
    };
  }

  for (const table of document.querySelectorAll("table.data")) {
    const heads = [...table.tHead.rows[0].cells];
    const names = heads.map((head) => head.dataset.name.toLowerCase());
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, descending, head.classList.contains("n"));
      });
    });
    const filter = table.closest("details").querySelector("input");
    if (!filter) continue;
    const count = filter.parentElement.querySelector("output");
    filter.addEventListener("input", () => {
      const keep = test(filter.value, names);
      let shown = 0;
      for (const row of table.tBodies[0].rows) {
        row.hidden = !keep(row);
        if (!row.hidden) shown += 1;
      }
      count.textContent = `${shown} of ${table.tBodies[0].rows.length}`;
    });
  }
})();

// Commands are copied by a click, where the browser allows it.
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) {
    button.remove();
    continue;
  }
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
