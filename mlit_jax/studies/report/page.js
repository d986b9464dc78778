// The end of the page's one script, behind figures.js and browser.js. What a
// model or a judge wrote reaches the page through textContent alone.

const byId = (id) => document.getElementById(id);

/** An element with its classes and text. */
function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** Opens a figure's folded numbers for print; a judge's replies stay. */
function unfoldForPrint() {
  const closed = [];
  window.addEventListener("beforeprint", () => {
    const folded = document.querySelectorAll("figure details:not([open])");
    for (const details of folded) {
      details.open = true;
      closed.push(details);
    }
  });
  window.addEventListener("afterprint", () => {
    while (closed.length) closed.pop().open = false;
  });
}

startFigures(startBrowser());
unfoldForPrint();
