// Sends a form: one request at a time, cancellable, with its state shown.

import { byId, h } from "./dom.js";
import { showError } from "./errors.js";

/** Call `work(signal)` when the form `NAME-form` is sent, by its button or Ctrl+Enter; `NAME-stop` cancels. */
export function wireForm(name, work) {
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
      showPanel(place);
    } catch (error) {
      const cancelled = error.name === "AbortError";
      status.textContent = cancelled ? "Cancelled." : "";
      if (cancelled) return;
      showError(place, error, () => form.requestSubmit());
      showPanel(place);
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

/** Announce a summary to screen readers: invisible text in the live region. */
export function announce(status, summary) {
  status.replaceChildren(h("span", { class: "unseen" }, summary));
}

/** Scroll to the answers: they are below the form on a narrow page, and next to the top of a long form on a wide one. */
function showPanel(place) {
  const { top } = place.getBoundingClientRect();
  if (top >= 0 && top < 0.75 * innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  place.parentElement.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

/** "Answered in 112 ms: 96 ms in the server, 3 ms of them in its queue." Of parallel requests, the longest. */
export function timing(replies, roundTrip) {
  const longest = replies.reduce((one, other) => ((other.server ?? -1) > (one.server ?? -1) ? other : one));
  const inside = longest.server === null ? "" : `: ${duration(longest.server)} in the server`;
  const waiting = longest.queue === null || !inside ? "" : `, ${duration(longest.queue)} of them in its queue`;
  return `Answered in ${duration(roundTrip)}${inside}${waiting}.`;
}

const duration = (ms) =>
  ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
