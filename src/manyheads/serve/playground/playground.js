// The page: loads the model's tasks, shows the inputs they need, sends texts and shows the answers.

import { request, forgetKey } from "./api.js";
import { byId, counted, h, raw } from "./dom.js";
import { EXAMPLES, RANKING } from "./examples.js";
import { renderTask, textLength, describe } from "./results.js";
import { showRanking } from "./rank.js";
import { showError, showRowError } from "./errors.js";
import { announce, timing, wireForm } from "./send.js";

const LABELS_SHOWN = 6;
const READY_POLL_MS = 3000;

/** Settings by task, in the model's order. */
let tasks = new Map();

async function start() {
  const trouble = byId("trouble");
  try {
    const { json } = await request("v1/tasks");
    trouble.replaceChildren();
    tasks = new Map(Object.entries(json.tasks));
    byId("model").replaceChildren(...introduced(json));
    showTasks();
    showRanking(answering("relevance"), answering("vector"), RANKING);
    byId("read-send").disabled = false;
    await watchReady();
  } catch (error) {
    byId("model").textContent = "The model could not be loaded.";
    showError(trouble, error, start);
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

/** Show whether the server is ready, until it is. */
async function watchReady() {
  const place = byId("ready");
  try {
    await request("health/ready");
    place.textContent = "ready";
    place.className = "ready yes";
  } catch {
    place.textContent = "starting…";
    place.className = "ready no";
    setTimeout(watchReady, READY_POLL_MS);
  }
}

// -- tasks and inputs --------------------------------------------------------------------------------------------------

function showTasks() {
  byId("task-choices").replaceChildren(...[...tasks].map(([name, task], i) => choice(name, task, i)));
  byId("tasks").hidden = false;
  byId("pair-field").hidden = !answering("classes").length;
  toggleQuestion();
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
    labels.slice(0, LABELS_SHOWN).join(", ") +
    (labels.length > LABELS_SHOWN ? `, ${labels.length - LABELS_SHOWN} more` : "");
  return h(
    "div",
    { class: "choice" },
    box,
    h("label", { for: `task-${i}` }, name),
    h("p", { class: "hint", id: `task-${i}-what` }, describe(task), labels.length ? `: ${listed}` : ""),
  );
}

const chosen = () => [...document.querySelectorAll("#task-choices input:checked")].map((box) => box.value);
const isQuestion = (name) => tasks.get(name).answers === "passages";
const needsQuestion = (name) => isQuestion(name) || tasks.get(name).answers === "relevance";

function toggleQuestion() {
  byId("question-field").hidden = !chosen().some(needsQuestion);
}

function fill(example) {
  byId("text").value = example.text;
  byId("question").value = example.question;
  count();
}

function count() {
  byId("text-count").textContent = textLength(byId("text").value);
}

// -- answers ------------------------------------------------------------------------------------------------------------

/** The row to send, without empty fields. */
function row() {
  const asked = { text: byId("text").value };
  const question = byId("question").value.trim();
  const pair = byId("pair").value;
  if (question && !byId("question-field").hidden) asked.question = question;
  if (pair.trim() && !byId("pair-field").hidden) asked.text_pair = pair;
  return asked;
}

/** Tasks by request: a second question answering task needs its own, since all of them write the same `no_answer_score`. */
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
  const replies = await Promise.all(bodies.map((body) => request("v1/predict", body, signal)));
  showAnswers(place, status, asked, names, replies, performance.now() - started);
}

function showAnswers(place, status, asked, names, replies, roundTrip) {
  const rows = replies.map((reply) => reply.json.outputs[0]);
  const failed = rows.find((answer) => answer.error);
  const raws = replies.map(({ json }, i) =>
    raw(replies.length > 1 ? `Raw answer ${i + 1} of ${replies.length}` : "Raw answer", json),
  );
  if (failed) {
    status.textContent = "";
    place.replaceChildren(showRowError(failed.error), ...raws);
    return;
  }
  const given = (name) => rows.find((answer) => Object.hasOwn(answer.tasks, name))?.tasks;
  const drawings = names.filter(given).map((name) => renderTask(name, tasks.get(name), asked, given(name)));
  const silent = names.filter((name) => !given(name));
  const windows = Math.max(...rows.map((answer) => answer.windows));
  announce(
    status,
    [...drawings.map(({ summary }) => summary), ...silent.map((name) => `${name}: ${silence(name)}`)].join(". ") + ".",
  );
  place.replaceChildren(
    h(
      "p",
      { class: "facts" },
      windows > 1 ? h("strong", {}, `Read in ${windows} overlapping windows.`) : "Read in one window.",
      " ",
      timing(replies, roundTrip),
    ),
    ...drawings.map(({ card }) => card),
    ...silent.map((name) => h("p", { class: "hint quiet" }, h("b", {}, name), `: ${silence(name)}.`)),
    ...raws,
  );
  centre(place);
}

/** Scroll an answer in a long passage to the middle of its box. */
function centre(place) {
  for (const mark of place.querySelectorAll("mark.answer:not(.other)")) {
    const box = mark.closest(".passage");
    box.scrollTop += mark.getBoundingClientRect().top - box.getBoundingClientRect().top - box.clientHeight / 2;
  }
}

const silence = (name) => (needsQuestion(name) ? "ask a question to get an answer" : "no answer was given");

// -- wiring -----------------------------------------------------------------------------------------------------

byId("examples").append(
  "Start with ",
  ...EXAMPLES.map((example) => {
    const button = h("button", { type: "button", class: "plain" }, example.name);
    button.addEventListener("click", () => fill(example));
    return button;
  }),
);
byId("text").addEventListener("input", count);
byId("task-choices").addEventListener("change", toggleQuestion);
byId("forget").addEventListener("click", forgetKey);
wireForm("read", read);
if (byId("text").value)
  count(); // browsers may keep the text over a reload
else fill(EXAMPLES[0]);
start();
