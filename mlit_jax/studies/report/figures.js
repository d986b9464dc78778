// Scores that lead to the answers behind them: cells of tables and marks of
// charts, by pointer and by keyboard. Each has data-cell: {title, parts, bar,
// languages, left, right, search}.

function startFigures({ has, open }) {
  for (const figure of document.querySelectorAll("figure")) {
    const cells = [...figure.querySelectorAll("[data-cell]")];
    if (cells.length) startFigure(figure, cells, has, open);
  }
}

function startFigure(figure, cells, has, open) {
  const detail = figure.querySelector(".detail");
  const places = new Map();
  const grid = new Map(); // "row column" -> cell
  const put = (cell) => `${cell.row} ${cell.column}`;
  let [rows, columns] = [0, 0];
  for (const cell of cells) {
    const { row, column } = cell.tagName === "TD"
      ? { row: cell.parentNode.rowIndex, column: cell.cellIndex }
      : { row: Number(cell.dataset.row), column: Number(cell.dataset.column) };
    const data = JSON.parse(cell.dataset.cell);
    places.set(cell, { ...data, row, column });
    grid.set(put({ row, column }), cell);
    rows = Math.max(rows, row + 1);
    columns = Math.max(columns, column + 1);
    cell.setAttribute("tabindex", "-1");
    if (cell.tagName !== "TD") cell.setAttribute("role", "button");
    if (has(data)) cell.classList.add("opens");
  }
  if (!figure.querySelector(".opens")) detail.querySelector(".opening").remove();
  cells[0].closest("table")?.setAttribute("role", "grid");
  // One stop for the Tab key; the arrow keys move on from there.
  cells[0].setAttribute("tabindex", "0");
  let shown = null;

  /** The headings of a table's cell. */
  function headings(cell) {
    if (cell.tagName !== "TD") return [];
    const heads = [...cell.closest("table").tHead.rows].at(-1).cells;
    return [cell.parentNode.cells[0], heads[cell.cellIndex]];
  }

  function show(cell) {
    if (!cell || cell === shown) return;
    for (const head of shown ? headings(shown) : []) {
      head.classList.remove("on");
    }
    for (const head of headings(cell)) head.classList.add("on");
    shown = cell;
    const { title, parts, bar } = places.get(cell);
    const first = element("p");
    first.append(element("strong", "", title));
    const second = element("p", "parts");
    for (const text of parts) second.append(element("span", "", text), " ");
    detail.replaceChildren(first, second);
    if (!bar) return;
    const drawn = element("div", "bar");
    drawn.setAttribute("aria-hidden", "true");
    ["win", "tie", "loss"].forEach((kind, i) => {
      const piece = element("i", kind);
      piece.style.flexGrow = bar[i];
      drawn.append(piece);
    });
    detail.append(drawn);
  }

  function focus(cell) {
    for (const old of cells) old.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    cell.focus();
  }

  /** The next cell that way; what was not measured is stepped over. */
  function next(cell, down, right) {
    let { row, column } = places.get(cell);
    do {
      row += down;
      column += right;
      if (grid.has(put({ row, column }))) return grid.get(put({ row, column }));
    } while (row >= 0 && row < rows && column >= 0 && column < columns);
    return null;
  }

  function enter(cell) {
    if (has(places.get(cell))) open(places.get(cell));
  }

  const cellOf = (event) => event.target.closest("[data-cell]");
  figure.addEventListener("pointerover", (event) => show(cellOf(event)));
  figure.addEventListener("focusin", (event) => show(cellOf(event)));
  figure.addEventListener("click", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    focus(cell);
    enter(cell);
  });
  const steps = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
  };
  figure.addEventListener("keydown", (event) => {
    const cell = cellOf(event);
    if (!cell) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      enter(cell);
    } else if (steps[event.key]) {
      event.preventDefault();
      const found = next(cell, ...steps[event.key]);
      if (found) focus(found);
    }
  });
}
