"use strict";
// The debugger's live calls.

function callsView() {
  return [
    element("h1", { tabindex: "-1" }, "Live calls"),
    element("p", { className: "none" }, "What the local stand-in for Segment receives, newest first: ", element("a", { id: "debugger", target: "_blank", rel: "noreferrer" }, "the debugger")),
    element("div", { id: "calls" }, none("Asking the debugger…")),
  ];
}

async function listen() {
  if (state.view === "#/calls" && !document.hidden) {
    const answer = await fetched("api/calls");
    if (state.view === "#/calls") drawCalls(answer);
  }
  setTimeout(listen, 1000);
}

function drawCalls(answer) {
  const seen = JSON.stringify([answer.url, answer.problem, answer.calls?.[0]?.number, answer.calls?.length, answer.counts]);
  if (!$("calls") || (state.calls === seen && $("calls").dataset.drawn)) return;
  state.calls = seen;
  const open = new Set([...$("calls").querySelectorAll("details[open]")].map((one) => one.dataset.number));
  $("calls").dataset.drawn = "yes";
  if (answer.url) { $("debugger").href = answer.url; $("debugger").textContent = answer.url; }
  if (answer.problem) return $("calls").replaceChildren(problem(answer.problem));
  const { accepted, dropped } = answer.counts;
  $("calls").replaceChildren(
    element("p", { className: "readout" }, `${counted(accepted, "call")} accepted`, element("span", { className: dropped ? "bad" : "soft" }, `${number(dropped)} dropped`)),
    answer.calls.length ? element("div", { className: "calls", role: "list" }, answer.calls.map((one) => callOf(one, open))) : none("No calls yet."));
}

function callOf({ number: at, dropped, text }, open) {
  const call = parse(text);
  const name = call.event || call.name || call.groupId || call.traits?.email || call.traits?.name || "—";
  const words = [element("span", { className: `kind ${call.type}` }, plain(call.type ?? "no type")), element("span", { className: "name" }, plain(name)),
    element("span", { className: "soft user" }, plain(call.userId || call.anonymousId || "—")), element("time", { datetime: call.receivedAt, className: "soft" }, new Date(call.receivedAt).toLocaleTimeString())];
  const made = element("details", { "data-number": at, open: open.has(String(at)) },
    element("summary", { "data-key": `call-${at}` }, words, dropped ? element("span", { className: "why" }, `Dropped: ${dropped}`) : null));
  const fill = () => { if (made.open && made.childElementCount === 1) made.append(listed(call)); };
  made.addEventListener("toggle", fill);
  fill();
  return element("div", { role: "listitem", className: dropped ? "is-dropped" : false }, made);
}
