// Requests to the server, and the problems that it reports.

import { element, parse, withCode } from "./elements.js";

export async function fetchJson(path, query = {}) {
  try {
    const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
    return answer.ok
      ? parse(await answer.text())
      : { problem: { title: `dbt-segconn ui returned HTTP status ${answer.status}.`, lines: [] } };
  } catch {
    return { problem: { title: "dbt-segconn ui does not answer. Is it still running?", lines: [] } };
  }
}

export function problem({ title, lines }) {
  return element(
    "div",
    { className: "problem" },
    element("strong", {}, title),
    lines.length > 1
      ? element(
          "ul",
          {},
          lines.map((one) => element("li", {}, withCode(one))),
        )
      : lines.map((one) => element("p", {}, withCode(one))),
  );
}
