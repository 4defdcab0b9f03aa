const ID = 0, STATUS = 1, SCORE = 2, PASSED = 3, CATEGORY = 4, ERROR = 5, REASON = 6, FIELDS = 7,
  OUTPUTS = 8, PROMPTS = 9, COST = 10, SECONDS = 11, ATTEMPTS = 12, INPUT = 13, OUTPUT = 14;
const ROW = 64;
const MANY_SCORES = 12;

let items = [];
let found = [];
let chosen = -1;

const verdictOf = (item) => item[PASSED] === null ? "none" : item[PASSED] ? "pass" : "fail";
const money = (usd) => usd < 0.1 ? `$${Number(usd.toPrecision(2))}` : `$${usd.toFixed(2)}`;
const asText = (value) =>
  typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "";

// An output as people read it: fields line by line, repeats one after the other.
function asOutput(value) {
  const skipped = Array.isArray(value) ? value.every((each) => each === null) : value === null;
  if (skipped) return "Skipped for this item.";
  if (Array.isArray(value)) {
    return value.map((each, n) => `${n + 1} of ${value.length}:\n${asOutput(each)}`).join("\n\n");
  }
  if (typeof value !== "object") return asText(value);
  return Object.entries(value).map(([name, each]) => `${name}: ${asText(each)}`).join("\n");
}

const matches = searching((item) => [
  item[ID], item[REASON], item[ERROR], ...Object.values(item[FIELDS]).map(asText),
  ...Object.values(item[OUTPUTS]).map(asText),
].join("\n"));

function filter() {
  const words = wordsSought();
  const verdict = byId("verdict").value, score = byId("score").value;
  const category = byId("category").value, status = byId("status").value;
  found = [];
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    if (verdict && verdictOf(item) !== verdict) continue;
    if (score && !hasScore(item[SCORE], score)) continue;
    if (category && (item[CATEGORY] || NO_CATEGORY) !== category) continue;
    if (status && item[STATUS] !== status) continue;
    if (words.length && !matches(item, i, words)) continue;
    found.push(i);
  }
  tellCount(found.length, items.length, "items");
  byId("rows").style.height = `${found.length * ROW}px`;
  byId("list").scrollTop = 0;
  draw();
}

function hasScore(value, wanted) {
  if (wanted === "none") return value === null;
  const [low, high, last] = wanted.split("|").map(Number);
  return value !== null && value >= low && (value < high || (value === high && (last || low === high)));
}

// Only the rows in sight exist: a list of 30,000 scrolls as one of thirty.
function draw() {
  const list = byId("list"), rows = byId("rows");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
  const last = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
  const shown = document.createDocumentFragment();
  for (let place = first; place < last; place++) shown.append(row(place));
  rows.replaceChildren(shown);
}

function row(place) {
  const item = items[found[place]];
  const made = element("div", "row");
  made.id = `row-${place}`;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(found[place] === chosen));
  made.setAttribute("aria-setsize", String(found.length));
  made.setAttribute("aria-posinset", String(place + 1));
  made.style.top = `${place * ROW}px`;
  made.append(element("b", "", item[ID]), badge(item), element("span", "snippet", snippet(item)));
  made.addEventListener("click", () => choose(place, { move: true }));
  return made;
}

const badge = (item) => verdictBadge(item[STATUS], item[SCORE], item[PASSED]);

function snippet(item) {
  const named = ["question", "prompt", "input", "text"].find((name) => item[FIELDS][name]);
  const value = named ? item[FIELDS][named]
    : Object.entries(item[FIELDS]).find(([name, v]) => typeof v === "string" && v !== item[ID] && v !== item[CATEGORY])?.[1];
  return asText(value ?? item[ERROR]).slice(0, 120);
}

// What the page chooses by itself leaves the address alone, and is not printed.
function choose(place, { move = false, own = false } = {}) {
  if (place < 0 || place >= found.length) return;
  chosen = found[place];
  const list = byId("list"), top = place * ROW;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  draw();
  list.setAttribute("aria-activedescendant", `row-${place}`);
  detail(items[chosen], place);
  if (own) return;
  history.replaceState(null, "", `#item=${encodeURIComponent(items[chosen][ID])}`);
  byId("items").classList.add("open");
  if (move && window.matchMedia("(max-width: 760px)").matches) byId("detail").scrollIntoView();
}

function detail(item, place) {
  const box = byId("detail"), head = element("header");
  const turn = (text, label, to) => {
    const made = element("button", "turn", text);
    made.type = "button";
    made.setAttribute("aria-label", label);
    made.disabled = to < 0 || to >= found.length;
    made.addEventListener("click", () => choose(to));
    return made;
  };
  const link = element("button", "turn", "Copy link");
  link.type = "button";
  link.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); link.textContent = "Copied"; }
    catch { link.textContent = "It is in the address bar"; }
  });
  head.append(element("h3", "", item[ID]), badge(item));
  if (item[CATEGORY]) head.append(element("span", "badge", item[CATEGORY]));
  head.append(turn("←", "Previous item", place - 1), turn("→", "Next item", place + 1), link);
  const numbers = [
    item[COST] === null ? "" : money(item[COST]),
    item[SECONDS] === null ? "" : `${number(Math.round(item[SECONDS] * 1000) / 1000)} s`,
    item[ATTEMPTS] === null ? "" : `${item[ATTEMPTS]} attempts`,
    item[INPUT] || item[OUTPUT] ? `${number(item[INPUT])} tokens in, ${number(item[OUTPUT])} out` : "",
  ].filter(Boolean).join(" · ");
  box.replaceChildren(head, element("p", "numbers", numbers));
  if (item[ERROR]) box.append(element("p", "error", item[ERROR]));
  box.append(panes(item));
  const more = element("details");
  more.append(element("summary", "", "Fields and prompts of all steps"), fieldsPane(item));
  for (const [step, messages] of Object.entries(item[PROMPTS])) more.append(promptPane(step, messages));
  box.append(more);
  box.scrollTop = 0;
}

// The answer, what is right and what the judge says of it, side by side beneath the prompt.
function panes(item) {
  const made = element("div", "panes");
  const first = Object.entries(item[PROMPTS])[0];
  const prompt = first ? promptPane(first[0], first[1]) : fieldsPane(item);
  prompt.classList.add("wide");
  made.append(prompt);
  for (const [step, output] of Object.entries(item[OUTPUTS])) {
    if (step !== page.judge) made.append(pane(`Output of ${step}`, asOutput(output)));
  }
  const reference = page.references.find((name) => asText(item[FIELDS][name] ?? "") !== "");
  if (reference) made.append(pane(`Reference (${reference})`, asText(item[FIELDS][reference])));
  if (page.judge in item[OUTPUTS] || item[REASON]) {
    const score = item[SCORE] === null ? "" : `, score ${number(item[SCORE])}`;
    const output = item[OUTPUTS][page.judge];
    const several = Array.isArray(output) || output === null;
    const text = several ? asOutput(output) : item[REASON] || (output === undefined ? "" : asOutput(output));
    made.append(pane(`${page.judge ? `Reason of ${page.judge}` : "Reason"}${score}`, text));
  }
  return made;
}

function promptPane(step, messages) {
  const made = element("div", "pane"), text = element("pre");
  for (const [role, words] of messages) {
    if (messages.length > 1) text.append(element("span", "role", role));
    text.append(words, messages.length > 1 ? "\n" : "");
  }
  const whole = messages.every(([role]) => !role.endsWith(" template"));
  made.append(element("h4", "", `${whole ? "Prompt" : "Prompt template"} of ${step}`), text);
  return made;
}

function fieldsPane(item) {
  const lines = Object.entries(item[FIELDS]).map(([name, value]) => `${name}: ${asText(value)}`);
  return pane("Fields", lines.join("\n"));
}

// Filters -------------------------------------------------------------------------------------

const commonest = (values) => counted(values).sort((a, b) => b[2] - a[2]);

function scoreOptions(specs) {
  const scores = [...new Set(items.map((item) => item[SCORE]))];
  const missing = scores.includes(null) ? [["none", "no score"]] : [];
  const values = scores.filter((score) => score !== null).sort((a, b) => a - b);
  if (values.length <= MANY_SCORES) return [...values.map((v) => [`${v}|${v}|1`, number(v)]), ...missing];
  const bins = specs.distribution?.data.values ?? [];
  return [...bins.map((bin, i) => [`${bin.low}|${bin.high}|${Number(i === bins.length - 1)}`, bin.score]), ...missing];
}

function show(id, value) {
  const select = byId(id);
  if (![...select.options].some((option) => option.value === value)) return;
  select.value = value;
  filter();
  byId("items").scrollIntoView();
}

// The first item that does not pass is what people look for.
function openFirst() {
  const place = (wanted) => found.findIndex((i) => wanted(items[i]));
  const failing = place((item) => item[PASSED] === false);
  const failed = failing < 0 ? place((item) => item[STATUS] !== "ok") : failing;
  choose(Math.max(0, failed), { own: true });
}

function openLinked() {
  const wanted = /^#item=(.*)$/.exec(location.hash);
  if (!wanted) return;
  let id;
  try { id = decodeURIComponent(wanted[1]); } catch { return; }
  let place = found.findIndex((i) => items[i][ID] === id);
  if (place < 0) {
    byId("clear").form.reset();
    filter();
    place = found.findIndex((i) => items[i][ID] === id);
  }
  if (place < 0) {
    byId("detail").replaceChildren(element("p", "note", `No item ${id} in this page.`));
    return;
  }
  choose(place);
  byId("items").scrollIntoView();
}

function listen() {
  listenToFilters(["verdict", "score", "category", "status"], filter);
  let waiting = false;
  byId("list").addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  byId("list").addEventListener("keydown", (event) => {
    const here = found.indexOf(chosen);
    const to = { ArrowDown: here + 1, ArrowUp: Math.max(0, here - 1), Home: 0, End: found.length - 1,
      PageDown: Math.min(found.length - 1, here + 8), PageUp: Math.max(0, here - 8) }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", openLinked);
}

// Charts --------------------------------------------------------------------------------------

// A bar or a point of a chart shows its items.
function clicked(name, datum) {
  if (name === "groups" && "name" in datum) show("category", datum.name || NO_CATEGORY);
  if (name === "distribution") {
    const options = [...byId("score").options].map((option) => option.value);
    const start = `${datum.low}|${datum.high}|`;
    show("score", options.find((value) => value.startsWith(start)) ?? "");
  }
}

async function start() {
  const specs = parsed("specs");
  items = await readItems();
  fill("score", scoreOptions(specs));
  fill("category", page.group ? commonest(items.map((item) => item[CATEGORY] || NO_CATEGORY)) : []);
  fill("status", commonest(items.map((item) => item[STATUS])));
  listen();
  filter();
  openFirst();
  openLinked();
  document.documentElement.dataset.items = "ready";
  await drawCharts(specs, clicked);
}

start();
