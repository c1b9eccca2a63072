// The page: asks for the model's tasks, offers what they need, sends texts and lays the answers out.

import { ask, forgetKey } from "./api.js";
import { byId, counted, h, raw } from "./dom.js";
import { EXAMPLES, RANKING } from "./examples.js";
import { drawn, sized, told } from "./results.js";
import { offerRanking } from "./rank.js";
import { tell, tellRow } from "./trouble.js";
import { say, timed, whileSending } from "./send.js";

const LABELS_TOLD = 6;
const READY_AGAIN_MS = 3000;

/** Settings of the tasks by their names, in the order of the model. */
let tasks = new Map();

async function start() {
  const trouble = byId("trouble");
  try {
    const { json } = await ask("v1/tasks");
    trouble.replaceChildren();
    tasks = new Map(Object.entries(json.tasks));
    byId("model").replaceChildren(...introduced(json));
    offerTasks();
    offerRanking(answering("vector"), RANKING);
    byId("read-send").disabled = false;
    await watchReady();
  } catch (error) {
    byId("model").textContent = "The model is not known yet.";
    tell(trouble, error, start);
  }
}

const answering = (form) => [...tasks].filter(([, task]) => task.answers === form).map(([name]) => name);

function introduced({ model, hash }) {
  return [
    h("strong", {}, model),
    ` answers ${counted(tasks.size, "task")} from one encoder. `,
    h("span", { class: "hash", title: `Hash of the model: ${hash}` }, hash.slice(0, 12)),
    " ",
    h("span", { class: "ready", id: "ready", role: "status" }),
  ];
}

/** Say that a worker starts until none does. */
async function watchReady() {
  const place = byId("ready");
  try {
    await ask("health/ready");
    place.textContent = "ready";
    place.className = "ready yes";
  } catch {
    place.textContent = "starting…";
    place.className = "ready no";
    setTimeout(watchReady, READY_AGAIN_MS);
  }
}

// -- what can be asked --------------------------------------------------------------------------------------------------

function offerTasks() {
  byId("task-choices").replaceChildren(...[...tasks].map(([name, task], i) => choice(name, task, i)));
  byId("tasks").hidden = false;
  byId("pair-field").hidden = !answering("classes").length;
  offerQuestion();
}

function choice(name, task, i) {
  const box = h("input", {
    type: "checkbox",
    id: `task-${i}`,
    value: name,
    checked: true,
    "aria-describedby": `task-${i}-what`,
  });
  const labels = task.labels ?? [];
  const listed =
    labels.slice(0, LABELS_TOLD).join(", ") +
    (labels.length > LABELS_TOLD ? `, ${labels.length - LABELS_TOLD} more` : "");
  return h(
    "div",
    { class: "choice" },
    box,
    h("label", { for: `task-${i}` }, name),
    h("p", { class: "hint", id: `task-${i}-what` }, told(task), labels.length ? `: ${listed}` : ""),
  );
}

const chosen = () => [...document.querySelectorAll("#task-choices input:checked")].map((box) => box.value);
const isQuestion = (name) => tasks.get(name).answers === "passages";

function offerQuestion() {
  byId("question-field").hidden = !chosen().some(isQuestion);
}

function fill(example) {
  byId("text").value = example.text;
  byId("question").value = example.question;
  count();
}

function count() {
  byId("text-count").textContent = sized(byId("text").value);
}

// -- reading ------------------------------------------------------------------------------------------------------------

/** The row to send, with only what was filled in. */
function row() {
  const asked = { text: byId("text").value };
  const question = byId("question").value.trim();
  const pair = byId("pair").value;
  if (question && !byId("question-field").hidden) asked.question = question;
  if (pair.trim() && !byId("pair-field").hidden) asked.text_pair = pair;
  return asked;
}

/** Tasks by request: each task that answers passages but the first needs its own, for all write to one `no_answer_score`. */
function requests(names) {
  const further = names.filter(isQuestion).slice(1);
  return [names.filter((name) => !further.includes(name)), ...further.map((name) => [name])];
}

async function read(signal) {
  const names = chosen();
  const place = byId("read-answers");
  const status = byId("read-status");
  if (!names.length) {
    place.replaceChildren();
    status.textContent = "Choose at least one task.";
    document.querySelector("#task-choices input")?.focus();
    return;
  }
  const asked = row();
  const bodies = requests(names).map((group) => ({ inputs: [asked], tasks: group }));
  const started = performance.now();
  const replies = await Promise.all(bodies.map((body) => ask("v1/predict", body, signal)));
  lay(place, status, asked, names, replies, performance.now() - started);
}

function lay(place, status, asked, names, replies, roundTrip) {
  const rows = replies.map((reply) => reply.json.outputs[0]);
  const failed = rows.find((answer) => answer.error);
  const raws = replies.map(({ json }, i) =>
    raw(replies.length > 1 ? `Raw answer ${i + 1} of ${replies.length}` : "Raw answer", json),
  );
  if (failed) {
    status.textContent = "";
    place.replaceChildren(tellRow(failed.error), ...raws);
    return;
  }
  const given = (name) => rows.find((answer) => Object.hasOwn(answer.tasks, name))?.tasks;
  const drawings = names.filter(given).map((name) => drawn(name, tasks.get(name), asked, given(name)));
  const silent = names.filter((name) => !given(name));
  const windows = Math.max(...rows.map((answer) => answer.windows));
  say(
    status,
    [...drawings.map(({ summary }) => summary), ...silent.map((name) => `${name}: ${unasked(name)}`)].join(". ") + ".",
  );
  place.replaceChildren(
    h(
      "p",
      { class: "facts" },
      windows > 1 ? h("strong", {}, `Read in ${windows} overlapping windows.`) : "Read in one window.",
      " ",
      timed(replies, roundTrip),
    ),
    ...drawings.map(({ card }) => card),
    ...silent.map((name) => h("p", { class: "hint quiet" }, h("b", {}, name), `: ${unasked(name)}.`)),
    ...raws,
  );
  centre(place);
}

/** An answer in a long passage is brought to the middle of its box. */
function centre(place) {
  for (const mark of place.querySelectorAll("mark.answer:not(.other)")) {
    const box = mark.closest(".passage");
    box.scrollTop += mark.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
  }
}

const unasked = (name) => (isQuestion(name) ? "ask a question to get an answer" : "no answer was given");

// -- the page's own -----------------------------------------------------------------------------------------------------

byId("examples").append(
  "Start with ",
  ...EXAMPLES.map((example) => {
    const button = h("button", { type: "button", class: "plain" }, example.name);
    button.addEventListener("click", () => fill(example));
    return button;
  }),
);
byId("text").addEventListener("input", count);
byId("task-choices").addEventListener("change", offerQuestion);
byId("forget").addEventListener("click", forgetKey);
whileSending("read", read);
if (byId("text").value)
  count(); // a browser may keep what was written over a reload
else fill(EXAMPLES[0]);
start();
