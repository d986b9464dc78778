"use strict";
(() => {
  const sheet = JSON.parse(document.getElementById("data").textContent);
  const items = sheet.items;
  const names = new Set(items.map((item) => item.item));
  const place = "mlit-annotate:" + sheet.sheet;
  const $ = (id) => document.getElementById(id);
  let state = {rater: "", ratings: {}};
  let at = 0;

  // Only what this sheet can hold, whatever a file or the store says.
  function clean(found) {
    const kept = {};
    for (const [name, given] of Object.entries(found.ratings || {})) {
      if (!names.has(name) || typeof given !== "object" || !given) continue;
      const rating = String(given.rating ?? "");
      const known = sheet.choices.some((choice) => choice.value === rating);
      const comment = String(given.comment ?? "");
      if (known || comment) kept[name] = {rating: known ? rating : "", comment};
    }
    return {rater: String(found.rater ?? ""), ratings: kept};
  }

  function tell(text, bad = false) {
    $("told").textContent = text;
    $("told").className = bad ? "bad" : "";
  }

  function load() {
    try {
      const kept = localStorage.getItem(place);
      if (kept) state = clean(JSON.parse(kept));
    } catch (error) {
      tell("This browser keeps nothing: export before you close the page.",
           true);
    }
  }

  function save() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch (error) {
      tell("This browser could not keep the ratings: export them now.", true);
    }
  }

  function make(tag, about, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(about)) {
      if (value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function block(part) {
    const empty = !part.text.trim();
    const text = empty
        ? make("p", {class: "text nothing"}, "(empty)")
        : make("p", {class: "text", lang: sheet.lang, dir: part.dir},
               part.text);
    return make("section", {class: "block"},
                make("h2", {}, part.label), text);
  }

  function given(item) {
    return state.ratings[item.item] || {rating: "", comment: ""};
  }

  function put(change) {
    const item = items[at];
    const now = {...given(item), ...change};
    if (now.rating || now.comment) state.ratings[item.item] = now;
    else delete state.ratings[item.item];
    save();
  }

  function count() {
    const done = items.filter((item) => given(item).rating).length;
    $("bar").value = done;
    $("progress").textContent = done === items.length
        ? `All ${done} rated. Export them now.`
        : `${done} of ${items.length} rated`;
    return done;
  }

  function showRating() {
    const {rating} = given(items[at]);
    for (const button of $("choices").children) {
      button.setAttribute("aria-pressed", button.dataset.value === rating);
    }
    count();
  }

  function show() {
    const item = items[at];
    $("number").textContent = `Item ${at + 1} of ${items.length}`;
    $("shown").replaceChildren(...item.shown.map(block));
    $("answers").className = item.answers.length > 1 ? "two" : "";
    $("answers").replaceChildren(...item.answers.map(
        (parts) => make("div", {}, ...parts.map(block))));
    $("comment").value = given(item).comment;
    $("previous").disabled = at === 0;
    $("next").disabled = at === items.length - 1;
    showRating();
  }

  function go(to) {
    at = Math.max(0, Math.min(items.length - 1, to));
    show();
    window.scrollTo(0, 0);
  }

  function nextOpen() {
    for (let i = 1; i <= items.length; i++) {
      const to = (at + i) % items.length;
      if (!given(items[to]).rating) return go(to);
    }
  }

  function rate(value) {
    put({rating: value});
    tell("");
    if (at < items.length - 1) go(at + 1);
    else showRating();
  }

  function write() {
    const file = {format: sheet.format, sheet: sheet.sheet, lang: sheet.lang,
                  ...state};
    const url = URL.createObjectURL(new Blob(
        [JSON.stringify(file, null, 1) + "\n"], {type: "application/json"}));
    const who = state.rater.replace(/[^\p{L}\p{N}-]+/gu, "_");
    const name = [sheet.lang, who, sheet.sheet].filter(Boolean).join("-");
    const link = make("a", {href: url, download: name + ".json"});
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    const left = items.length - count();
    tell(`Exported ${name}.json` +
         (left ? `; ${left} items have no rating yet.` : "."));
  }

  async function read(file) {
    let found;
    try {
      found = JSON.parse(await file.text());
      if (found.format !== sheet.format) throw new Error("format");
    } catch (error) {
      return tell(`${file.name} is no export of such a page.`, true);
    }
    if (found.sheet !== sheet.sheet) {
      return tell(`${file.name} belongs to another sheet (${found.sheet}).`,
                  true);
    }
    const theirs = clean(found);
    state.rater = theirs.rater || state.rater;
    Object.assign(state.ratings, theirs.ratings);
    save();
    $("rater").value = state.rater;
    show();
    tell(`Imported ${Object.keys(theirs.ratings).length} items.`);
  }

  // The key that a choice has, on any layout of the keyboard.
  function digit(event) {
    if (/^[0-9]$/.test(event.key)) return event.key;
    const code = /^(?:Digit|Numpad)([0-9])$/.exec(event.code || "");
    return code ? code[1] : "";
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const number = digit(event);
    const choice = number &&
        sheet.choices.find((found) => found.key === number);
    if (choice) rate(choice.value);
    else if (event.key === "ArrowLeft") go(at - 1);
    else if (event.key === "ArrowRight") go(at + 1);
    else if (event.key === "Backspace") { put({rating: ""}); showRating(); }
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
      nextOpen();
    } else return;
    event.preventDefault();
  }

  for (const choice of sheet.choices) {
    const button = make("button", {type: "button", "data-value": choice.value},
                        make("kbd", {}, choice.value), choice.label,
                        choice.key === choice.value
                            ? "" : ` (key ${choice.key})`);
    button.addEventListener("click", (event) => {
      if (event.detail) button.blur();  // Enter is not for it after a mouse
      rate(choice.value);
    });
    $("choices").append(button);
  }
  $("previous").addEventListener("click", () => go(at - 1));
  $("next").addEventListener("click", () => go(at + 1));
  $("open").addEventListener("click", nextOpen);
  $("export").addEventListener("click", write);
  $("import").addEventListener("change", async (event) => {
    for (const file of event.target.files) await read(file);
    event.target.value = "";
  });
  $("comment").addEventListener("input", (event) => {
    put({comment: event.target.value});
  });
  $("rater").addEventListener("input", (event) => {
    state.rater = event.target.value.trim();
    save();
  });
  document.addEventListener("keydown", press);
  // The same sheet in another tab.
  window.addEventListener("storage", (event) => {
    if (event.key === place) { load(); show(); }
  });
  load();
  $("rater").value = state.rater;
  if (Object.keys(state.ratings).length) at = items.length - 1;
  show();
  if (at) nextOpen();
})();
