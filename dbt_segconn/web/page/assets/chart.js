// A chart of a mapping's syncs: a lane for each change type and for discards, each with its own scale.

import { counted, element, exact, number, svgElement, when } from "./elements.js";
import { changes, LANES, linkTo, STATUSES } from "./snapshot.js";

export const CHARTED_SYNCS = 90;

export function chart(syncs) {
  const readout = element("p", { className: "readout", "aria-hidden": "true" });
  const figure = element("figure", { className: "chart" }, readout);
  let active = null;
  const redraw = () => {
    const width = figure.clientWidth - 32;
    if (width > 0) {
      figure.querySelector("svg")?.remove();
      figure.append(lanes(syncs, width, show));
    }
  };
  const show = (sync) => {
    active = sync;
    readout.replaceChildren(
      ...(sync
        ? [
            when(sync.started_at),
            ...LANES.map((lane) => element("span", { className: `key ${lane}` }, `${number(sync[lane])} ${lane}`)),
            sync.left_out ? element("span", { className: "key" }, `${number(sync.left_out)} left out`) : "",
          ]
        : [
            `${counted(syncs.length, "sync")}, oldest first`,
            element("span", { className: "soft" }, "each row has its own scale"),
          ]),
    );
  };
  show(null);
  new ResizeObserver(() => {
    if (!active) redraw();
  }).observe(figure);
  return figure;
}

function lanes(syncs, width, show) {
  const left = 86;
  const laneHeight = 46;
  const top = 4;
  const strip = 26;
  const slots = Math.max(syncs.length, 24);
  const slot = (width - left) / slots;
  const bar = Math.max(Math.min(slot * 0.68, 16), 1.5);
  const bottom = top + laneHeight * LANES.length;
  const height = bottom + strip + 20;
  const first = slots - syncs.length;
  const centre = (at) => left + (first + at + 0.5) * slot;
  const svg = svgElement("svg", {
    width,
    height,
    role: "group",
    "aria-label": "Added, updated, deleted and discarded records of each sync. The table below has the same numbers.",
  });
  LANES.forEach((lane, row) => {
    const base = top + laneHeight * (row + 1);
    svg.append(...laneOf(lane, syncs, { base, laneHeight, left, width, bar, centre }));
  });
  syncs.forEach((sync, at) => {
    const tone = STATUSES[sync.status]?.[1] ?? "off";
    svg.append(
      svgElement("rect", {
        x: centre(at) - bar / 2,
        y: bottom + 15,
        width: bar,
        height: 5,
        rx: 1,
        class: `mark ${tone}`,
      }),
    );
  });
  svg.append(svgElement("text", { x: 0, y: bottom + 21, class: "lane-name" }, "status"));
  const last = syncs.length - 1;
  const day = (sync) => new Date(sync.started_at).toLocaleDateString(undefined, { day: "numeric", month: "short" });
  const time = (sync) =>
    new Date(sync.started_at).toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
  const label = day(syncs[0]) === day(syncs[last]) ? (sync) => `${day(sync)}, ${time(sync)}` : day;
  if (slot * last > 200)
    svg.append(svgElement("text", { x: centre(0) - bar / 2, y: height - 2, class: "tick" }, label(syncs[0])));
  svg.append(
    svgElement(
      "text",
      { x: centre(last) + bar / 2, y: height - 2, class: "tick", "text-anchor": "end" },
      label(syncs[last]),
    ),
  );
  svg.append(
    ...syncs.map((sync, at) =>
      hit(sync, at === syncs.length - 1, { x: centre(at) - slot / 2, width: slot, height: bottom + strip }, show),
    ),
  );
  svg.addEventListener("mouseleave", () => show(null));
  svg.addEventListener("keydown", walk);
  return svg;
}

function laneOf(lane, syncs, { base, laneHeight, left, width, bar, centre }) {
  const most = Math.max(...syncs.map((sync) => sync[lane]));
  const room = laneHeight - 14;
  const bars = syncs
    .map((sync, at) => {
      const height = sync[lane] ? Math.max((sync[lane] / most) * room, 2) : 0;
      return (
        height &&
        svgElement("rect", {
          x: centre(at) - bar / 2,
          y: base - height,
          width: bar,
          height,
          rx: Math.min(1.5, bar / 3),
          class: `bar ${lane}`,
        })
      );
    })
    .filter(Boolean);
  return [
    svgElement("line", { x1: left, x2: width, y1: base + 0.5, y2: base + 0.5, class: "base" }),
    svgElement("text", { x: 0, y: base - 16, class: `lane-name ${lane}` }, lane),
    svgElement("text", { x: 0, y: base - 2, class: "tick" }, most ? `up to ${number(most)}` : "none"),
    ...bars,
  ];
}

// The chart is one tab stop. Arrow keys move between syncs, and Enter opens a sync.
function hit(sync, isLast, { x, width, height }, show) {
  const link = svgElement(
    "a",
    {
      href: linkTo("sync", sync.sync_id),
      class: "hit",
      tabindex: isLast ? "0" : "-1",
      "aria-label": `${exact(sync.started_at)}, ${STATUSES[sync.status]?.[0] ?? sync.status}: ${changes(sync)}`,
    },
    svgElement("rect", { x, y: 0, width, height }),
  );
  link.addEventListener("mouseenter", () => show(sync));
  link.addEventListener("focus", () => show(sync));
  link.addEventListener("blur", () => show(null));
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
