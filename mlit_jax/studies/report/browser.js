// The browser of answers: blocks unpacked when looked at, filters, search.

/** A block of the page, unpacked: base64 of deflated JSON (packing.py). */
const readBlock = (() => {
  const blocks = new Map();
  async function unpack(id) {
    const found = byId(id);
    if (!found) return null;
    const text = found.textContent.replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream()
      .pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }
  return (id) => {
    if (!blocks.has(id)) blocks.set(id, unpack(id));
    return blocks.get(id);
  };
})();

/**
 * Fills the browser. Returns {has, open}: whether the answers of a place
 * {languages, left, right, search} are there, and a function that shows them.
 */
function startBrowser() {
  const form = byId("browser");
  if (!form) return { has: () => false, open: () => {} };
  const page = 25;
  const own = "*"; // not a system, but the language's own one
  const index = JSON.parse(byId("answers-index").textContent);
  const names = new Map(index.systems);
  const positions = new Map(index.systems.map(([name], i) => [name, i]));
  const controls = {};
  for (const id of [
    "language", "left", "right", "left-status", "right-status", "verdict",
    "orders", "search",
  ]) {
    controls[id] = byId(id);
  }
  const body = byId("answers").tBodies[0];
  const answerTests = {
    "any": () => true,
    "exact": (answer) => answer[2] === 1,
    "wrong": (answer) => answer[2] === 0,
    "gate": (answer, lang) => answer[1] !== lang,
    "passed": (answer, lang) => answer[1] === lang,
  };
  const choices = {
    "status": [
      ["any", "anything"], ["exact", "exact"], ["wrong", "not exact"],
      ["gate", "failing the language gate"],
      ["passed", "passing the language gate"],
    ],
    "verdict": [
      ["any", "any"], ["left", "left won"], ["right", "right won"],
      ["tie", "tie"], ["failed", "judging failed"], ["none", "not judged"],
    ],
    "orders": [
      ["any", "any"], ["agree", "verdict the same in both"],
      ["flip", "verdict changed with the order"],
    ],
  };
  let loaded = { key: "" };
  let matches = [];
  let turn = 0; // of updates: what comes late is not shown

  const chosenLanguages = () => controls.language.value.split(" ");
  const languageName = (code) => index.languages[code].name;

  function fill(select, options, wanted) {
    select.replaceChildren(...options.map(([value, text]) => {
      const option = element("option", "", text);
      option.value = value;
      return option;
    }));
    const values = options.map(([value]) => value);
    const chosen = wanted.find((value) => values.includes(value));
    select.value = chosen === undefined ? values[0] : chosen;
  }

  /** Offers every language, all of them, and what a figure asked for. */
  function offerLanguages(wanted) {
    const options = index.order.map((code) => {
      const { name, autonym } = index.languages[code];
      return [code, autonym === name ? name : `${name} – ${autonym}`];
    });
    if (options.length > 1) {
      options.push([index.order.join(" "), "All languages"]);
    }
    if (!options.some(([value]) => value === wanted)) {
      const codes = wanted.split(" ");
      const listed = codes.map(languageName).join(", ");
      options.push([wanted, `${codes.length} languages: ${listed}`]);
    }
    fill(controls.language, options, [wanted]);
  }

  /** Offers the systems that answered in these languages. */
  function offerSystems(left = "", right = "") {
    const languages = chosenLanguages();
    const asked = index.systems.filter((_, i) => languages.some(
      (code) => index.languages[code].asked.includes(i)));
    const owners = languages.map((code) => index.languages[code].own);
    const rights = [...asked];
    if (languages.length > 1 && owners.some(Boolean)) {
      rights.push([own, "each language’s own model"]);
    }
    // What was chosen stays, unless it was the last language's own model.
    const kept = (id) => {
      const { value } = controls[id];
      const isOwner = Object.values(index.languages).some(
        (language) => language.own === value);
      return isOwner ? "" : value;
    };
    const alone = languages.length > 1 ? own : owners[0];
    fill(controls.left, asked, [left, kept("left"), index.base]);
    const [other] = asked.map(([name]) => name)
      .filter((name) => name !== controls.left.value);
    fill(controls.right, rights, [
      right === own ? alone : right, kept("right"), alone, other,
    ]);
  }

  /** The rows of some languages for two systems, from as many blocks. */
  async function load(languages, left, right) {
    const found = await Promise.all(languages.map(async (lang) => {
      const a = positions.get(left);
      const b = positions.get(right === own
        ? index.languages[lang].own : right);
      const [low, high] = a < b ? [a, b] : [b, a];
      const [questions, lefts, rights, pairs, leftAlone, rightAlone] =
        await Promise.all([
          `q-${lang}`, `a-${lang}-${a}`, `a-${lang}-${b}`,
          `j-${lang}-${low}-${high}`, `j-${lang}-${a}`, `j-${lang}-${b}`,
        ].map(readBlock));
      return questions.map(([id, prompt, reference], i) => ({
        lang, id, prompt, reference,
        left: lefts && lefts[i],
        right: rights && rights[i],
        judged: judged(
          pairs && pairs[i], leftAlone && leftAlone[i],
          rightAlone && rightAlone[i], a < b),
      })).filter((row) => row.left || row.right);
    }));
    return found.flat();
  }

  /** Findings of the judge, from the side of left and right. */
  function judged(pairs, leftAlone, rightAlone, leftIsA) {
    const sides = leftIsA ? { a: "left", b: "right" }
      : { a: "right", b: "left" };
    const found = (pairs || []).map(([asked, round, replies]) => {
      const verdicts = replies.map((reply) => sides[reply[1]] || reply[1]);
      const failed = replies.some((reply) => reply[2]);
      const flipped = !failed && new Set(verdicts).size > 1;
      return {
        asked, round, flipped,
        outcome: failed ? "failed" : flipped ? "tie" : verdicts[0],
        replies: replies.map(([first, , failure, ...words], i) => ({
          head: `${sides[first]} answer shown first: `
            + (failure ? `failed (${failure})` : verdictText(verdicts[i])),
          words,
        })),
      };
    });
    const mean = (alone) => {
      const scores = (alone || []).flatMap(
        ([, , replies]) => replies.map((reply) => reply[1]))
        .filter((score) => typeof score === "number");
      return scores.length
        ? scores.reduce((sum, score) => sum + score, 0) / scores.length : null;
    };
    for (const [side, alone] of [["left", leftAlone], ["right", rightAlone]]) {
      for (const [asked, round, replies] of alone || []) {
        found.push({
          asked, round, side, flipped: false, outcome: "",
          replies: replies.map(([, said, failure, ...words]) => ({
            head: `${side} answer alone: `
              + (failure ? `failed (${failure})` : said),
            words,
          })),
        });
      }
    }
    const [a, b] = [mean(leftAlone), mean(rightAlone)];
    const outcomes = (pairs || []).length
      ? found.map((finding) => finding.outcome).filter(Boolean)
      : a === null || b === null ? []
        : [a > b ? "left" : a < b ? "right" : "tie"];
    return {
      found, outcomes, ratings: [a, b],
      flips: found.some((finding) => finding.flipped),
      pairs: (pairs || []).length,
    };
  }

  const plain = (text) => text.normalize("NFC").toLocaleLowerCase();

  function fits(row, wanted) {
    for (const side of ["left", "right"]) {
      const test = controls[`${side}-status`].value;
      const answer = row[side];
      if (test !== "any" && !(answer && answerTests[test](answer, row.lang))) {
        return false;
      }
    }
    const verdict = controls.verdict.value;
    const { outcomes, flips, pairs } = row.judged;
    if (verdict === "none" && outcomes.length) return false;
    if (!["any", "none"].includes(verdict) && !outcomes.includes(verdict)) {
      return false;
    }
    const orders = controls.orders.value;
    if (orders === "flip" && !flips) return false;
    if (orders === "agree" && (!pairs || flips || outcomes.includes("failed"))) {
      return false;
    }
    if (!wanted) return true;
    row.plain ??= plain([
      row.id, row.prompt, row.reference, row.left ? row.left[0] : "",
      row.right ? row.right[0] : "",
    ].join("\n"));
    return row.plain.includes(wanted);
  }

  /** Loads what is chosen, if that has changed, and shows what fits. */
  async function update() {
    const now = ++turn;
    const languages = chosenLanguages();
    const [left, right] = [controls.left.value, controls.right.value];
    const key = JSON.stringify([languages, left, right]);
    if (key !== loaded.key) {
      loaded = { key, rows: load(languages, left, right) };
    }
    byId("answers").setAttribute("aria-busy", "true");
    let rows;
    try {
      rows = await loaded.rows;
    } catch (error) {
      byId("count").textContent =
        `This browser cannot unpack the answers (${error.name});`
        + " they are in answers.jsonl beside this page.";
      return;
    }
    if (now !== turn) return;
    const wanted = plain(controls.search.value.trim());
    matches = rows.filter((row) => fits(row, wanted));
    byId("left-name").textContent = names.get(left);
    byId("right-name").textContent = nameOf(right);
    body.replaceChildren();
    const count = matches.length === rows.length
      ? `${rows.length.toLocaleString("en")} questions`
      : `${matches.length.toLocaleString("en")} of`
        + ` ${rows.length.toLocaleString("en")} questions`;
    const named = languages.length === 1 ? languageName(languages[0])
      : `${languages.length} languages`;
    byId("count").textContent = `${named}: ${count}.`;
    showMore();
    byId("answers").removeAttribute("aria-busy");
  }

  const nameOf = (system) => system === own ? "Its own model"
    : names.get(system);

  let shown = 0;

  function showMore() {
    if (!body.rows.length) shown = 0;
    const several = chosenLanguages().length > 1;
    for (const row of matches.slice(shown, shown + page)) {
      body.append(...lines(row, several));
    }
    shown = Math.min(matches.length, shown + page);
    byId("more").hidden = shown >= matches.length;
  }

  /** A question with both answers, and below them what the judge said. */
  function lines(row, several) {
    const { lang, id, prompt, reference } = row;
    const { dir, name } = index.languages[lang];
    const line = element("tr");
    const question = element("td", dir);
    question.append(
      element("p", "id", several ? `${name} · ${id}` : id),
      passage(prompt, lang, dir), passage(reference, lang, dir, "reference"));
    line.append(question);
    for (const side of ["left", "right"]) {
      const cell = answerCell(row[side], lang, reference);
      cell.dataset.name = nameOf(controls[side].value);
      line.append(cell);
    }
    const { found } = row.judged;
    if (!found.length) return [line];
    line.className = "above";
    const below = element("tr", "judged");
    const cell = element("td");
    cell.colSpan = 3;
    const details = element("details");
    details.append(element("summary", "", summary(row.judged)));
    for (const { asked, round, side, replies } of found) {
      const twice = found.some((other) => other.round !== round);
      details.append(element(
        "p", "asked", twice ? `${asked}, turn ${round}` : asked));
      for (const { head, words } of replies) {
        details.append(element("p", "head", head));
        for (const text of words) {
          details.append(text === null
            ? element("p", "empty", "(left out here; see judgments.jsonl)")
            : text.trim() ? passage(text, "", "auto", "raw")
              : element("p", "empty", "(empty reply)"));
        }
      }
    }
    cell.append(details);
    below.append(cell);
    return [line, below];
  }

  const verdictText = (verdict) => ({
    "left": "left won", "right": "right won", "tie": "tie",
    "failed": "judging failed",
  })[verdict];

  function summary({ found, ratings, pairs }) {
    if (!pairs) {
      const [left, right] = ratings.map(
        (mean) => mean === null ? "–" : Number(mean.toFixed(2)));
      return `Judge: left rated ${left}, right ${right}`;
    }
    const texts = found.filter((finding) => finding.outcome).map(
      ({ outcome, flipped, round }, i, all) =>
        (all.length > 1 ? `turn ${round}: ` : "")
        + (flipped ? "tie, the verdict changed with the order"
          : verdictText(outcome)));
    return `Judge: ${texts.join("; ")}`;
  }

  function answerCell(answer, lang, reference) {
    const cell = element("td");
    if (!answer) {
      cell.append(element("p", "empty", "– (not asked)"));
      return cell;
    }
    const [text, found, exact] = answer;
    // In a language that was not told, the first letter decides.
    const dir = found ? index.languages[found].dir : "auto";
    cell.className = dir;
    cell.append(
      text.trim()
        ? passage(text, found || lang, dir)
        : element("p", "empty", "(empty answer)"));
    if (exact) {
      cell.append(element("p", "status exact", "exact"));
    } else if (found !== lang) {
      cell.append(element("p", "status wrong-language", found
        ? `wrong language: ${languageName(found)}` : "language not told"));
    } else if (reference) {
      cell.append(element("p", "status", "not exact"));
    }
    return cell;
  }

  // A text in its direction; a very long one can be unfolded.
  function passage(text, lang, dir, className = "") {
    const longest = 400;
    const shown = element("p", className, text);
    shown.lang = lang;
    shown.dir = dir;
    if (text.length <= longest) return shown;
    let end = longest;
    // Not between the halves of a surrogate pair.
    if (text.codePointAt(end - 1) > 0xffff) end -= 1;
    shown.textContent = `${text.slice(0, end)}…`;
    const length = text.length.toLocaleString("en");
    const button = element("button", "", `Show all ${length} characters`);
    button.type = "button";
    button.addEventListener("click", () => {
      shown.textContent = text;
      button.remove();
    });
    const both = element("div");
    both.append(shown, button);
    return both;
  }

  function showAll() {
    for (const id of ["left-status", "right-status", "verdict", "orders"]) {
      controls[id].value = "any";
    }
    controls.search.value = "";
  }

  for (const id of ["left-status", "right-status", "verdict", "orders"]) {
    fill(controls[id], choices[id.replace(/.*-/, "")], ["any"]);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", ({ target }) => {
    if (target === controls.language) offerSystems();
    if (target !== controls.search) update();
  });
  controls.search.addEventListener("input", update);
  byId("more").addEventListener("click", showMore);
  form.hidden = false;
  byId("answers").hidden = false;
  offerLanguages(index.order[0]);
  offerSystems();
  update();

  return {
    has: ({ languages, left, right }) => names.has(left)
      && (!right || right === own || names.has(right))
      && languages.length > 0
      && languages.every((code) => (index.languages[code] || {}).count),
    open: ({ languages, left, right, search }) => {
      showAll();
      controls.search.value = search || "";
      offerLanguages(languages.join(" "));
      offerSystems(left, right);
      update();
      const title = byId("browse-title");
      title.scrollIntoView();
      title.focus({ preventScroll: true });
    },
  };
}
