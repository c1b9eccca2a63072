// Renders the answers of tasks by their form; unknown forms as JSON.

import { counted, h, bar, raw, s, scrollable } from "./dom.js";
import { nonOverlapping, nest, cut, length } from "./code_points.js";

const HUES = 8;
const LINES = 3;
const SHOWN_CLASSES = 8;
const SHOWN_ROWS = 500;
const MANY_PIECES = 500;
const PART_CHARACTERS = 4000;

/** Forms of answers in a few words. */
const FORMS = {
  spans: "entities in the text",
  classes: "classes of the text",
  sentences: "classes of sentences",
  passages: "answers from the text",
  vector: "vectors for similarity",
  tags: "tags of words",
  numbers: "numbers for the text",
  attributes: "attributes of entities",
  relations: "relations between entities",
  links: "entries of a dictionary",
  relevance: "relevance to the question",
};
const DRAWN = {
  spans: entities,
  classes,
  sentences,
  passages: answers,
  vector,
  tags,
  numbers,
  attributes,
  relations,
  links,
  relevance,
};

/** What a task answers, in a few words; the name of its type if its form is unknown. */
export const describe = (settings) => FORMS[settings.answers] ?? settings.type;

/**
 * Render one task's answer: `{card, summary}`. `asked` is the row that was sent, `tasks` the answers of its output row,
 * `settings` the task's entry of /v1/tasks.
 */
export function renderTask(name, settings, asked, tasks) {
  const draw = DRAWN[settings.answers];
  const { summary, parts } = draw ? draw(tasks[name], settings, asked, tasks) : other(tasks[name]);
  return { summary: `${name}: ${summary}`, card: card(name, describe(settings), summary, parts) };
}

/** Score with two decimals; 0.9996 becomes 0.999, not 1.00. */
export function score(value) {
  if (value < 1 && value > 0.995) return (Math.floor(1000 * value) / 1000).toFixed(3);
  return value.toFixed(2).replace(/^-/, "\u2212");
}

/** The card of one task. */
export function card(name, what, summary, parts) {
  return h(
    "article",
    { class: "card", "data-task": name },
    h("header", {}, h("h3", {}, name, " ", h("small", {}, what)), h("p", { class: "sum" }, summary)),
    ...parts,
  );
}

// -- entities ----------------------------------------------------------------------------------------------------------

/** Eight colours, then the same ones with other underlines; the label is always written next to the mark. */
function colours(labels, label) {
  const i = Math.max(0, labels.indexOf(label));
  return { "data-hue": i % HUES, "data-line": Math.floor(i / HUES) % LINES };
}

function entities(spans, settings, asked) {
  return marks(spans, settings, asked, { one: "entity", several: "entities" });
}

function sentences(spans, settings, asked) {
  const quoted = cut(asked.text, spans).flatMap(({ text, span }) => (span === null ? [] : [{ ...span, text }]));
  return marks(quoted, settings, asked, { one: "sentence", several: "sentences" });
}

function marks(spans, settings, asked, { one, several }) {
  const labels = settings.labels ?? [];
  const counts = new Map();
  for (const span of spans) counts.set(span.label, (counts.get(span.label) ?? 0) + 1);
  const legend = h(
    "ul",
    { class: "legend", "aria-label": "Labels found" },
    [...counts].map(([label, count]) =>
      h("li", { class: "swatch", ...colours(labels, label) }, label, " ", h("b", {}, String(count))),
    ),
  );
  const mark = (span, ...inside) =>
    h(
      "mark",
      colours(labels, span.label),
      ...inside,
      h("span", { class: "tag" }, h("span", { class: "label" }, span.label), " ", score(span.score)),
    );
  let drawn = 0;
  const draw = (whole, nodes, from) =>
    cut(
      whole,
      nodes.map((node) => ({ start: node.span.start - from, end: node.span.end - from, node })),
    ).map(({ text, span }) => {
      if (span === null) return text;
      drawn += 1;
      return mark(span.node.span, ...draw(text, span.node.inner, span.node.span.start));
    });
  const marked = draw(asked.text, nest(spans), 0);
  const crossing = spans.length - drawn;
  const table = spans.length
    ? listed(
        `All ${several} as a table`,
        ["Text", "Label", "Score", "From", "To"],
        spans.map((span) => [span.text, span.label, span.score.toFixed(3), span.start, span.end]),
      )
    : null;
  return {
    summary: spans.length ? counted(spans.length, one, several) : `no ${several}`,
    parts: [
      counts.size ? legend : null,
      passage(marked, `Text with its ${several}`),
      crossing
        ? h("p", { class: "hint" }, `${counted(crossing, one, several)} crossing the edge of another: only in the table.`)
        : null,
      table,
    ],
  };
}

/**
 * The text with its marks, in a box that scrolls when it is long. Texts with many marks are split into parts, so that the
 * browser renders only those in view: 36,000 marks in one paragraph took a minute.
 */
function passage(pieces, name) {
  const parts = [h("div", { class: "part" })];
  let length = 0;
  for (const piece of pieces) {
    const isMark = typeof piece !== "string";
    const end =
      isMark || pieces.length < MANY_PIECES || length < PART_CHARACTERS
        ? 0
        : Math.max(piece.lastIndexOf("\n"), piece.lastIndexOf(" ")) + 1;
    if (end > 0) {
      parts.at(-1).append(piece.slice(0, end));
      parts.push(h("div", { class: "part" }));
      length = 0;
    }
    parts.at(-1).append(isMark ? piece : piece.slice(end));
    length += (isMark ? piece.textContent : piece).length;
  }
  return scrollable(h("div", { class: "passage", dir: "auto" }, parts), name);
}

function listed(summary, heads, rows) {
  const body = rows.slice(0, SHOWN_ROWS).map((row) =>
    h(
      "tr",
      {},
      row.map((cell) =>
        h(
          "td",
          typeof cell === "number" || /^-?[\d.]+$/.test(cell) ? { class: "number" } : { dir: "auto" },
          String(cell),
        ),
      ),
    ),
  );
  const rest = rows.length - body.length;
  return h(
    "details",
    {},
    h("summary", {}, summary),
    scrollable(
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
              heads.map((head) => h("th", { scope: "col" }, head)),
            ),
          ),
          h("tbody", {}, body),
        ),
      ),
      summary,
    ),
    rest > 0
      ? h("p", { class: "hint" }, `and ${counted(rest, "more row")}; see the raw answer below`)
      : null,
  );
}

// -- classes -----------------------------------------------------------------------------------------------------------

function classes(answer, settings) {
  const many = Array.isArray(answer.labels);
  const chosen = new Set(many ? answer.labels : [answer.label]);
  const limits = settings.thresholds ?? [];
  const common = typeof settings.threshold === "number" ? settings.threshold : 0.5;
  const limitOf = (label) => (many ? (limits[(settings.labels ?? []).indexOf(label)] ?? common) : null);
  const scores = Object.entries(answer.scores ?? {}).sort((a, b) => b[1] - a[1]);
  const rows = scores.map(([label, value]) => classBar(label, value, chosen.has(label), limitOf(label)));
  const rest = rows.splice(Math.max(SHOWN_CLASSES, many ? chosen.size : 0));
  const parts = [h("ol", { class: "bars" }, rows)];
  if (rest.length)
    parts.push(
      h(
        "details",
        {},
        h("summary", {}, counted(rest.length, "more class", "more classes")),
        h("ol", { class: "bars" }, rest),
      ),
    );
  if (many) {
    const from = limits.length ? "its own threshold" : score(common);
    parts.push(h("p", { class: "hint" }, `A class is assigned from ${from} on (the line).`));
  }
  const summary = many
    ? chosen.size
      ? [...chosen].join(", ")
      : "no class"
    : `${answer.label} (${score(answer.score)})`;
  return { summary, parts };
}

function classBar(label, value, chosen, limit) {
  return h(
    "li",
    { class: chosen ? "chosen" : null },
    h("span", { class: "name", dir: "auto" }, label, chosen ? h("span", { class: "given" }, " assigned") : null),
    bar(value, limit),
    h("span", { class: "score" }, score(value)),
  );
}

// -- answers -----------------------------------------------------------------------------------------------------------

function answers(spans, settings, asked, tasks) {
  const parts = [];
  if (spans.length) {
    parts.push(
      h(
        "ol",
        { class: "found" },
        spans.map((span) =>
          h("li", {}, h("q", { dir: "auto" }, span.text), " ", h("span", { class: "score" }, score(span.score))),
        ),
      ),
    );
    const best = spans[0];
    parts.push(
      passage(
        cut(asked.text, nonOverlapping(spans)).map(({ text, span }) =>
          span === null ? text : h("mark", { class: span === best ? "answer" : "answer other" }, text),
        ),
        "Text with its answer",
      ),
    );
  }
  if (settings.no_answer && typeof tasks.no_answer_score === "number") {
    const [value, limit] = [tasks.no_answer_score, settings.no_answer_threshold];
    parts.push(
      h(
        "ol",
        { class: "bars" },
        h(
          "li",
          {},
          h("span", { class: "name" }, "no answer in the text"),
          bar(value, limit),
          h("span", { class: "score" }, score(value)),
        ),
      ),
    );
    parts.push(h("p", { class: "hint" }, `Above ${score(limit)} (the line) no answer is given.`));
  }
  return { summary: spans.length ? `“${spans[0].text}” (${score(spans[0].score)})` : "no answer in the text", parts };
}

// -- vectors -----------------------------------------------------------------------------------------------------------

function vector(values) {
  const size = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const most = Math.max(...values.map(Math.abs)) || 1;
  const bars = values.map((value, i) =>
    s("rect", {
      x: i,
      width: 0.8,
      y: value > 0 ? 20 - (20 * value) / most : 20,
      height: Math.max(0.2, (20 * Math.abs(value)) / most),
    }),
  );
  const picture = s(
    "svg",
    {
      class: "vector",
      viewBox: `0 0 ${values.length} 40`,
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      focusable: "false",
    },
    bars,
  );
  return { summary: `${counted(values.length, "number")}, length ${size.toFixed(2)}`, parts: [picture] };
}

// -- tags of words, numbers --------------------------------------------------------------------------------------------

function tags(words) {
  const table = listed(
    "All words as a table",
    ["Word", "Tag", "Score"],
    words.map((word) => [word.text, word.tag, word.score.toFixed(3)]),
  );
  table.open = true;
  return { summary: counted(words.length, "word"), parts: [table] };
}

function numbers(answer) {
  const rows = Object.entries(answer.values ?? answer);
  const shown = rows.map(([name, value]) => `${name} ${Number(value).toPrecision(4)}`);
  return {
    summary: shown.join(", "),
    parts: [listed("Numbers as a table", ["Name", "Value"], rows.map(([name, value]) => [name, Number(value).toString()]))],
  };
}

function relevance(answer) {
  const shown = h("span", { class: "score" }, score(answer.score));
  const row = h("li", {}, h("span", { class: "name" }, "relevance"), bar(answer.score), shown);
  return { summary: `score ${score(answer.score)}`, parts: [h("ol", { class: "bars" }, row)] };
}

// -- about entities ----------------------------------------------------------------------------------------------------

const entityAt = (settings, tasks, place) => tasks[settings.of]?.[place]?.text ?? `entity ${place}`;

function attributes(found, settings, _asked, tasks) {
  return about(found, "entity", "entities", ["Entity", "Class", "Score"], (one) => [
    entityAt(settings, tasks, one.entity),
    one.label,
  ]);
}

function relations(found, settings, _asked, tasks) {
  return about(found, "relation", "relations", ["From", "Relation", "To", "Score"], (one) => [
    entityAt(settings, tasks, one.head),
    one.label,
    entityAt(settings, tasks, one.tail),
  ]);
}

function links(found, settings, _asked, tasks) {
  return about(found, "link", "links", ["Entity", "Identifier", "Name", "Next candidates", "Score"], (one) => [
    entityAt(settings, tasks, one.entity),
    one.id ?? "none",
    one.name ?? "",
    one.candidates
      .filter((other) => other.id !== one.id)
      .map((other) => `${other.name} (${other.id}, ${other.score.toFixed(3)})`)
      .join("; "),
  ]);
}

function about(found, one, several, heads, cells) {
  if (!found.length) return { summary: `no ${several}`, parts: [] };
  const table = listed(
    `All ${several} as a table`,
    heads,
    found.map((entry) => [...cells(entry), entry.score.toFixed(3)]),
  );
  table.open = true;
  return { summary: counted(found.length, one, several), parts: [table] };
}

function other(answer) {
  return { summary: "an answer of another form", parts: [raw("The answer", answer)] };
}

/** The length of a text: "1,204 characters". */
export const textLength = (text) => counted(length(text), "character");
