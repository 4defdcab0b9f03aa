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
function pane(title, text) {
  const made = element("div", "pane");
  made.append(element("h4", "", title), element("pre", "", text));
  return made;
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

async function drawCharts(specs, clicked = () => {}) {
  for (const [name, spec] of Object.entries(specs)) {
    // ast: expressions are interpreted, not compiled, so that the page needs no eval.
    const made = await vegaEmbed(byId(`chart-${name}`), spec, {
      actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
    });
    made.view.addEventListener("click", (_, mark) => { if (mark?.datum) clicked(name, mark.datum); });
  }
  document.documentElement.dataset.charts = "drawn";
}

