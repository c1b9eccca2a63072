// Ranks texts by a query: by their relevance from /v1/rerank, or by the cosine of their vectors from /v1/embeddings.

import { request } from "./api.js";
import { bar, byId, counted, h, raw } from "./dom.js";
import { card, score } from "./results.js";
import { announce, timing, wireForm } from "./send.js";

/** Tasks that score a query with a text, which /v1/rerank answers. */
let rankers = [];

/** Show the form if the model has ranking or embedding tasks, filled with an example the first time. */
export function showRanking(ranking, embedding, example) {
  const select = byId("rank-task");
  const fresh = select.options.length === 0;
  rankers = ranking;
  const names = [...ranking, ...embedding];
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
  const ranker = rankers.includes(name);
  const { reply, ranked } = await (ranker ? byRelevance : byCosine)(name, byId("query").value, texts, signal);
  const summary = `${ranker ? "best" : "nearest"} is “${ranked[0].text}” (${score(ranked[0].value)})`;
  announce(byId("rank-status"), `${name}: ${summary}.`);
  const [what, how] = ranker
    ? ["relevance to the query", "score, best first"]
    : ["vectors for similarity", "cosine with the query, nearest first"];
  byId("rank-answers").replaceChildren(
    h("p", { class: "facts" }, timing([reply], reply.roundTrip)),
    card(name, what, how, [h("ol", { class: "bars ranked" }, ranked.map(ranking))]),
    raw("Raw answer", reply.json),
  );
}

async function byRelevance(model, query, documents, signal) {
  const reply = await request("v1/rerank", { model, query, documents }, signal);
  return { reply, ranked: reply.json.results.map((one) => ({ text: documents[one.index], value: one.relevance_score })) };
}

async function byCosine(model, query, texts, signal) {
  const reply = await request("v1/embeddings", { model, input: [query, ...texts] }, signal);
  const vectors = [...reply.json.data].sort((a, b) => a.index - b.index).map((item) => item.embedding);
  const ranked = texts
    .map((text, i) => ({ text, value: cosine(vectors[0], vectors[i + 1]) }))
    .sort((a, b) => b.value - a.value);
  return { reply, ranked };
}

function ranking({ text, value }) {
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
