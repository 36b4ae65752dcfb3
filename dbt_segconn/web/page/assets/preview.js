// The preview of a mapping. It reads the warehouse only on request.

import { $, element, valueList, withCode } from "./elements.js";
import { askingSection } from "./requests.js";
import { changeName, state } from "./snapshot.js";

// Keeps one section while its mapping is shown, so that a refresh does not clear it.
export function previewOf(mapping) {
  if (state.preview?.id !== mapping.id) state.preview = { id: mapping.id, section: preview(mapping) };
  return state.preview.section;
}

function preview(mapping) {
  const record = element("input", {
    id: "record",
    "data-key": "record",
    type: "search",
    placeholder: "Identifier of a record; default: any",
    autocomplete: "off",
    spellcheck: "false",
  });
  const changeType = element(
    "select",
    { id: "change-type", "data-key": "change-type" },
    ["all that the mapping sends", "added", "updated", "deleted"].map((one, at) =>
      element("option", { value: at ? one : "" }, one),
    ),
  );
  const button = element("button", { type: "submit", "data-key": "preview" }, "Preview");
  return askingSection({
    title: "Preview",
    about: "Calls that a run would send now. A preview reads the warehouse and sends nothing.",
    fields: { Record: record, "Change type": changeType },
    button,
    path: "api/preview",
    query: () => ({ mapping: mapping.id, record: record.value, change_type: changeType.value }),
    show: previews,
  });
}

export function previewRecord(record) {
  $("record").value = record;
  $("record").form.requestSubmit();
  $("record").closest("section").scrollIntoView();
}

function previews({ calls, notes }) {
  return [
    notes.length
      ? element(
          "ul",
          { className: "notes" },
          notes.map((one) => element("li", {}, withCode(one))),
        )
      : null,
    ...calls.map((one) =>
      element(
        "article",
        { className: "pair", "aria-label": `Record ${one.record_id}` },
        element(
          "div",
          {},
          element(
            "h3",
            {},
            "Record ",
            element("code", {}, one.record_id ?? "null"),
            " ",
            element("span", { className: `key ${one.change_type}` }, changeName(one.change_type)),
          ),
          valueList(one.record),
        ),
        element(
          "div",
          {},
          element("h3", {}, "Call"),
          one.changed?.length ? element("p", { className: "message" }, `Changed: ${one.changed.join(", ")}`) : null,
          one.unsent ? element("p", { className: "message warn" }, `A run does not send it: ${one.unsent}.`) : null,
          one.call
            ? valueList(one.call)
            : element("p", { className: "message bad" }, `Would be discarded: ${one.discard}`),
        ),
      ),
    ),
  ].filter(Boolean);
}
