// Refreshes, views and keys of the page.

import { callsView, pollCalls } from "./calls.js";
import { $, ago, exact, when } from "./elements.js";
import { mappingView } from "./mapping.js";
import { overview } from "./overview.js";
import { previewRecord } from "./preview.js";
import { fetchJson, problem } from "./requests.js";
import { frozen, linkTo, state } from "./snapshot.js";
import { syncView } from "./sync.js";

const WATCH_MILLISECONDS = 10000;

async function refresh() {
  if (frozen || state.reading) return;
  state.reading = true;
  $("refresh").disabled = true;
  $("age").textContent = "Reading…";
  const answer = await fetchJson("api/snapshot");
  state.reading = false;
  state.readAt = Date.now();
  $("refresh").disabled = false;
  state.stamp = answer.stamp ?? state.stamp;
  state.snapshot = answer.snapshot ?? state.snapshot;
  $("notice").replaceChildren(...(answer.problem ? [problem(answer.problem)] : []));
  draw();
}

// A sync in progress is read again after a while. It is visible only in warehouses with concurrent readers.
function isDue() {
  return (
    state.snapshot?.syncs.some((one) => one.status === "in_progress") && Date.now() - state.readAt > WATCH_MILLISECONDS
  );
}

// The stamp changes when a run ends on this machine. Only then the page reads the tables without a request of the user,
// because an open DuckDB file blocks other processes.
async function watch() {
  if (!document.hidden && !state.reading) {
    const { stamp, problem: failure } = await fetchJson("api/stamp");
    if (failure) $("notice").replaceChildren(problem(failure));
    else if (state.isLost || stamp !== state.stamp || isDue()) await refresh();
    state.isLost = Boolean(failure);
  }
  setTimeout(watch, 1000);
}

const VIEWS = { mapping: mappingView, sync: syncView, calls: callsView };

function draw() {
  const moved = state.view !== location.hash;
  state.view = location.hash;
  const [, view, id, record] = location.hash.split("/");
  for (const link of $("nav").children) {
    const isHere = link.getAttribute("href") === (view === "calls" ? "#/calls" : "#/");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!state.snapshot && view !== "calls") {
    $("age").textContent = "";
    if ($("notice").childElementCount) $("main").replaceChildren();
    return;
  }
  if (!moved && view === "calls") return drawAge();
  const key = document.activeElement?.dataset?.key;
  const scrolled = window.scrollY;
  const content = VIEWS[view] ? VIEWS[view](decoded(id)) : overview();
  $("main").replaceChildren(...content.filter(Boolean));
  const heading = $("main").querySelector("h1");
  document.title = `${VIEWS[view] ? heading.firstChild.textContent : state.snapshot.project} · dbt-segconn`;
  drawAge();
  if (!moved) {
    $("main")
      .querySelector(`[data-key="${CSS.escape(key ?? "")}"]`)
      ?.focus();
    window.scrollTo(0, scrolled);
  } else if (state.drawn) {
    heading.focus();
    window.scrollTo(0, 0);
    if (record && $("record")) previewRecord(decoded(record));
  }
  state.drawn = true;
}

// A link may be truncated within an escape sequence.
function decoded(text = "") {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
  const [, view, id] = location.hash.split("/");
  const sync = view === "sync" && state.snapshot?.syncs.find((one) => one.sync_id === decoded(id));
  if (view) location.hash = sync ? linkTo("mapping", sync.mapping_id) : "#/";
  return Boolean(view);
}

function handleKey(event) {
  const target = event.target;
  const isWriting = target.matches("input, select");
  if (event.key === "Escape" && isWriting) {
    target.blur();
    return true;
  }
  if (isWriting && !(["filter", "text"].includes(target.id) && event.key === "ArrowDown")) return false;
  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Escape: back,
    "/": () => {
      const input = $("filter") ?? $("text");
      input?.select();
      return Boolean(input);
    },
    r: () => {
      refresh();
      return true;
    },
  };
  return keys[event.key]?.() ?? false;
}

document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.defaultPrevented && handleKey(event))
    event.preventDefault();
});
window.addEventListener("hashchange", draw);
window.addEventListener("redraw", draw);
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
if (frozen) {
  for (const one of document.querySelectorAll(".live-only")) one.remove();
  draw();
} else {
  $("refresh").addEventListener("click", refresh);
  refresh().then(watch);
  pollCalls();
}
setInterval(() => {
  if (state.snapshot && !state.reading) drawAge();
}, 30000);
