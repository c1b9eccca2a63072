// The page of the API: its routes from openapi.json, its examples with this server's address and this model's tasks.

import { ask } from "./api.js";
import { byId, h, scrollable } from "./dom.js";
import { told } from "./results.js";
import { tell } from "./trouble.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

async function start() {
  const place = byId("trouble");
  try {
    const { json } = await ask("openapi.json");
    place.replaceChildren();
    byId("version").textContent = json.info?.version ?? "";
    const routes = Object.entries(json.paths).flatMap(([path, methods]) =>
      METHODS.filter((method) => methods[method]).map((method) => ({
        path,
        method,
        id: `${method}${path.replace(/\W+/g, "-")}`,
        ...methods[method],
      })),
    );
    byId("route-list").replaceChildren(...routes.map((route) => described(route, json)));
    byId("route-links").replaceChildren(...routes.map(({ id, path }) => h("li", {}, h("a", { href: `#${id}` }, path))));
    byId("routes-status").textContent = "";
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
    await nameTasks();
  } catch (error) {
    byId("routes-status").textContent = "";
    tell(place, error, start);
  }
}

/** The model's own tasks in the examples, and in a table. */
async function nameTasks() {
  const { json } = await ask("v1/tasks");
  const tasks = Object.entries(json.tasks);
  for (const place of document.querySelectorAll("[data-form]")) {
    const found = tasks.find(([, task]) => task.answers === place.dataset.form);
    if (found) place.textContent = JSON.stringify(found[0]).slice(1, -1);
  }
  byId("own-tasks").replaceChildren(
    h("h3", {}, "Tasks of this model"),
    table(
      ["Task", "Answers", "Labels"],
      tasks.map(([name, task]) => [h("code", {}, name), told(task), (task.labels ?? []).join(", ")]),
    ),
  );
}

function described(route, api) {
  const parts = [
    h("h3", {}, h("span", { class: "method" }, route.method.toUpperCase()), route.path),
    h("p", {}, route.description ?? route.summary ?? ""),
  ];
  const body = resolved(route.requestBody?.content?.["application/json"]?.schema, api);
  if (body?.properties) parts.push(h("h4", {}, "Body"), fields(body, api));
  const responses = Object.entries(route.responses ?? {});
  for (const [status, answer] of responses) if (status < "300") parts.push(...answered(answer, api));
  const others = responses.map(([status]) => status).filter((status) => status >= "300");
  parts.push(
    h("p", { class: "hint" }, `Other statuses: ${others.join(", ")}. `, h("a", { href: "#statuses" }, "What they say")),
  );
  return h(
    "article",
    { class: "route", id: route.id, "aria-label": `${route.method.toUpperCase()} ${route.path}` },
    parts,
  );
}

function fields(schema, api) {
  const needed = new Set(schema.required ?? []);
  return table(
    ["Key", "Type", ""],
    Object.entries(schema.properties).map(([key, field]) => [
      h("span", {}, h("code", {}, key), needed.has(key) ? h("span", { class: "needed" }, " needed") : null),
      typed(field, api),
      noted(field),
    ]),
  );
}

/** The keys of a good answer, where its schema tells them. */
function answered(answer, api) {
  const schema = resolved(Object.values(answer.content ?? {})[0]?.schema, api);
  return schema.properties
    ? [
        h("h4", {}, "Answer"),
        schema.description ? h("p", { class: "hint" }, schema.description) : null,
        fields({ ...schema, required: [] }, api),
      ]
    : [];
}

function noted(field) {
  const notes = [field.description];
  if (field.default !== undefined && field.default !== null && field.default !== "")
    notes.push(`${JSON.stringify(field.default)} by default`);
  return notes.filter(Boolean).join("; ");
}

/** A type in words: "list of text", "text or list of text". */
function typed(given, api) {
  const schema = resolved(given, api);
  if (schema.anyOf)
    return schema.anyOf
      .filter((one) => one.type !== "null")
      .map((one) => typed(one, api))
      .join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.type === "array") return `list of ${typed(schema.items ?? {}, api)}`;
  return (
    { string: "text", integer: "whole number", number: "number", boolean: "true or false", object: "object" }[
      schema.type
    ] ?? "row"
  );
}

function resolved(schema, api) {
  const name = schema?.$ref?.split("/").pop();
  return name ? api.components.schemas[name] : (schema ?? {});
}

function table(heads, rows) {
  return scrollable(
    h(
      "div",
      { class: "table" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((head) => (head ? h("th", { scope: "col" }, head) : h("td", {}))),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((row) =>
            h(
              "tr",
              {},
              row.map((cell) => h("td", {}, cell)),
            ),
          ),
        ),
      ),
    ),
    heads[0],
  );
}

/** A button that copies, beside each example. */
function copyable(pre) {
  const frame = h("div", { class: "code" });
  pre.replaceWith(frame);
  frame.append(scrollable(pre, "Example"));
  if (!navigator.clipboard) return; // only where the page comes by https or from this machine
  const button = h("button", { type: "button", "aria-live": "polite" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => {
      button.textContent = "Copy";
    }, 2000);
  });
  frame.append(button);
}

const base = new URL(".", location.href).href.replace(/\/$/, "");
for (const place of document.querySelectorAll("[data-origin]")) place.textContent = base;
for (const pre of document.querySelectorAll("main pre")) copyable(pre);
for (const place of document.querySelectorAll("main .table")) scrollable(place, "Table");
start();
