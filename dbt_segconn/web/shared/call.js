// A call as all pages show it, and the filters of a list of calls.

import { $, clock, element, number, plain, valueList } from "./elements.js";

const CALL_TYPES = ["identify", "track", "group", "page", "screen"];
const CALL_HEADS = ["Type", "Name", "User", "Received"];
const TYPING_MILLISECONDS = 120;

export const callHeads = () =>
  element(
    "div",
    { className: "call heads", "aria-hidden": "true" },
    CALL_HEADS.map((one) => element("span", {}, one)),
  );
const nameOf = (call) => call.event || call.name || call.groupId || call.traits?.email || call.traits?.name;
const userOf = (call) => call.userId || call.anonymousId;

export function callCells(call, dropped) {
  return [
    element(
      "span",
      { className: `call-type ${CALL_TYPES.includes(call.type) ? call.type : ""}` },
      call.type ? plain(call.type) : "no type",
    ),
    element("span", { className: "name" }, plain(nameOf(call) || "—")),
    element("span", { className: "soft" }, plain(userOf(call) || "—")),
    element("time", { datetime: call.receivedAt, title: call.receivedAt, className: "soft" }, clock(call.receivedAt)),
    dropped && element("span", { className: "why" }, `Dropped: ${dropped}`),
  ];
}

// Shows the scalar fields of a call first, then each of its objects.
export function callValues(call) {
  const isObject = (value) => value !== null && typeof value === "object";
  const own = Object.entries(call).filter(([, value]) => !isObject(value));
  const objects = Object.entries(call).filter(([, value]) => isObject(value));
  return [
    valueList(Object.fromEntries(own)),
    ...objects.map(([name, value]) => element("section", {}, element("h2", {}, name), valueList(value))),
  ];
}

// Calls `onchange` with {type, q, dropped}, the query of the debugger.
export function callFilters(onchange, ...more) {
  const query = { type: "", q: "", dropped: "" };
  const set = (name, value) => {
    query[name] = value;
    onchange(query);
  };
  const chips = ["", ...CALL_TYPES].map((type) =>
    element(
      "button",
      {
        type: "button",
        className: `chip ${type}`,
        "data-type": type,
        "aria-pressed": String(!type),
        onclick: () => {
          for (const one of chips) one.setAttribute("aria-pressed", String(one.dataset.type === type));
          set("type", type);
        },
      },
      type || "all",
      element("b", {}, "0"),
    ),
  );
  let typing;
  const text = element("input", {
    id: "text",
    type: "search",
    placeholder: "Filter by any text in the call",
    autocomplete: "off",
    spellcheck: "false",
    "aria-keyshortcuts": "/",
    oninput: () => {
      clearTimeout(typing);
      typing = setTimeout(() => set("q", text.value), TYPING_MILLISECONDS);
    },
  });
  const dropped = element(
    "button",
    {
      id: "only-dropped",
      type: "button",
      "aria-pressed": "false",
      onclick: () => {
        dropped.setAttribute("aria-pressed", String(!query.dropped));
        set("dropped", query.dropped ? "" : "true");
      },
    },
    "Dropped only",
  );
  return element(
    "form",
    {
      id: "filters",
      className: "filters",
      role: "search",
      "aria-label": "Calls",
      onsubmit: (event) => event.preventDefault(),
    },
    element("div", { id: "types", className: "chips", role: "group", "aria-label": "Call type" }, chips),
    element(
      "label",
      { className: "grow" },
      element("span", { className: "unseen" }, "Text in the call"),
      text,
      element("kbd", { "aria-hidden": "true" }, "/"),
    ),
    dropped,
    more,
  );
}

export const isFiltered = (query) => Boolean(query.type || query.q || query.dropped);

export function countTypes({ received, by_type: byType }) {
  for (const chip of $("types").children)
    chip.lastElementChild.textContent = number(chip.dataset.type ? byType[chip.dataset.type] : received);
}
