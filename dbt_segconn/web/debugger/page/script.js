// The debugger's page. Data is set as textContent, never as markup.

import { callCells, callFilters, callHeads, callValues, countTypes, isFiltered } from "./call.js";
import { $, element, number, parse } from "./elements.js";

const MAX_ROWS = 500;

// waiting: rows that arrived during the pause, newest first.
const state = {
  waiting: [],
  paused: false,
  live: false,
  session: "",
  last: 0,
  selected: null,
  view: "pretty",
  query: {},
  stats: { by_type: {} },
};

// --- the list

function row(entry) {
  const node = element(
    "li",
    {
      id: `call-${entry.number}`,
      className: entry.dropped ? "call is-dropped" : "call",
      role: "option",
      "aria-selected": String(entry.number === state.selected?.number),
    },
    callCells(entry.call, entry.dropped),
  );
  node.entry = entry;
  return node;
}

function gap(count) {
  return element(
    "li",
    { className: "gap", role: "presentation" },
    `${number(count)} calls are not shown here. Filter to find them.`,
  );
}

// Only new rows are built and prepended, so that the scroll position stays.
let newRows = [];
let drawing = false;

function draw(nodes = []) {
  newRows = [...nodes, ...newRows].slice(0, MAX_ROWS);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    $("list").prepend(...newRows);
    newRows = [];
    while ($("list").childElementCount > MAX_ROWS) $("list").lastElementChild.remove();
    drawEmpty();
    drawHeader();
  });
}

function drawEmpty() {
  $("empty").hidden = $("list").childElementCount > 0 || !state.live;
  $("empty-title").textContent = isFiltered(state.query) ? "No call matches the filter" : "No calls yet";
  for (const id of ["empty-hint", "example"]) $(id).hidden = isFiltered(state.query);
}

function drawHeader() {
  for (const name of ["accepted", "dropped", "requests", "evicted", "not_logged"])
    $(name).textContent = number(state.stats[name]);
  for (const name of ["evicted", "not_logged"]) $(name).parentElement.hidden = !state.stats[name];
  $("dropped").className = state.stats.dropped ? "bad" : "";
  countTypes(state.stats);
  const waiting = state.waiting.length;
  const paused = waiting ? `Paused · ${waiting >= MAX_ROWS ? `${MAX_ROWS}+` : waiting} new` : "Paused";
  $("state").className = !state.live ? "lost" : state.paused ? "paused" : "live";
  $("state").textContent = !state.live ? "The debugger does not answer" : state.paused ? paused : "Live";
}

function emptyList() {
  state.waiting = [];
  newRows = [];
  $("list").replaceChildren();
}

// --- one call

function select(entry) {
  state.selected = entry;
  for (const one of $("list").querySelectorAll("[aria-selected=true]")) one.setAttribute("aria-selected", "false");
  const node = entry && $(`call-${entry.number}`);
  node?.setAttribute("aria-selected", "true");
  if (node) $("list").setAttribute("aria-activedescendant", node.id);
  else $("list").removeAttribute("aria-activedescendant");
  drawDetail();
  node?.scrollIntoView({ block: "nearest" });
}

function drawDetail() {
  const entry = state.selected;
  $("detail").hidden = !entry;
  if (!entry) return;
  $("reason").hidden = !entry.dropped;
  $("reason").textContent = entry.dropped ? `Dropped: ${entry.dropped}` : "";
  $("body").replaceChildren(...(state.view === "pretty" ? callValues(entry.call) : [element("pre", {}, entry.text)]));
  $("body").setAttribute("aria-labelledby", state.view);
  for (const view of ["pretty", "raw"]) {
    $(view).setAttribute("aria-selected", String(state.view === view));
    $(view).tabIndex = state.view === view ? 0 : -1;
  }
}

function move(step) {
  const rows = [...$("list").querySelectorAll("[role=option]")];
  if (!rows.length) return;
  const at = rows.findIndex((one) => one.entry.number === state.selected?.number);
  select(rows[at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)].entry);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(state.selected.text);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Copy failed";
  }
  setTimeout(() => {
    $("copy").textContent = "Copy";
  }, 1500);
}

// --- the stream

function connect() {
  state.source?.close();
  emptyList();
  state.last = 0;
  const source = new EventSource(`live?${new URLSearchParams(state.query)}`);
  state.source = source;
  source.onerror = () => {
    state.live = false;
    draw();
  };
  source.onmessage = (message) => receive(JSON.parse(message.data));
}

function receive({ session, stats, calls, skipped }) {
  if (session !== state.session) {
    // The calls were cleared, or the debugger restarted and counts from 1.
    if (state.session) {
      emptyList();
      select(null);
    }
    state.session = session;
    state.last = 0;
  }
  state.live = true;
  state.stats = stats;
  // A reconnected stream starts from the beginning.
  const newCalls = calls.filter((one) => one.number > state.last).map((one) => ({ ...one, call: parse(one.text) }));
  const nodes = newCalls.map(row);
  if (skipped && newCalls.length === calls.length) nodes.push(gap(skipped));
  state.last = newCalls[0]?.number ?? state.last;
  if (state.paused) state.waiting = [...nodes, ...state.waiting].slice(0, MAX_ROWS);
  draw(state.paused ? [] : nodes);
}

// --- input

function pause(paused) {
  state.paused = paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Resume" : "Pause";
  const nodes = paused ? [] : state.waiting;
  if (!paused) state.waiting = [];
  draw(nodes);
}

async function clear() {
  await fetch("events", { method: "DELETE" });
}

function showView(view) {
  state.view = view;
  drawDetail();
}

function handleKey(event) {
  const target = event.target;
  if (event.key === "Escape") {
    if (target === $("text")) $("list").focus();
    else select(null);
    return true;
  }
  if (target.matches("[role=tab]") && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    showView(state.view === "pretty" ? "raw" : "pretty");
    $(state.view).focus();
    return true;
  }
  const writing = target.matches("input");
  const button = target.matches("button, a");
  const scrolls = target.closest("#body");
  const keys = {
    ArrowDown: !scrolls && (() => move(1)),
    ArrowUp: !scrolls && (() => move(-1)),
    "/": !writing && (() => $("text").select()),
    " ": !writing && !button && (() => pause(!state.paused)),
  };
  if (!keys[event.key]) return false;
  keys[event.key]();
  return true;
}

const action = (id, text, onclick, attributes = {}) =>
  element("button", { id, type: "button", onclick, ...attributes }, text);
document.querySelector("header").after(
  callFilters(
    (query) => {
      state.query = query;
      connect();
    },
    action("pause", "Pause", () => pause(!state.paused), { "aria-pressed": "false", "aria-keyshortcuts": "Space" }),
    action("clear", "Clear", clear),
  ),
);
$("calls").prepend(callHeads());
$("example").textContent =
  `destinations:\n  app:\n    write_key: "{{ env_var('SEGMENT_WRITE_KEY') }}"\n    endpoint: ${location.origin}`;
$("list").addEventListener("click", (event) => {
  const entry = event.target.closest("[role=option]")?.entry;
  if (entry) select(entry);
});
$("close").addEventListener("click", () => select(null));
$("copy").addEventListener("click", copy);
for (const view of ["pretty", "raw"]) $(view).addEventListener("click", () => showView(view));
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && handleKey(event)) event.preventDefault();
});
connect();
