const RUN = 0, ID = 1, KIND = 2, CATEGORY = 3, BEFORE = 4, AFTER = 5, QUESTION = 6,
  BASE_OUTPUT = 7, RUN_OUTPUT = 8, BASE_REASON = 9, RUN_REASON = 10;
const STEP = 20;
const TITLES = { lost: "now fails", gained: "now passes", lower: "lower", higher: "higher" };
let found = [];
let shown = 0;

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
    side(page.baseline, change[BASE_OUTPUT], change[BASE_REASON]),
    side(change[RUN], change[RUN_OUTPUT], change[RUN_REASON]),
  );
  made.append(panes);
  return made;
}

function side(name, output, reason) {
  const made = pane(name, output || "(no text)");
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
  const words = wordsSought();
  const kind = byId("kind").value, run = byId("run").value, category = byId("category").value;
  found = page.changes.filter((change) =>
    (!kind || change[KIND] === kind) && (!run || change[RUN] === run) &&
    (!category || (change[CATEGORY] || NO_CATEGORY) === category) &&
    words.every((word) => change.slice(QUESTION).concat(change[ID]).join("\n").toLowerCase().includes(word)));
  tellCount(found.length, page.changes.length, "changed items");
  byId("changes").replaceChildren();
  shown = 0;
  more();
}

async function start() {
  const all = (place) => page.changes.map((change) => change[place]);
  fill("kind", counted(all(KIND), (kind) => TITLES[kind]));
  fill("run", counted(all(RUN)));
  fill("category", page.group ? counted(all(CATEGORY).map((name) => name || NO_CATEGORY)) : []);
  listenToFilters(["kind", "run", "category"], filter);
  byId("more").addEventListener("click", more);
  filter();
  document.documentElement.dataset.items = "ready";
  await drawCharts(parsed("specs"));
}

start();
