// Sending a form: one request at a time, that can be cancelled, with its state told.

import { byId, h } from "./dom.js";
import { tell } from "./trouble.js";

/** Wire the form `NAME-form`: `work(signal)` when it is sent, by its button or Ctrl+Enter; `NAME-stop` cancels. */
export function whileSending(name, work) {
  const [form, send, stop] = [byId(`${name}-form`), byId(`${name}-send`), byId(`${name}-stop`)];
  const [status, place] = [byId(`${name}-status`), byId(`${name}-answers`)];
  let running = null;

  const submit = async () => {
    if (running !== null || send.disabled) return;
    running = new AbortController();
    stop.hidden = false;
    send.setAttribute("aria-disabled", "true");
    place.setAttribute("aria-busy", "true");
    status.textContent = "Waiting for the answer…";
    try {
      await work(running.signal);
      reveal(place);
    } catch (error) {
      const left = error.name === "AbortError";
      status.textContent = left ? "Cancelled." : "";
      if (left) return;
      tell(place, error, () => form.requestSubmit());
      reveal(place);
    } finally {
      if (document.activeElement === stop) send.focus();
      running = null;
      stop.hidden = true;
      send.removeAttribute("aria-disabled");
      place.removeAttribute("aria-busy");
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  stop.addEventListener("click", () => running?.abort());
}

/** Tell a reader of screens what the page now shows: it is in the live region, and not seen twice. */
export function say(status, summary) {
  status.replaceChildren(h("span", { class: "unseen" }, summary));
}

/** The answers are below the form on a narrow page, and beside the head of a long form on a wide one: bring them into view. */
function reveal(place) {
  const { top } = place.getBoundingClientRect();
  if (top >= 0 && top < 0.75 * innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.parentElement.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

/** "Answered in 112 ms: 96 ms in the server, 3 ms of them in its queue." Of several requests at once, the longest. */
export function timed(replies, roundTrip) {
  const longest = replies.reduce((one, other) => ((other.server ?? -1) > (one.server ?? -1) ? other : one));
  const inside = longest.server === null ? "" : `: ${duration(longest.server)} in the server`;
  const waiting = longest.queue === null || !inside ? "" : `, ${duration(longest.queue)} of them in its queue`;
  return `Answered in ${duration(roundTrip)}${inside}${waiting}.`;
}

const duration = (ms) =>
  ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
