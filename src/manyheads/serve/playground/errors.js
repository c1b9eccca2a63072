// Error notices: what went wrong, what to do, and a retry button where that can help.

import { h } from "./dom.js";
import { ApiError } from "./api.js";

const TITLES = {
  0: "The server cannot be reached",
  401: "An API key is needed",
  408: "The text did not arrive in time",
  413: "That is too much for one request",
  422: "The server could not take this",
  429: "The server is busy",
  503: "No answer in time",
};

/** Replace the content of `place` with an error notice, with a retry button if `again` is given. */
export function showError(place, error, again = null) {
  if (!(error instanceof ApiError)) console.error(error);
  const status = error instanceof ApiError ? error.status : null;
  const title =
    status === null
      ? "This page has a bug"
      : (TITLES[status] ?? (status >= 500 ? "Something failed in the server" : "The server refused this"));
  const wait = status === 429 || status === 503 ? error.retryAfter : null;
  place.replaceChildren(
    h(
      "div",
      { class: "notice" },
      h("div", { role: "alert" }, h("p", { class: "title" }, title), h("p", {}, sentence(error.message))),
      again === null ? null : retry(again, wait),
    ),
  );
}

/** A notice for the error of one row. */
export function showRowError(error) {
  const title = error.type === "invalid_row" ? "This text could not be read" : "This text could not be answered";
  return h(
    "div",
    { class: "notice", role: "alert" },
    h("p", { class: "title" }, title),
    h("p", {}, sentence(error.message)),
  );
}

/** A retry button that counts down Retry-After. It is outside the alert, so that screen readers do not announce every second. */
function retry(again, wait) {
  const button = h("button", { type: "button" });
  const until = Date.now() + 1000 * (wait ?? 0);
  const update = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0 && (button.isConnected || left === wait)) setTimeout(update, 250);
  };
  update();
  button.addEventListener("click", again);
  return button;
}

/** A message of the server, which starts in lower case without a full stop, as a sentence. */
function sentence(message) {
  const text = message.trim();
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}
