"use strict";
// The debugger's live calls.

function callsView() {
  state.query = {};
  return [
    element("h1", { tabindex: "-1" }, "Live calls"),
    element("p", { className: "none" }, "What the local stand-in for Segment receives, newest first: ", element("a", { id: "debugger", target: "_blank", rel: "noreferrer" }, "the debugger")),
    callFilters((query) => { state.query = { ...query }; readCalls(); }),
    element("p", { id: "received", className: "readout", role: "status" }),
    element("div", { id: "calls" }, none("Asking the debugger…")),
  ];
}

async function listen() {
  if (state.view === "#/calls" && !document.hidden) await readCalls();
  setTimeout(listen, 1000);
}

async function readCalls() {
  const asked = state.query;
  const answer = await fetched("api/calls", asked);
  if (state.view === "#/calls" && asked === state.query) drawCalls(answer);
}

function drawCalls({ url, problem: lost, calls, counts }) {
  if (url) { $("debugger").href = url; $("debugger").textContent = url; }
  $("received").replaceChildren(...(lost ? [] : readout(counts, calls)));
  if (lost) return $("calls").replaceChildren(problem(lost));
  countTypes(counts);
  if (!calls.length) return $("calls").replaceChildren(none(isFiltered(state.query) ? "No call fits the filter." : "No calls yet."));
  if (!$("received-calls")) $("calls").replaceChildren(element("div", { className: "calls" }, callHeads(), element("div", { id: "received-calls", role: "list" })));
  place($("received-calls"), calls);
}

function readout({ accepted, dropped }, calls) {
  return [`${counted(accepted, "call")} accepted`, element("span", { className: dropped ? "bad" : "soft" }, `${number(dropped)} dropped`),
    element("span", { className: "soft" }, `${number(calls.length)} shown`)];
}

// A row that stays is not moved, so that the reader keeps the focus and what is unfolded.
function place(list, calls) {
  const known = new Map([...list.children].map((row) => [row.text, row]));
  const rows = calls.map((one) => known.get(`${one.number} ${one.text}`) ?? callRow(one));
  const kept = new Set(rows);
  for (const row of [...list.children]) if (!kept.has(row)) row.remove();
  rows.forEach((row, at) => { if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null); });
}

function callRow({ number: at, dropped, text }) {
  const call = parse(text);
  const made = element("details", {}, element("summary", { className: "call", "data-key": `call-${at}` }, callCells(call, dropped)));
  made.addEventListener("toggle", () => { if (made.childElementCount === 1) made.append(element("div", { className: "values" }, callValues(call))); });
  const row = element("div", { role: "listitem", className: dropped ? "is-dropped" : false }, made);
  row.text = `${at} ${text}`;
  return row;
}
