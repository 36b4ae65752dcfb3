// The live calls of the debugger.

import { callCells, callFilters, callHeads, callValues, countTypes, isFiltered } from "./call.js";
import { $, counted, element, none, number, parse } from "./elements.js";
import { fetchJson, problem } from "./requests.js";
import { state } from "./snapshot.js";

export function callsView() {
  state.query = {};
  return [
    element("h1", { tabindex: "-1" }, "Live calls"),
    element(
      "p",
      { className: "none" },
      "Calls that the local stand-in for Segment receives, newest first: ",
      element("a", { id: "debugger", target: "_blank", rel: "noreferrer" }, "the debugger"),
    ),
    callFilters((query) => {
      state.query = { ...query };
      readCalls();
    }),
    element("p", { id: "received", className: "readout", role: "status" }),
    element("div", { id: "calls" }, none("Reading calls…")),
  ];
}

export async function pollCalls() {
  if (state.view === "#/calls" && !document.hidden) await readCalls();
  setTimeout(pollCalls, 1000);
}

async function readCalls() {
  const query = state.query;
  const answer = await fetchJson("api/calls", query);
  if (state.view === "#/calls" && query === state.query) drawCalls(answer);
}

function drawCalls({ url, problem: failure, calls, counts }) {
  if (url) {
    $("debugger").href = url;
    $("debugger").textContent = url;
  }
  $("received").replaceChildren(...(failure ? [] : readout(counts, calls)));
  if (failure) return $("calls").replaceChildren(problem(failure));
  countTypes(counts);
  if (!calls.length)
    return $("calls").replaceChildren(none(isFiltered(state.query) ? "No call matches the filter." : "No calls yet."));
  if (!$("received-calls"))
    $("calls").replaceChildren(
      element("div", { className: "calls" }, callHeads(), element("div", { id: "received-calls", role: "list" })),
    );
  updateRows($("received-calls"), calls);
}

function readout({ accepted, dropped }, calls) {
  return [
    `${counted(accepted, "call")} accepted`,
    element("span", { className: dropped ? "bad" : "soft" }, `${number(dropped)} dropped`),
    element("span", { className: "soft" }, `${number(calls.length)} shown`),
  ];
}

// Existing rows are not moved, so that they keep focus and stay unfolded.
function updateRows(list, calls) {
  const existing = new Map([...list.children].map((row) => [row.text, row]));
  const rows = calls.map((one) => existing.get(`${one.number} ${one.text}`) ?? callRow(one));
  const kept = new Set(rows);
  for (const row of [...list.children]) if (!kept.has(row)) row.remove();
  rows.forEach((row, at) => {
    if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
  });
}

function callRow({ number: at, dropped, text }) {
  const call = parse(text);
  const details = element(
    "details",
    {},
    element("summary", { className: "call", "data-key": `call-${at}` }, callCells(call, dropped)),
  );
  details.addEventListener("toggle", () => {
    if (details.childElementCount === 1) details.append(element("div", { className: "values" }, callValues(call)));
  });
  const row = element("div", { role: "listitem", className: dropped ? "is-dropped" : false }, details);
  row.text = `${at} ${text}`;
  return row;
}
