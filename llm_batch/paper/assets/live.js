const MILLISECONDS = 1000, SLOWLY = 5000;

function facts(rows) {
  byId("facts").replaceChildren(...rows.map(([name, figure, more]) => {
    const made = element("div"), value = element("dd", "", figure);
    value.append(element("small", "", more));
    made.append(element("dt", "", name), value);
    return made;
  }));
}

function interval(bar) {
  byId("interval").toggleAttribute("hidden", !bar);
  byId("ends").hidden = !bar;
  if (!bar) return;
  const [, range, value] = byId("interval").children;
  range.setAttribute("x", bar.low);
  range.setAttribute("width", bar.width);
  value.setAttribute("x", bar.value);
  value.setAttribute("width", 3);
}

function latest(items) {
  byId("failing").hidden = !items.length;
  byId("latest").replaceChildren(...items.map(({ id, status, score, passed, text }) => {
    const made = element("li"), head = element("p"), note = element("p", "note");
    head.append(element("b", "", id), verdictBadge(status, score, passed));
    inline(note, text);
    made.append(head, note);
    return made;
  }));
}

function show(state) {
  byId("figure").textContent = state.figure;
  byId("what").textContent = state.what;
  byId("bounds").textContent = state.bounds;
  byId("simulated").hidden = !state.simulated;
  byId("status").textContent = state.status;
  byId("progress").max = state.planned || 1;
  byId("progress").value = state.done;
  interval(state.bar);
  facts(state.facts);
  latest(state.latest);
  document.title = `${[state.figure, state.what].join(" ")} (${state.done.toLocaleString("en")} items)`;
}

async function follow() {
  let wait = MILLISECONDS;
  try {
    if (!document.hidden) {
      const answer = await fetch("state.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const state = await answer.json();
      if (!state.running && page.running) return location.reload();
      show(state);
      if (!state.running) wait = SLOWLY;
      document.documentElement.dataset.live = "shown";
    }
  } catch {
    byId("status").textContent = "llmb view does not answer: it was ended, or this machine slept. These are its last figures.";
    wait = SLOWLY;
  }
  setTimeout(follow, wait);
}

follow();
