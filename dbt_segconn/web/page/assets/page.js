"use strict";
// What is asked of the server, drawing, and keys.

const WATCH_MILLISECONDS = 10000;

async function fetched(path, query = {}) {
  try {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    return answer.ok ? parse(await answer.text()) : { problem: { title: `dbt-segconn ui failed to answer (HTTP status ${answer.status}).`, lines: [] } };
  } catch {
    return { problem: { title: "dbt-segconn ui does not answer. Is it still running?", lines: [] } };
  }
}

function problem({ title, lines }) {
  return element("div", { className: "problem" }, element("strong", {}, title),
    lines.length > 1 ? element("ul", {}, lines.map((one) => element("li", {}, worded(one)))) : lines.map((one) => element("p", {}, worded(one))));
}

async function refresh() {
  if (frozen || state.reading) return;
  state.reading = true;
  $("refresh").disabled = true;
  $("age").textContent = "Reading…";
  const answer = await fetched("api/snapshot");
  state.reading = false;
  state.readAt = Date.now();
  $("refresh").disabled = false;
  state.stamp = answer.stamp ?? state.stamp;
  state.snapshot = answer.snapshot ?? state.snapshot;
  $("notice").replaceChildren(...(answer.problem ? [problem(answer.problem)] : []));
  draw();
}

// A sync in progress is watched; where it can be seen at all, the warehouse lets others read meanwhile.
function isDue() {
  return state.snapshot?.syncs.some((one) => one.status === "in_progress") && Date.now() - state.readAt > WATCH_MILLISECONDS;
}

// A run that ends on this machine writes its artifact: the page then reads the tables at once, before another process
// needs them. Else it never looks by itself, because to look at a DuckDB file keeps others out of it.
async function watch() {
  if (!document.hidden && !state.reading) {
    const { stamp, problem: lost } = await fetched("api/stamp");
    if (lost) $("notice").replaceChildren(problem(lost));
    else if (state.isLost || stamp !== state.stamp || isDue()) await refresh();
    state.isLost = Boolean(lost);
  }
  setTimeout(watch, 1000);
}

const VIEWS = { mapping: mappingView, sync: syncView, calls: callsView };

function draw() {
  const moved = state.view !== location.hash;
  state.view = location.hash;
  const [, kind, id, record] = location.hash.split("/");
  for (const link of $("nav").children) {
    const isHere = link.getAttribute("href") === (kind === "calls" ? "#/calls" : "#/");
    if (isHere) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!state.snapshot && kind !== "calls") {
    $("age").textContent = "";
    if ($("notice").childElementCount) $("main").replaceChildren();
    return;
  }
  if (!moved && kind === "calls") return drawAge();
  const key = document.activeElement?.dataset?.key;
  const scrolled = window.scrollY;
  const content = VIEWS[kind] ? VIEWS[kind](decoded(id)) : overview();
  $("main").replaceChildren(...content.filter(Boolean));
  const heading = $("main").querySelector("h1");
  document.title = `${VIEWS[kind] ? heading.firstChild.textContent : state.snapshot.project} · dbt-segconn`;
  drawAge();
  if (!moved) {
    $("main").querySelector(`[data-key="${CSS.escape(key ?? "")}"]`)?.focus();
    window.scrollTo(0, scrolled);
  } else if (state.drawn) {
    heading.focus();
    window.scrollTo(0, 0);
    if (record && $("record")) askFor(decoded(record));
  }
  state.drawn = true;
}

// The end of a link may have been cut.
function decoded(text = "") {
  try { return decodeURIComponent(text); } catch { return text; }
}

function drawAge() {
  if (!state.snapshot) return;
  $("project").textContent = state.snapshot.project;
  $("version").textContent = `dbt-segconn ${state.snapshot.dbt_segconn_version}`;
  $("age").replaceChildren(frozen ? "As of " : "Read ", when(state.snapshot.generated_at, frozen ? exact : ago));
}

function move(step) {
  const all = [...$("main").querySelectorAll("a.open, .calls summary")];
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.focus();
  return Boolean(next);
}

function back() {
  const [, kind, id] = location.hash.split("/");
  const sync = kind === "sync" && state.snapshot?.syncs.find((one) => one.sync_id === decoded(id));
  if (kind) location.hash = sync ? linkTo("mapping", sync.mapping_id) : "#/";
  return Boolean(kind);
}

function pressed(event) {
  const target = event.target;
  const isWriting = target.matches("input, select");
  if (event.key === "Escape" && isWriting) { target.blur(); return true; }
  if (isWriting && !(["filter", "text"].includes(target.id) && event.key === "ArrowDown")) return false;
  const keys = {
    ArrowDown: () => move(1), ArrowUp: () => move(-1), Escape: back,
    "/": () => { const input = $("filter") ?? $("text"); input?.select(); return Boolean(input); },
    r: () => { refresh(); return true; },
  };
  return keys[event.key]?.() ?? false;
}

document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.defaultPrevented && pressed(event)) event.preventDefault();
});
window.addEventListener("hashchange", draw);
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
if (frozen) {
  for (const one of document.querySelectorAll(".live-only")) one.remove();
  draw();
} else {
  $("refresh").addEventListener("click", refresh);
  refresh().then(watch);
  listen();
}
setInterval(() => { if (state.snapshot && !state.reading) drawAge(); }, 30000);
