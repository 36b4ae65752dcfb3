"use strict";
// Whatever a call holds reaches the page as text only: textContent, never markup.
const MOST = 500;
const TYPES = ["identify", "track", "group", "page", "screen"];
const $ = (id) => document.getElementById(id);

// entries: what the list shows, newest first. waiting: what has come since the pause.
const state = { entries: [], waiting: [], paused: false, live: false, session: "", last: 0, chosen: null, view: "pretty", type: "", stats: {} };

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

// A number that JavaScript cannot hold is kept as a BigInt, so that an identifier is shown as it was sent.
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value);
}

function nameOf(call) {
  return call.event || call.name || call.groupId || call.traits?.email || call.traits?.name || "";
}

function plain(value) {
  return value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value, (_, one) => typeof one === "bigint" ? String(one) : one) : String(value);
}

// --- the list

function row(entry) {
  const call = entry.call;
  const when = new Date(call.receivedAt);
  const time = element("time", "", when.toLocaleTimeString());
  time.dateTime = time.title = call.receivedAt;
  const made = element("li", entry.dropped ? "is-dropped" : "",
    element("span", `kind ${TYPES.includes(call.type) ? call.type : ""}`, plain(call.type) || "no type"),
    element("span", "name", plain(nameOf(call)) || "—"),
    element("span", "user", plain(call.userId || call.anonymousId) || "—"),
    time);
  if (entry.dropped) made.append(element("span", "why", `Dropped: ${entry.dropped}`));
  made.id = `call-${entry.number}`;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(entry.number === state.chosen?.number));
  made.entry = entry;
  return made;
}

function gap(count) {
  const made = element("li", "gap", `${count.toLocaleString()} more came here than are shown. Filter to find them.`);
  made.setAttribute("role", "presentation");
  return made;
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
  const filtered = Boolean(state.type || $("text").value || pressed("only-dropped"));
  $("empty").hidden = $("list").childElementCount > 0 || !state.live;
  $("empty-title").textContent = filtered ? "No call fits the filter" : "No calls yet";
  $("empty-hint").hidden = $("example").hidden = filtered;
}

function drawHeader() {
  for (const name of ["accepted", "dropped", "requests"]) $(name).textContent = (state.stats[name] ?? 0).toLocaleString();
  for (const name of ["let_go", "not_logged"]) {
    $(name).textContent = (state.stats[name] ?? 0).toLocaleString();
    $(name).parentElement.hidden = !state.stats[name];
  }
  $("dropped").className = state.stats.dropped ? "bad" : "";
  for (const chip of $("types").children) {
    const count = chip.dataset.type ? state.stats.by_type?.[chip.dataset.type] : state.stats.received;
    chip.lastElementChild.textContent = (count ?? 0).toLocaleString();
    chip.setAttribute("aria-pressed", String(chip.dataset.type === state.type));
  }
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
  node?.scrollIntoView({ block: "nearest" });
  if (node) $("list").setAttribute("aria-activedescendant", node.id);
  else $("list").removeAttribute("aria-activedescendant");
  drawDetail();
}

function drawDetail() {
  const entry = state.chosen;
  $("detail").hidden = !entry;
  if (!entry) return;
  $("reason").hidden = !entry.dropped;
  $("reason").textContent = entry.dropped ? `Dropped: ${entry.dropped}` : "";
  $("body").replaceChildren(state.view === "pretty" ? pretty(entry.call) : element("pre", "", entry.text));
  $("body").setAttribute("aria-labelledby", state.view);
  for (const view of ["pretty", "raw"]) {
    $(view).setAttribute("aria-selected", String(state.view === view));
    $(view).tabIndex = state.view === view ? 0 : -1;
  }
}

// The call's own fields first, then each of its objects as a table of dotted paths.
function pretty(call) {
  const isObject = (value) => value !== null && typeof value === "object";
  const own = Object.entries(call).filter(([, value]) => !isObject(value));
  const objects = Object.entries(call).filter(([, value]) => isObject(value));
  return element("div", "",
    table(own),
    ...objects.map(([name, value]) => element("section", "", element("h2", "", name), table(flat(value)))));
}

function flat(value, path = "") {
  const entries = Array.isArray(value) ? value.map((one, at) => [`${path}[${at}]`, one]) : Object.entries(value).map(([key, one]) => [path ? `${path}.${key}` : key, one]);
  return entries.flatMap(([key, one]) => one !== null && typeof one === "object" && Object.keys(one).length ? flat(one, key) : [[key, one]]);
}

function table(entries) {
  if (!entries.length) return element("p", "none", "empty");
  return element("dl", "", ...entries.map(([key, value]) => element("div", "", element("dt", "", key), cell(value))));
}

function cell(value) {
  if (value === null) return element("dd", "is-null", "null");
  if (typeof value === "object") return element("dd", "is-null", Array.isArray(value) ? "[]" : "{}");
  return element("dd", `is-${typeof value}`, value === "" ? '""' : String(value));
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
  const query = new URLSearchParams({ type: state.type, q: $("text").value, dropped: pressed("only-dropped") ? "true" : "" });
  const source = state.source = new EventSource(`live?${query}`);
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

const pressed = (id) => $(id).getAttribute("aria-pressed") === "true";

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

let typing;
function typed() {
  clearTimeout(typing);
  typing = setTimeout(listen, 120);
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
  const writing = target.matches("input"), button = target.matches("button, a");
  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    "/": !writing && (() => $("text").select()),
    " ": !writing && !button && (() => pause(!state.paused)),
  };
  keys[event.key] && keys[event.key]();
  return Boolean(keys[event.key]);
}

for (const type of ["", ...TYPES]) {
  const chip = element("button", `chip ${type}`, type || "all", element("b", "", "0"));
  chip.type = "button";
  chip.dataset.type = type;
  chip.addEventListener("click", () => { state.type = type; listen(); });
  $("types").append(chip);
}
$("example").textContent = `destinations:\n  app:\n    write_key: "{{ env_var('SEGMENT_WRITE_KEY') }}"\n    endpoint: ${location.origin}`;
$("list").addEventListener("click", (event) => {
  const entry = event.target.closest("[role=option]")?.entry;
  if (entry) choose(entry);
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("text").addEventListener("input", typed);
$("only-dropped").addEventListener("click", () => {
  $("only-dropped").setAttribute("aria-pressed", String(!pressed("only-dropped")));
  listen();
});
$("pause").addEventListener("click", () => pause(!state.paused));
$("clear").addEventListener("click", clear);
$("close").addEventListener("click", () => choose(null));
$("copy").addEventListener("click", copy);
for (const view of ["pretty", "raw"]) $(view).addEventListener("click", () => turn(view));
document.addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && pressedKey(event)) event.preventDefault();
});
listen();
