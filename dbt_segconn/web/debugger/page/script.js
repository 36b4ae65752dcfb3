"use strict";
// Whatever a call holds reaches the page as text only: textContent, never markup.
const MOST = 500;

// entries: what the list shows, newest first. waiting: what has come since the pause.
const state = { waiting: [], paused: false, live: false, session: "", last: 0, chosen: null, view: "pretty", query: {}, stats: { by_type: {} } };

// --- the list

function row(entry) {
  const made = element("li", { id: `call-${entry.number}`, className: entry.dropped ? "call is-dropped" : "call", role: "option", "aria-selected": String(entry.number === state.chosen?.number) },
    callCells(entry.call, entry.dropped));
  made.entry = entry;
  return made;
}

function gap(count) {
  return element("li", { className: "gap", role: "presentation" }, `${number(count)} more came here than are shown. Filter to find them.`);
}

// Only what is new is built, on top, so that the list stays where the reader has scrolled it to.
let fresh = [];
let drawing = false;

function draw(nodes = []) {
  fresh = [...nodes, ...fresh].slice(0, MOST);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    $("list").prepend(...fresh);
    fresh = [];
    while ($("list").childElementCount > MOST) $("list").lastElementChild.remove();
    drawEmpty();
    drawHeader();
  });
}

function drawEmpty() {
  $("empty").hidden = $("list").childElementCount > 0 || !state.live;
  $("empty-title").textContent = isFiltered(state.query) ? "No call fits the filter" : "No calls yet";
  $("empty-hint").hidden = $("example").hidden = isFiltered(state.query);
}

function drawHeader() {
  for (const name of ["accepted", "dropped", "requests", "let_go", "not_logged"]) $(name).textContent = number(state.stats[name]);
  for (const name of ["let_go", "not_logged"]) $(name).parentElement.hidden = !state.stats[name];
  $("dropped").className = state.stats.dropped ? "bad" : "";
  countTypes(state.stats);
  const waiting = state.waiting.length;
  const paused = waiting ? `Paused · ${waiting >= MOST ? `${MOST}+` : waiting} new` : "Paused";
  $("state").className = !state.live ? "lost" : state.paused ? "paused" : "live";
  $("state").textContent = !state.live ? "The debugger does not answer" : state.paused ? paused : "Live";
}

function empty() {
  state.waiting = [];
  fresh = [];
  $("list").replaceChildren();
}

// --- one call

function choose(entry) {
  state.chosen = entry;
  for (const one of $("list").querySelectorAll("[aria-selected=true]")) one.setAttribute("aria-selected", "false");
  const node = entry && $(`call-${entry.number}`);
  node?.setAttribute("aria-selected", "true");
  if (node) $("list").setAttribute("aria-activedescendant", node.id);
  else $("list").removeAttribute("aria-activedescendant");
  drawDetail();
  node?.scrollIntoView({ block: "nearest" });
}

function drawDetail() {
  const entry = state.chosen;
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
  const at = rows.findIndex((one) => one.entry.number === state.chosen?.number);
  choose(rows[at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)].entry);
}

async function copy() {
  try {
    await navigator.clipboard.writeText(state.chosen.text);
    $("copy").textContent = "Copied";
  } catch {
    $("copy").textContent = "Not allowed";
  }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
}

// --- the stream

function listen() {
  state.source?.close();
  empty();
  state.last = 0;
  const source = state.source = new EventSource(`live?${new URLSearchParams(state.query)}`);
  source.onerror = () => { state.live = false; draw(); };
  source.onmessage = (message) => receive(JSON.parse(message.data));
}

function receive({ session, stats, calls, skipped }) {
  if (session !== state.session) {
    // Cleared, here or in another window, or the debugger was started anew and counts from 1 again.
    if (state.session) { empty(); choose(null); }
    state.session = session;
    state.last = 0;
  }
  state.live = true;
  state.stats = stats;
  // A stream that is taken up again starts from its beginning.
  const news = calls.filter((one) => one.number > state.last).map((one) => ({ ...one, call: parse(one.text) }));
  const nodes = news.map(row);
  if (skipped && news.length === calls.length) nodes.push(gap(skipped));
  state.last = news[0]?.number ?? state.last;
  if (state.paused) state.waiting = [...nodes, ...state.waiting].slice(0, MOST);
  draw(state.paused ? [] : nodes);
}

// --- what the user does

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

function turn(view) {
  state.view = view;
  drawDetail();
}

function pressedKey(event) {
  const target = event.target;
  if (event.key === "Escape") {
    if (target === $("text")) $("list").focus(); else choose(null);
    return true;
  }
  if (target.matches("[role=tab]") && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    turn(state.view === "pretty" ? "raw" : "pretty");
    $(state.view).focus();
    return true;
  }
  const writing = target.matches("input"), button = target.matches("button, a"), scrolls = target.closest("#body");
  const keys = {
    ArrowDown: !scrolls && (() => move(1)),
    ArrowUp: !scrolls && (() => move(-1)),
    "/": !writing && (() => $("text").select()),
    " ": !writing && !button && (() => pause(!state.paused)),
  };
  keys[event.key] && keys[event.key]();
  return Boolean(keys[event.key]);
}

const action = (id, text, onclick, attributes = {}) => element("button", { id, type: "button", onclick, ...attributes }, text);
document.querySelector("header").after(callFilters((query) => { state.query = query; listen(); },
  action("pause", "Pause", () => pause(!state.paused), { "aria-pressed": "false", "aria-keyshortcuts": "Space" }),
  action("clear", "Clear", clear)));
$("calls").prepend(callHeads());
$("example").textContent = `destinations:\n  app:\n    write_key: "{{ env_var('SEGMENT_WRITE_KEY') }}"\n    endpoint: ${location.origin}`;
$("list").addEventListener("click", (event) => {
  const entry = event.target.closest("[role=option]")?.entry;
  if (entry) choose(entry);
});
$("close").addEventListener("click", () => choose(null));
$("copy").addEventListener("click", copy);
for (const view of ["pretty", "raw"]) $(view).addEventListener("click", () => turn(view));
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && pressedKey(event)) event.preventDefault();
});
listen();
