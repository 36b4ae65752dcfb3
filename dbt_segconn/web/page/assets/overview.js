// The overview of mappings with their latest syncs.

import { $, ago, breakable, count, counted, element, none, number, svgElement, table, when } from "./elements.js";
import { changed, linkTo, pill, redraw, STATUSES, state, statusOf, syncsOf } from "./snapshot.js";

const STRIP_SYNCS = 20;

export function overview() {
  const { mappings } = state.snapshot;
  return [
    element("h1", { tabindex: "-1" }, "Overview"),
    mappings.length ? filters(mappings) : null,
    mappings.length ? element("div", { id: "mappings" }, mappingTable()) : welcome(),
  ];
}

function welcome() {
  return none("This project has no mappings yet. `dbt-segconn suggest MODEL` proposes one.");
}

function filters(mappings) {
  if (!mappings.some((one) => statusOf(one) === state.status)) state.status = "";
  const chips = ["", ...Object.keys(STATUSES)].map((status) => {
    const matching = mappings.filter((one) => !status || statusOf(one) === status).length;
    if (!matching) return null;
    return element(
      "button",
      {
        type: "button",
        className: `chip ${STATUSES[status]?.[1] ?? ""}`,
        "data-key": `chip-${status}`,
        "aria-pressed": String(state.status === status),
        onclick: () => {
          state.status = status;
          redraw();
        },
      },
      STATUSES[status]?.[0] ?? "All",
      element("b", {}, number(matching)),
    );
  });
  const input = element("input", {
    id: "filter",
    type: "search",
    placeholder: "Filter mappings, models, actions, destinations",
    autocomplete: "off",
    spellcheck: "false",
    "aria-keyshortcuts": "/",
    "data-key": "filter",
    oninput: () => {
      state.filter = input.value;
      $("mappings").replaceChildren(mappingTable());
    },
  });
  input.value = state.filter;
  return element(
    "form",
    { className: "filters", role: "search", "aria-label": "Mappings", onsubmit: (event) => event.preventDefault() },
    element("div", { className: "chips", role: "group", "aria-label": "Status of the latest sync" }, chips),
    element(
      "label",
      { className: "grow" },
      element("span", { className: "unseen" }, "Filter"),
      input,
      element("kbd", { "aria-hidden": "true" }, "/"),
    ),
  );
}

function mappingTable() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (one) =>
    (!state.status || statusOf(one) === state.status) &&
    words.every((word) => [one.name, one.model, one.action, one.destination].join(" ").toLowerCase().includes(word));
  const rows = state.snapshot.mappings.filter(matches).map(mappingRow);
  if (!rows.length) return none("No mapping matches the filter.");
  return table(
    "Mappings with their latest syncs",
    ["Mapping", "Latest sync", "Action", "#Changes", "#Left out", "#Discarded", "#Confirmed", "Recent syncs"],
    rows,
    { className: "overview" },
  );
}

function mappingRow(mapping) {
  const [latest] = syncsOf(mapping.id);
  const name = mapping.name.startsWith(`${mapping.model}.`)
    ? mapping.name.slice(mapping.model.length + 1)
    : mapping.name;
  const counts = latest
    ? [count(changed(latest)), count(latest.left_out), count(latest.discarded, "bad"), count(latest.confirmed)]
    : Array.from({ length: 4 }, () => element("td", { className: "number zero" }, "—"));
  return element(
    "tr",
    { className: mapping.is_enabled ? "row" : "row is-off" },
    element(
      "th",
      { scope: "row" },
      element(
        "a",
        { href: linkTo("mapping", mapping.id), className: "open", "data-key": mapping.id, "aria-label": mapping.name },
        breakable(name),
      ),
      element("div", { className: "sub" }, breakable(mapping.model), " ", offTag(mapping)),
    ),
    element(
      "td",
      { className: "status" },
      pill(statusOf(mapping)),
      latest ? element("div", { className: "sub" }, progress(latest)) : null,
    ),
    element(
      "td",
      { className: "action" },
      element("span", { className: `call-type ${mapping.action}` }, mapping.action),
      element("div", { className: "sub" }, breakable(mapping.destination)),
    ),
    counts,
    element("td", { className: "recent" }, strip(syncsOf(mapping.id).slice(0, STRIP_SYNCS).reverse())),
  );
}

export function offTag(mapping) {
  return mapping.is_enabled
    ? null
    : element("span", { className: "tag" }, mapping.is_in_project ? "disabled" : "removed from the project");
}

// Shows when a sync started, and its progress if it has not finished.
function progress(sync) {
  const done = sync.confirmed + sync.discarded - sync.unidentified;
  const isOn = sync.status === "in_progress" && sync.to_send > 0;
  const more = isOn ? `${number(done)} of ${number(sync.to_send)}` : sync.is_baseline ? "baseline" : "";
  return [when(sync.started_at, ago), more && [" · ", element("span", {}, more)]].flat();
}

// Shows the status of the last syncs, oldest first. Failures have taller marks.
function strip(syncs) {
  if (!syncs.length) return [];
  const tally = Object.entries(STATUSES)
    .map(([status, [label]]) => [label, syncs.filter((one) => one.status === status).length])
    .filter(([, many]) => many);
  const words = tally.map(([label, many]) => `${many} ${label.toLowerCase()}`).join(", ");
  const marks = syncs.map((sync, at) => {
    const tone = STATUSES[sync.status]?.[1] ?? "off";
    const height = { good: 8, info: 12, off: 5 }[tone] ?? 16;
    const left = (STRIP_SYNCS - syncs.length + at) * 5;
    return svgElement("rect", { x: left, y: 16 - height, width: 3, height, rx: 1, class: `mark ${tone}` });
  });
  const svg = svgElement(
    "svg",
    {
      class: "strip",
      width: STRIP_SYNCS * 5,
      height: 16,
      role: "img",
      "aria-label": `Last ${counted(syncs.length, "sync")}: ${words}`,
    },
    ...marks,
  );
  svg.prepend(svgElement("title", {}, words));
  return svg;
}
