// Ranks texts by similarity to a query: the cosine of their vectors from /v1/embeddings.

import { request } from "./api.js";
import { bar, byId, counted, h, raw } from "./dom.js";
import { card, score } from "./results.js";
import { announce, timing, wireForm } from "./send.js";

/** Show the form if the model has embedding tasks, filled with an example the first time. */
export function showRanking(names, example) {
  const select = byId("rank-task");
  const fresh = select.options.length === 0;
  byId("rank").hidden = names.length === 0;
  byId("rank-task-field").hidden = names.length < 2;
  select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (!fresh || !names.length) return;
  byId("query").value = example.query;
  byId("lines").value = example.lines.join("\n");
  byId("lines").addEventListener("input", count);
  count();
  wireForm("rank", rank);
}

const lines = () =>
  byId("lines")
    .value.split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

function count() {
  byId("lines-count").textContent = counted(lines().length, "text");
}

async function rank(signal) {
  const texts = lines();
  if (!texts.length) {
    byId("rank-answers").replaceChildren();
    byId("rank-status").textContent = "Enter at least one text.";
    byId("lines").focus();
    return;
  }
  const name = byId("rank-task").value;
  const reply = await request("v1/embeddings", { model: name, input: [byId("query").value, ...texts] }, signal);
  const vectors = [...reply.json.data].sort((a, b) => a.index - b.index).map((item) => item.embedding);
  const ranked = texts
    .map((text, i) => ({ text, cosine: cosine(vectors[0], vectors[i + 1]) }))
    .sort((a, b) => b.cosine - a.cosine);
  const summary = `nearest is “${ranked[0].text}” (${score(ranked[0].cosine)})`;
  announce(byId("rank-status"), `${name}: ${summary}.`);
  byId("rank-answers").replaceChildren(
    h("p", { class: "facts" }, timing([reply], reply.roundTrip)),
    card(name, "vectors for similarity", "cosine with the query, nearest first", [
      h("ol", { class: "bars ranked" }, ranked.map(ranking)),
    ]),
    raw("Raw answer", reply.json),
  );
}

function ranking({ text, cosine: value }) {
  return h(
    "li",
    {},
    h("span", { class: "name", dir: "auto" }, text),
    bar(value),
    h("span", { class: "score" }, score(value)),
  );
}

/** Cosine of two vectors; 0 if one is zero. */
export function cosine(a, b) {
  let [product, lengthA, lengthB] = [0, 0, 0];
  for (let i = 0; i < a.length; i += 1) {
    product += a[i] * b[i];
    lengthA += a[i] * a[i];
    lengthB += b[i] * b[i];
  }
  return product === 0 ? 0 : product / Math.sqrt(lengthA * lengthB);
}
