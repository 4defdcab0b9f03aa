"use strict";
// Everything from the data is set as text (textContent), never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const parsed = (id) => JSON.parse(byId(id).textContent);
  const page = parsed("page-data");
  const RUN = 0, ID = 1, KIND = 2, CATEGORY = 3, BEFORE = 4, AFTER = 5, QUESTION = 6,
    BASE_OUTPUT = 7, RUN_OUTPUT = 8, BASE_REASON = 9, RUN_REASON = 10;
  const STEP = 20;
  const NO_CATEGORY = "(none)";
  const TITLES = { lost: "now fails", gained: "now passes", lower: "lower", higher: "higher" };
  let found = [];
  let shown = 0;

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  const score = (value) => value === null ? "no score" : Number(value.toPrecision(6)).toLocaleString("en");

  function card(change) {
    const made = element("article", "change");
    const head = element("header");
    const good = change[KIND] === "gained" || change[KIND] === "higher";
    head.append(
      element("h3", "", change[ID]),
      element("span", `badge ${good ? "pass" : "fail"}`, TITLES[change[KIND]]),
      element("span", "badge", `${score(change[BEFORE])} to ${score(change[AFTER])}`),
    );
    if (change[CATEGORY]) head.append(element("span", "badge", change[CATEGORY]));
    made.append(head);
    if (change[QUESTION]) made.append(element("p", "question", change[QUESTION]));
    const panes = element("div", "panes");
    panes.append(
      pane(page.baseline, change[BASE_OUTPUT], change[BASE_REASON]),
      pane(change[RUN], change[RUN_OUTPUT], change[RUN_REASON]),
    );
    made.append(panes);
    return made;
  }

  function pane(name, output, reason) {
    const made = element("div", "pane");
    made.append(element("h4", "", name), element("pre", "", output || "(no text)"));
    if (reason) made.append(element("p", "note", reason));
    return made;
  }

  function more() {
    const next = document.createDocumentFragment();
    for (const change of found.slice(shown, shown + STEP)) next.append(card(change));
    shown = Math.min(found.length, shown + STEP);
    byId("changes").append(next);
    byId("more").hidden = shown >= found.length;
  }

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value, run = byId("run").value, category = byId("category").value;
    found = page.changes.filter((change) =>
      (!kind || change[KIND] === kind) && (!run || change[RUN] === run) &&
      (!category || (change[CATEGORY] || NO_CATEGORY) === category) &&
      words.every((word) => change.slice(QUESTION).concat(change[ID]).join("\n").toLowerCase().includes(word)));
    const all = page.changes.length.toLocaleString("en");
    byId("count").textContent = found.length === page.changes.length
      ? `${all} changed items` : `${found.length.toLocaleString("en")} of ${all} changed items`;
    byId("changes").replaceChildren();
    shown = 0;
    more();
  }

  function fill(id, values, title) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    const select = byId(id);
    for (const [value, n] of counts) {
      const option = element("option", "", `${title(value)} (${n.toLocaleString("en")})`);
      option.value = value;
      select.append(option);
    }
    select.closest("label").hidden = counts.size < 2;
  }

  function listen() {
    let timer = 0;
    byId("search").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(filter, 100);
    });
    for (const id of ["kind", "run", "category"]) byId(id).addEventListener("change", filter);
    const form = byId("clear").form;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter, 0));
    byId("more").addEventListener("click", more);
  }

  async function start() {
    fill("kind", page.changes.map((change) => change[KIND]), (kind) => TITLES[kind]);
    fill("run", page.changes.map((change) => change[RUN]), (run) => run);
    fill("category", page.group ? page.changes.map((change) => change[CATEGORY] || NO_CATEGORY) : [], (name) => name);
    listen();
    filter();
    document.documentElement.dataset.items = "ready";
    for (const [name, spec] of Object.entries(parsed("specs"))) {
      // ast: expressions are interpreted, not compiled, so that the page needs no eval.
      await vegaEmbed(byId(`chart-${name}`), spec, {
        actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
      });
    }
    document.documentElement.dataset.charts = "drawn";
  }

  start();
})();
