"use strict";
// The chart of a mapping's syncs: one lane for each kind of change, each to its own scale.

const CHARTED_SYNCS = 90;

function chart(syncs) {
  const said = element("p", { className: "readout", "aria-hidden": "true" });
  const figure = element("figure", { className: "chart" }, said);
  let active = null;
  const redraw = () => {
    const width = figure.clientWidth - 32;
    if (width > 0) { figure.querySelector("svg")?.remove(); figure.append(lanes(syncs, width, tell)); }
  };
  const tell = (sync) => {
    active = sync;
    said.replaceChildren(...(sync ? [when(sync.started_at), ...KINDS.map((kind) => element("span", { className: `key ${kind}` }, `${number(sync[kind])} ${kind}`)),
      sync.left_out ? element("span", { className: "key" }, `${number(sync.left_out)} left out`) : ""]
      : [`${counted(syncs.length, "sync")}, oldest first`, element("span", { className: "soft" }, "each row has its own scale")]));
  };
  tell(null);
  new ResizeObserver(() => { if (!active) redraw(); }).observe(figure);
  return figure;
}

function lanes(syncs, width, tell) {
  const left = 86, lane = 46, top = 4, strip = 26;
  const slots = Math.max(syncs.length, 24), slot = (width - left) / slots;
  const bar = Math.max(Math.min(slot * 0.68, 16), 1.5);
  const bottom = top + lane * KINDS.length, height = bottom + strip + 20;
  const first = slots - syncs.length;
  const centre = (at) => left + (first + at + 0.5) * slot;
  const made = drawn("svg", { width, height, role: "group", "aria-label": "Added, updated, deleted and discarded records of each sync. The table below has the same numbers." });
  KINDS.forEach((kind, row) => made.append(...laneOf(kind, syncs, { base: top + lane * (row + 1), lane, left, width, bar, centre })));
  syncs.forEach((sync, at) => {
    const tone = STATUSES[sync.status]?.[1] ?? "off";
    made.append(drawn("rect", { x: centre(at) - bar / 2, y: bottom + 15, width: bar, height: 5, rx: 1, class: `mark ${tone}` }));
  });
  made.append(drawn("text", { x: 0, y: bottom + 21, class: "lane-name" }, "status"));
  const last = syncs.length - 1;
  const day = (sync) => new Date(sync.started_at).toLocaleDateString(undefined, { day: "numeric", month: "short" });
  const time = (sync) => new Date(sync.started_at).toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
  const label = day(syncs[0]) === day(syncs[last]) ? (sync) => `${day(sync)}, ${time(sync)}` : day;
  if (slot * last > 200) made.append(drawn("text", { x: centre(0) - bar / 2, y: height - 2, class: "tick" }, label(syncs[0])));
  made.append(drawn("text", { x: centre(last) + bar / 2, y: height - 2, class: "tick", "text-anchor": "end" }, label(syncs[last])));
  made.append(...syncs.map((sync, at) => hit(sync, at === syncs.length - 1, { x: centre(at) - slot / 2, width: slot, height: bottom + strip }, tell)));
  made.addEventListener("mouseleave", () => tell(null));
  made.addEventListener("keydown", walk);
  return made;
}

function laneOf(kind, syncs, { base, lane, left, width, bar, centre }) {
  const most = Math.max(...syncs.map((sync) => sync[kind]));
  const room = lane - 14;
  const bars = syncs.map((sync, at) => {
    const height = sync[kind] ? Math.max((sync[kind] / most) * room, 2) : 0;
    return height && drawn("rect", { x: centre(at) - bar / 2, y: base - height, width: bar, height, rx: Math.min(1.5, bar / 3), class: `bar ${kind}` });
  }).filter(Boolean);
  return [
    drawn("line", { x1: left, x2: width, y1: base + 0.5, y2: base + 0.5, class: "base" }),
    drawn("text", { x: 0, y: base - 16, class: `lane-name ${kind}` }, kind),
    drawn("text", { x: 0, y: base - 2, class: "tick" }, most ? `up to ${number(most)}` : "none"),
    ...bars,
  ];
}

// One tab stop for the chart; arrows move among its syncs, Enter opens one.
function hit(sync, isLast, { x, width, height }, tell) {
  const link = drawn("a", { href: linkTo("sync", sync.sync_id), class: "hit", tabindex: isLast ? "0" : "-1", "aria-label": `${exact(sync.started_at)}, ${STATUSES[sync.status]?.[0] ?? sync.status}: ${changes(sync)}` },
    drawn("rect", { x, y: 0, width, height }));
  link.addEventListener("mouseenter", () => tell(sync));
  link.addEventListener("focus", () => tell(sync));
  link.addEventListener("blur", () => tell(null));
  return link;
}

function walk(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const links = [...event.currentTarget.querySelectorAll(".hit")];
  const next = step && links[links.indexOf(document.activeElement) + step];
  if (!next) return;
  document.activeElement.setAttribute("tabindex", "-1");
  next.setAttribute("tabindex", "0");
  next.focus();
  event.preventDefault();
}
