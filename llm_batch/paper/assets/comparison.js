const ID = 0, CATEGORY = 1, QUESTION = 2, REFERENCE = 3, RUNS = 4;
// Of each run.
const STATUS = 0, SCORE = 1, PASSED = 2, CHANGE = 3, OUTPUT = 4, REASON = 5;
const STEP = 20;
const TITLES = { lost: "now fails", gained: "now passes", lower: "lower", higher: "higher", same: "same" };
const GOOD = new Set(["gained", "higher"]);
let items = [];
let found = [];
let shown = 0;

const changes = (item) => item[RUNS].slice(1).map((run) => run && run[CHANGE]);
const isChange = (change) => change !== null && change !== "same";
const matches = searching((item) => [
  item[ID], item[QUESTION], item[REFERENCE], ...item[RUNS].flatMap((run) => run ? [run[OUTPUT], run[REASON]] : []),
].join("\n"));

function card(item) {
  const made = element("article", "change"), head = element("header");
  head.append(element("h3", "", item[ID]));
  if (item[CATEGORY]) head.append(element("span", "badge", item[CATEGORY]));
  made.append(head);
  if (item[QUESTION]) made.append(element("p", "question", item[QUESTION]));
  const panes = element("div", "panes");
  page.runs.forEach((name, i) => panes.append(side(name, item[RUNS][i])));
  if (item[REFERENCE]) panes.append(pane("Reference", item[REFERENCE], "reference"));
  made.append(panes);
  return made;
}

function side(name, run) {
  if (!run) return pane(name, "(not in this run)");
  const made = pane(name, run[OUTPUT] || "(no text)"), title = made.querySelector("h4");
  title.append(verdictBadge(run[STATUS], run[SCORE], run[PASSED]));
  if (isChange(run[CHANGE])) {
    title.append(element("span", `badge ${GOOD.has(run[CHANGE]) ? "pass" : "fail"}`, TITLES[run[CHANGE]]));
  }
  if (run[REASON]) {
    const reason = prose(run[REASON]);
    reason.className = "reason";
    made.append(reason);
  }
  return made;
}

function more() {
  const next = document.createDocumentFragment();
  for (const item of found.slice(shown, shown + STEP)) next.append(card(item));
  shown = Math.min(found.length, shown + STEP);
  byId("changes").append(next);
  byId("more").hidden = shown >= found.length;
}

function filter() {
  const words = wordsSought();
  const kind = byId("kind").value, run = byId("run").value, category = byId("category").value;
  const wanted = (change) => !kind || (kind === "changed" ? isChange(change) : change === kind);
  found = items.filter((item, i) =>
    (!category || (item[CATEGORY] || NO_CATEGORY) === category) &&
    changes(item).some((change, at) => wanted(change) && (!run || page.runs[at + 1] === run)) &&
    (!words.length || matches(item, i, words)));
  tellCount(found.length, items.length, "items");
  byId("changes").replaceChildren();
  shown = 0;
  more();
}

async function start() {
  items = await readItems();
  const changed = items.filter((item) => changes(item).some(isChange)).length;
  const kinds = counted(items.flatMap(changes).filter((change) => change !== null), (kind) => TITLES[kind]);
  const all = changed ? [["changed", `changed (${changed.toLocaleString("en")})`]] : [];
  fill("kind", [...all, ...kinds]);
  fill("run", page.runs.slice(1).map((name) => [name, name]));
  fill("category", page.group ? counted(items.map((item) => item[CATEGORY] || NO_CATEGORY)) : []);
  listenToFilters(["kind", "run", "category"], filter);
  byId("more").addEventListener("click", more);
  filter();
  document.documentElement.dataset.items = "ready";
  await drawCharts(parsed("specs"));
}

start();
