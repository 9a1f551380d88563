"use strict";
(() => {
  const reveal = (element) => { if (element) element.hidden = false; };

  // The theme of the system, unless the reader has chosen one.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("clsbench-theme"); } catch { return null; } };
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const labelButton = () => { button.textContent = dark() ? "Light mode" : "Dark mode"; };
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("clsbench-theme", root.dataset.theme); } catch { /* storage is disabled */ }
    labelButton();
  });
  system.addEventListener("change", labelButton);
  labelButton();
  reveal(button);

  // Sort by the number of a cell if it has one, otherwise by its text. Missing values are last.
  const key = (cell) => {
    if (!cell.hasAttribute("data-v")) return cell.textContent.trim();
    return cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number"
    ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [key(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return ascending ? compare(a, b) : compare(b, a);
    });
    body.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      head.setAttribute("aria-sort", index === column ? (ascending ? "ascending" : "descending") : "none");
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        // The first click puts the best numbers first and sorts texts from A to Z.
        const descending = head.classList.contains("number") && !head.classList.contains("lower");
        const first = descending ? "descending" : "ascending";
        sort(table, column, now === "none" ? first === "ascending" : now === "descending");
      });
    });
  }

  // Filter: a row is shown if it contains every word, in cells other than numbers.
  const wordsOf = (row) => [...row.cells].filter((cell) => !cell.matches("td.number:not(.state)"))
    .map((cell) => cell.textContent.toLowerCase()).join(" ");
  for (const input of document.querySelectorAll("input[data-filters]")) {
    const rows = [...document.getElementById(input.dataset.filters).tBodies[0].rows];
    const count = input.parentElement.querySelector(".count");
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = wordsOf(row);
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} shown` : "";
    };
    input.addEventListener("input", apply);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { input.value = ""; apply(); }
    });
    reveal(input.parentElement);
  }

  for (const copy of document.querySelectorAll("button.copy")) {
    copy.addEventListener("click", async () => {
      const code = copy.parentElement.querySelector("code");
      let label = "Copied";
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        window.getSelection().selectAllChildren(code);
        label = "Selected";
      }
      copy.textContent = label;
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    reveal(copy);
  }
})();
