"use strict";
// Everything that a call holds reaches the page as text only.
const MOST = 500;
const $ = (id) => document.getElementById(id);
const state = { calls: [], paused: false, chosen: null, view: "pretty", drawing: false };

function nameOf(call) {
  return call.event || call.name || call.groupId || (call.traits && call.traits.email) || "";
}

function fits(entry) {
  const type = $("type").value, text = $("text").value.toLowerCase();
  return (!type || entry.call.type === type)
    && (!$("only-dropped").checked || entry.dropped)
    && (!text || (entry.text ??= JSON.stringify(entry.call).toLowerCase()).includes(text));
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function row(entry) {
  const call = entry.call, made = element("li", entry.dropped ? "is-dropped" : "", "");
  made.id = `call-${entry.number}`;
  made.dataset.number = entry.number;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(entry.number === state.chosen));
  const time = element("time", "", new Date(call.receivedAt).toLocaleTimeString());
  time.dateTime = call.receivedAt;
  const kinds = ["identify", "track", "group", "page", "screen"];
  made.append(
    element("span", `kind ${kinds.includes(call.type) ? call.type : ""}`, String(call.type)),
    element("span", "name", String(nameOf(call))),
    element("span", "user", String(call.userId || call.anonymousId || "")),
    time,
  );
  if (entry.dropped) made.append(element("span", "why", `Dropped: ${entry.dropped}`));
  return made;
}

function draw() {
  if (state.drawing) return;
  state.drawing = true;
  requestAnimationFrame(() => {
    state.drawing = false;
    const shown = state.calls.filter(fits).slice(0, MOST);
    $("list").replaceChildren(...shown.map(row));
    $("list").setAttribute("aria-activedescendant", state.chosen ? `call-${state.chosen}` : "");
    $("empty").hidden = shown.length > 0;
    drawDetail();
  });
}

function drawDetail() {
  const entry = state.calls.find((one) => one.number === state.chosen);
  $("detail").hidden = !entry;
  if (!entry) return;
  $("reason").hidden = !entry.dropped;
  $("reason").textContent = entry.dropped ? `Dropped: ${entry.dropped}` : "";
  $("body").textContent = state.view === "pretty" ? JSON.stringify(entry.call, null, 2) : JSON.stringify(entry.call);
  for (const view of ["pretty", "raw"]) $(view).setAttribute("aria-selected", String(state.view === view));
}

function choose(number) {
  state.chosen = number;
  draw();
}

function move(step) {
  const numbers = [...$("list").children].map((one) => Number(one.dataset.number));
  if (!numbers.length) return;
  const at = numbers.indexOf(state.chosen);
  const next = at < 0 ? 0 : Math.min(Math.max(at + step, 0), numbers.length - 1);
  choose(numbers[next]);
  requestAnimationFrame(() => requestAnimationFrame(() => $(`call-${numbers[next]}`)?.scrollIntoView({ block: "nearest" })));
}

function pause(paused) {
  state.paused = paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").textContent = paused ? "Resume" : "Pause";
  $("state").className = paused ? "paused" : "live";
  $("state").textContent = paused ? "Paused" : "Live";
  if (paused) state.source?.close(); else listen();
}

function listen() {
  state.source?.close();
  const source = state.source = new EventSource(`live?after=${state.calls[0]?.number ?? 0}`);
  source.onopen = () => { $("state").className = "live"; $("state").textContent = "Live"; };
  source.onerror = () => { $("state").className = ""; $("state").textContent = "The debugger does not answer"; };
  source.onmessage = (message) => {
    const { stats, calls } = JSON.parse(message.data);
    for (const name of ["accepted", "dropped", "requests"]) $(name).textContent = stats[name].toLocaleString();
    const newest = state.calls[0]?.number ?? 0;
    state.calls = [...calls.filter((one) => one.number > newest), ...state.calls].slice(0, 5000);
    draw();
  };
}

async function clear() {
  await fetch("events", { method: "DELETE" });
  state.calls = [];
  state.chosen = null;
  draw();
}

$("list").addEventListener("click", (event) => {
  const item = event.target.closest("li");
  if (item) choose(Number(item.dataset.number));
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["type", "text", "only-dropped"]) $(id).addEventListener("input", draw);
$("pause").addEventListener("click", () => pause(!state.paused));
$("clear").addEventListener("click", clear);
$("close").addEventListener("click", () => choose(null));
$("copy").addEventListener("click", () => navigator.clipboard?.writeText($("body").textContent));
for (const view of ["pretty", "raw"]) $(view).addEventListener("click", () => { state.view = view; drawDetail(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if (document.activeElement === $("text")) $("text").blur(); else choose(null);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, button")) return;
  const keys = { ArrowDown: () => move(1), ArrowUp: () => move(-1), "/": () => $("text").focus(), " ": () => pause(!state.paused) };
  if (keys[event.key]) {
    event.preventDefault();
    keys[event.key]();
  }
});
listen();
