// What both pages do. Everything from the data is set as text (textContent, setAttribute), never as
// markup.
const byId = (id) => document.getElementById(id);
const parsed = (id) => JSON.parse(byId(id).textContent);
const page = parsed("page-data");
const NO_CATEGORY = "(none)";

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Name and text of one part among several side by side.
function pane(title, text, className = "") {
  const made = element("div", `pane ${className}`);
  made.append(element("h4", "", title), prose(text));
  return made;
}

// A text whose code, between single backticks or fences of three, is drawn as such. Every character
// stays in the text: marks are only hidden from the eye, so that copying gives what was said.
function prose(text) {
  const made = element("pre");
  const fences = text.split("```");
  fences.forEach((part, place) => {
    if (place % 2 && place < fences.length - 1) made.append(code("```", part, "block"));
    else {
      if (place % 2) made.append("```");
      inline(made, part);
    }
  });
  return made;
}

function inline(made, text) {
  const parts = text.split("`");
  parts.forEach((part, place) => {
    if (!(place % 2)) made.append(part);
    else if (place < parts.length - 1 && part) made.append(code("`", part, ""));
    else made.append("`" + part + (place < parts.length - 1 ? "`" : ""));
  });
}

function code(marks, text, className) {
  const made = element("code", className);
  made.append(element("span", "mark", marks), text, element("span", "mark", marks));
  return made;
}

// Items ---------------------------------------------------------------------------------------

async function readItems() {
  const block = byId("items-data");
  if (block.type.endsWith("json")) return JSON.parse(block.textContent);
  const text = atob(block.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  block.remove();
  return JSON.parse(await new Response(plain).text());
}

// What is looked through of each item, in lower case and made when first searched for: that of
// 30,000 items takes a moment and memory.
function searching(textOf) {
  const known = [];
  return (item, i, words) => words.every((word) => (known[i] ??= textOf(item).toLowerCase()).includes(word));
}

const number = (value) => Number(value.toPrecision(6)).toLocaleString("en");

function verdictBadge(status, score, passed) {
  if (status !== "ok") return element("span", "badge failed", status);
  const verdict = passed === null ? "" : passed ? "pass" : "fail";
  const shown = score === null ? "" : number(score);
  return element("span", `badge ${verdict}`, [verdict, shown].filter(Boolean).join(" · ") || "ok");
}

// How often each value is there, as an option of a filter.
function counted(values, title = (value) => value) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].map(([value, n]) => [value, `${title(value)} (${n.toLocaleString("en")})`, n]);
}

// A filter with a single choice is none.
function fill(id, values) {
  const select = byId(id);
  for (const [value, text] of values) {
    const option = element("option", "", text);
    option.value = value;
    select.append(option);
  }
  select.closest("label").hidden = select.options.length <= 2;
}

const wordsSought = () => byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);

function tellCount(shown, all, what) {
  const total = all.toLocaleString("en");
  byId("count").textContent = shown === all
    ? `${total} ${what}` : `${shown.toLocaleString("en")} of ${total} ${what}`;
}

function listenToFilters(ids, filter) {
  let timer = 0;
  byId("search").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 100);
  });
  for (const id of ids) byId(id).addEventListener("change", filter);
  const form = byId("clear").form;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter, 0));
}

// In the font of the page, which room for their texts is measured in.
async function drawCharts(specs, clicked = () => {}) {
  const font = getComputedStyle(document.body).fontFamily;
  for (const [name, spec] of Object.entries(specs)) {
    spec.config.font = font;
    // ast: expressions are interpreted, not compiled, so that the page needs no eval.
    const made = await vegaEmbed(byId(`chart-${name}`), spec, {
      actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
    });
    made.view.addEventListener("click", (_, mark) => { if (mark?.datum) clicked(name, mark.datum); });
  }
  document.documentElement.dataset.charts = "drawn";
}


// A table that is wider than its place says so, as the edge of one that is cut off tells nothing.
function watchTables() {
  const look = (box) => box.classList.toggle("more", box.scrollWidth > box.clientWidth + 1);
  const watch = new ResizeObserver((seen) => seen.forEach(({ target }) => look(target)));
  for (const box of document.querySelectorAll(".scroll")) watch.observe(box);
}

watchTables();
